"""How fast questions are answered, from Parquet to Parquet: run_qa's recipe, Ray Data by hand, and mrc, interleaved.

    python -m benchmarks.speed --model READER --data path/to/xquad.en.json --questions 400 --rounds 3

Each competitor is a process of its own that answers the same file again and again, taking turns with the others, so
that what else the machine does falls on all of them; the first pass of each warms up and does not count. Figures are
medians of whole passes. Start-up, until a model is loaded and the first questions are read, stands apart. `bare loop`
runs mrc's forward passes on ready-made batches, in as many processes of as many threads, and nothing else.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measuring import PeakMemory, read_examples, table

Pass = Callable[[], dict[str, float]]
"""Answers everything once; returns seconds: `start`, `answer`, and of stages."""

_UNIT_ROWS = 32
_VARIANTS: dict[str, dict[str, Any]] = {
    "mrc float32": {"precision": "float32"},
    "mrc": {},
    "mrc --exact": {"exact": True},
}
_CORES = len(os.sched_getaffinity(0))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a reader")
    parser.add_argument(
        "--data", default="sample://test?num_examples=2000", help="in any form that jobs/answer.py takes"
    )
    parser.add_argument("--questions", type=int, default=400, help="evenly spread over the data; 0 for all")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mrc-benchmark-") as folder:
        file = f"{folder}/questions.parquet"
        number = write_questions(arguments.data, file, arguments.questions)
        print(f"{arguments.data}: {number} questions; {_CORES} cores; medians of {arguments.rounds} passes\n")
        print(measure(arguments.model, file, folder, number, arguments.rounds))


def write_questions(data: str, file: str, most: int) -> int:
    """Write questions as Parquet, and return how many."""
    examples = read_examples(data)
    chosen = examples[:: max(1, len(examples) // most) if most else 1]
    rows = [{name: getattr(example, name) for name in ("id", "question", "context")} for example in chosen]
    pq.write_table(pa.Table.from_pylist(rows), file)
    return len(rows)


def measure(model: str, file: str, folder: str, number: int, rounds: int) -> str:
    """Run all competitors in turns and return the table."""
    makers: dict[str, dict[str, tuple[Callable[..., Any], dict[str, Any]]]] = {
        "run_qa": {"run_qa": (run_qa, {})},
        # On one cluster: one that idles costs a few per cent of a core.
        "Ray": {"Ray Data by hand": (by_hand, {}), **{name: (mrc, flags) for name, flags in _VARIANTS.items()}},
        "bare": {f"bare loop of {name}": (bare, flags) for name, flags in list(_VARIANTS.items())[:2]},
    }
    pipes: dict[str, Connection] = {}
    processes = []
    spawn = multiprocessing.get_context("spawn")
    for process_name, competitors in makers.items():
        ours, theirs = spawn.Pipe()
        own = f"{folder}/{process_name}"
        processes.append(spawn.Process(target=_serve, args=(theirs, competitors, model, file, own)))
        processes[-1].start()
        ours.recv()  # one start after the other
        pipes |= dict.fromkeys(competitors, ours)
    passes: dict[str, list[dict[str, float]]] = defaultdict(list)
    answers: dict[str, Mapping[str, str]] = {}
    for round_number in range(1 + rounds):
        for name, pipe in pipes.items():
            pipe.send(name)
            seconds, answers[name] = pipe.recv()
            print(f"  {name}: { ({key: round(value, 2) for key, value in seconds.items()}) }", flush=True)
            if round_number:
                passes[name].append(seconds)
    for pipe in set(pipes.values()):
        pipe.send("")
    for process in processes:
        process.join()
    return "\n" + table([_row(name, number, passes, answers) for name in pipes])


def _row(
    name: str, number: int, passes: Mapping[str, list[dict[str, float]]], answers: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    def median(competitor: str, key: str) -> float:
        return statistics.median(seconds.get(key, 0.0) for seconds in passes[competitor])

    answer_s = median(name, "answer")
    row = {"": name, "questions/s": number / answer_s}
    row["ratio to run_qa"] = round(median("run_qa", "answer") / answer_s, 2)
    # The work is counted on batches without padding; its precision is that of the competitor.
    in_float32 = name in ("run_qa", "Ray Data by hand") or name.endswith("float32")
    work = passes["bare loop of mrc float32" if in_float32 else "bare loop of mrc"][0]
    row["tokens/s without padding"] = work["tokens"] / answer_s
    row["of the ceiling, %"] = 100 * work["operations"] / answer_s / work["ceiling"]
    row |= {f"{stage}, s": median(name, stage) for stage in ("start", "read", "model", "decode", "write")}
    row["peak, MiB"] = round(median(name, "peak") / 2**20)
    if answers[name]:
        # Offsets of SentencePiece have the space before a word in them, and so have run_qa's answers.
        same = sum(answers["run_qa"][key].strip() == text.strip() for key, text in answers[name].items())
        row["answers of run_qa"] = f"{same} of {number}"
    return row


def _serve(
    pipe: Any, makers: dict[str, tuple[Callable[..., Any], dict[str, Any]]], model: str, file: str, folder: str
) -> None:
    """Be the competitors of one process: a pass of the one that each message names, until one names none."""
    competitors = {}
    for name, (maker, flags) in makers.items():
        own = Path(folder, name.replace(" ", "-"))
        own.mkdir(parents=True)
        competitors[name] = maker(model, file, str(own), **flags)
    pipe.send("ready")
    while name := pipe.recv():
        once, read = competitors[name]
        with PeakMemory({"ray::": "workers"}) as memory:
            seconds = once()
        pipe.send(({**seconds, "peak": sum(memory.peaks.values())}, read()))


def _answers(path: str) -> dict[str, str]:
    found = pq.read_table(path, columns=["id", "answer"])
    return dict(zip(found["id"].to_pylist(), found["answer"].to_pylist(), strict=True))


# Competitors


def run_qa(model: str, file: str, folder: str) -> tuple[Pass, Callable[[], dict[str, str]]]:
    """Run_qa's recipe, with all cores, its model loaded once."""
    from benchmarks.run_qa import RunQA

    recipe, out = RunQA(model, _CORES), f"{folder}/answers.parquet"

    def once() -> dict[str, float]:
        stages = recipe.predict_parquet(file, out)
        return {
            "start": recipe.start_s,
            "answer": sum(stages.values()),
            "read": stages["read"] + stages["windows"],
            "model": stages["forward"],
            "decode": stages["decode"],
            "write": stages["write"],
        }

    return once, lambda: _answers(out)


