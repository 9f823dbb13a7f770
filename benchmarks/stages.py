"""The stages on both sides of the model, in one process with one thread: windows and decoding, run_qa's and mrc's.

    python -m benchmarks.stages --model READER --data path/to/xquad.en.json path/to/KorQuAD_v1.0_dev.json

`windows` is from texts to the arrays that a model reads, with their characters, in a process that has met none of their
words; `windows again` is where it has met all, as after many units; `decoding` is from the model's logits to the n best
spans of every question in words. Both take turns; figures are medians of their CPU time.
"""

import argparse
import copy
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from benchmarks.measuring import read_examples, table
from benchmarks.run_qa import RunQA, as_dataset
from mrc.answering.output import output_schema, predictions_table
from mrc.examples import Example
from mrc.metrics import get_scorer
from mrc.pretrained import load_tokenizer
from mrc.spans import SpanConfig, WindowSpans, bounds_repeat, locate, merge_windows
from mrc.spans.best import window_spans
from mrc.windows import PairTokenizer, WindowConfig, Windows, make_windows

_STAGES = ("windows", "windows again", "decoding")
_WINDOWS_AT_ONCE = 128  # as mrc.finder


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a reader")
    parser.add_argument("--data", required=True, nargs="+", help="in any form that jobs/answer.py takes")
    parser.add_argument("--questions", type=int, default=1_000, help="the first of the data")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stages", nargs="+", default=list(_STAGES), choices=_STAGES, help="decoding runs the model")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    rows = []
    for data in arguments.data:
        rows += measure(arguments.model, data, arguments.questions, arguments.rounds, arguments.stages)
    print(table(rows))


def measure(model: str, data: str, most: int, rounds: int, chosen: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row a stage."""
    examples = read_examples(data, most)
    recipe, questions = RunQA(model, threads=1), as_dataset(examples)
    tokenizer = PairTokenizer.of(load_tokenizer(model))
    asked = [Example(id=each.id, question=each.question, context=each.context) for each in examples]

    def windows(reader: PairTokenizer = tokenizer) -> Windows:
        cut, _ = make_windows(examples, reader, WindowConfig())
        return locate(cut, [example.context for example in examples])

    def windows_of_new_words() -> Windows:
        return windows(replace(tokenizer, words=copy.copy(tokenizer.words)))  # a copy has met none

    features, located = recipe.windows(questions), windows()
    none = np.empty(0, np.float32)
    start, end = recipe.forward(features) if "decoding" in chosen else (none, none)
    stages: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "windows": (lambda: recipe.windows(questions), windows_of_new_words),
        "windows again": (lambda: recipe.windows(questions), windows),
        "decoding": (
            lambda: recipe.decode(questions, features, start, end),
            lambda: _decode(asked, located, torch.from_numpy(start), torch.from_numpy(end)),
        ),
    }
    found = []
    for name in chosen:
        seconds = [[_cpu_s(competitor) for competitor in stages[name]] for _ in range(1 + rounds)][1:]
        theirs, ours = (statistics.median(column) for column in zip(*seconds, strict=True))
        row = {"": f"{name}, {data.rpartition('/')[2]}", "questions": len(examples), "windows": len(located)}
        row |= {"run_qa, ms": 1000 * theirs, "mrc, ms": 1000 * ours, "ratio": theirs / ours}
        found.append(row)
    return found


def _decode(examples: list[Example], located: Windows, start: torch.Tensor, end: torch.Tensor) -> pa.Table:
    """Return the predictions, as a job has them when it writes."""
    config, found = SpanConfig(), []
    repeats = bounds_repeat(located.offsets, located.row_splits, config.n_best_size)
    for at in range(0, len(located), _WINDOWS_AT_ONCE):
        part = np.arange(at, min(at + _WINDOWS_AT_ONCE, len(located)))
        longest = int(located.lengths[part].max())
        spans = window_spans(
            start[part, :longest],
            end[part, :longest],
            located,
            part,
            side="right",
            repeats=repeats,
            config=config,
        )
        found.append(spans)
    merged = merge_windows(located.example, WindowSpans.concatenate(found), num_examples=len(examples), config=config)
    return predictions_table(
        examples,
        merged,
        schema=output_schema([], with_n_best=True),
        scorer=get_scorer("squad"),
        n_best_size=config.n_best_size,
        min_probability=0.0,
    ).table


def _cpu_s(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    main()