def by_hand(model: str, file: str, folder: str) -> tuple[Pass, Callable[[], dict[str, str]]]:
    """Ray Data by hand, with all cores."""
    from benchmarks.plain_ray import answer

    _start_ray()
    out = f"{folder}/answers"
    return lambda: answer(model, file, out, _CORES), lambda: _answers(out)


def mrc(model: str, file: str, folder: str, **flags: Any) -> tuple[Pass, Callable[[], dict[str, str]]]:
    """jobs/answer.py, without the start of Python and Ray."""
    from benchmarks.plain_ray import MAX_ANSWER_LENGTH
    from mrc import answering
    from mrc.answering.records import RECORDS
    from mrc.sources import SourceConfig

    _start_ray()
    out = f"{folder}/answers"
    # As the others decode, whatever the reader's folder says.
    flags |= {"max_answer_length": MAX_ANSWER_LENGTH, "version_2_with_negative": False}

    def once() -> dict[str, float]:
        config = answering.AnswerConfig(
            model=model, input=file, output=out, overwrite=True, unit_rows=_UNIT_ROWS, num_actors=_CORES, **flags
        )
        began = time.time()
        outcome = answering.run(answering.plan(config, SourceConfig()))
        ended = time.time()
        # Answering begins when the first unit reaches a model that is loaded.
        records = [(path.stat().st_mtime, json.loads(path.read_text())) for path in Path(out, RECORDS).iterdir()]
        model_began = min(at - record["seconds"]["model"] - record["seconds"]["write"] for at, record in records)
        return {"start": model_began - began, "answer": ended - model_began, **outcome.seconds}

    return once, lambda: _answers(f"{out}/predictions")


def _start_ray() -> None:
    import ray

    from mrc.launch import start_ray

    if not ray.is_initialized():
        start_ray()


def bare(model: str, file: str, folder: str, **flags: Any) -> tuple[Pass, Callable[[], dict[str, str]]]:
    """The forward passes alone, and how much work they are."""
    from benchmarks.bare_loop import BareLoop

    loop = BareLoop(model, file, processes=_CORES, unit_rows=_UNIT_ROWS, **flags)
    work = {"tokens": float(loop.tokens), "operations": float(loop.operations), "ceiling": loop.ceiling}

    def once() -> dict[str, float]:
        seconds = loop.answer()
        return {"start": 0.0, "answer": max(seconds), "model": sum(seconds), **work}

    return once, dict


if __name__ == "__main__":
    main()
