"""A million questions of the built-in sample through bulk answering: exactly once, in steady memory, in linear time.

    python -m benchmarks.million --num_questions 100000 1000000

For each size it answers sample://test with a tiny model of random weights on a cluster of its own, and prints seconds,
questions/s, the peak memory of the driver and of each kind of worker, and whether every id came out once. Memory is
anonymous pages, which a process has for itself: those of Ray's object store have a limit of their own. Then it measures
how long the finished job, run again, takes to say so, and, with --num_units, a resume with that many records.
"""

import argparse
import logging
import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.measuring import PeakMemory, table, write_records
from mrc.launch import run_job, start_ray

_KINDS = {
    "FindSpans": "model",
    "read_unit": "reading",
    "ReadUnit": "reading",
    "commit_unit": "writing",
    "CommitUnit": "writing",
}
_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 384,
}


def main() -> None:
    """Answer each number of questions, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_questions", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--num_actors", type=int, default=1)
    parser.add_argument("--num_units", type=int, default=100_000, help="records of the resume that is measured")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mrc-million-") as folder:
        model = write_tiny_reader(Path(folder) / "model")
        rows = []
        for count in arguments.num_questions:
            # A driver of its own each: memory that one took may stay its own.
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
                work = (model, f"{folder}/answers-{count}", count, arguments.num_actors)
                rows.append(process.submit(measure, *work).result())
        print(table(rows))
        print(f"a resume with {arguments.num_units:,} units' records reads them in {resume_s(folder, arguments):.1f} s")


def write_tiny_reader(folder: Path) -> str:
    """Write a BERT of one small layer, with random weights, under the sample's own tokenizer."""
    import torch
    from transformers import BertConfig, BertForQuestionAnswering

    from mrc.sample.encoder import build_tokenizer

    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    model = BertForQuestionAnswering(BertConfig(vocab_size=len(tokenizer), **_SIZES))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(str(folder))
    return str(folder)


def measure(model: str, output: str, count: int, num_actors: int) -> dict[str, Any]:
    """Answer `count` questions and return what was measured."""
    from mrc.answering import AnswerConfig, plan, run
    from mrc.sources import SourceConfig

    logging.basicConfig(level=logging.WARNING, stream=sys.stdout)
    logging.getLogger("mrc").setLevel(logging.INFO)
    start_ray()
    config = AnswerConfig(
        model=model, input=f"sample://test?num_examples={count}", output=output, num_actors=num_actors, n_best_size=3
    )
    began = time.perf_counter()
    with PeakMemory(_KINDS) as memory:
        outcome = run(plan(config, SourceConfig()))
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    run(plan(config, SourceConfig()))
    return {
        "questions": count,
        "seconds": seconds,
        "questions/s": count / seconds,
        "answered": outcome.answered,
        "distinct ids": count_ids(output),
        "units": outcome.units,
        "again, seconds": time.perf_counter() - began,
        **{f"{name}, MiB": round(peak / 2**20) for name, peak in sorted(memory.peaks.items())},
    }


def count_ids(output: str) -> int:
    """Return how many different ids the predictions have; fail where one stands there twice."""
    import pyarrow.parquet as pq

    ids = pq.read_table(f"{output}/predictions", columns=["id"]).column("id")
    distinct = len(ids.unique())
    assert distinct == len(ids), "an id was answered twice"
    return distinct


def resume_s(folder: str, arguments: argparse.Namespace) -> float:
    """Return the seconds in which the records of many units are read."""
    from mrc.answering.records import RECORDS, Ledger

    output = Path(folder) / "resume"
    names = [f"questions.parquet-0123456789ab-{number:012d}-{number + 1:012d}" for number in range(arguments.num_units)]
    write_records(output / RECORDS, names)
    began = time.perf_counter()
    ledger = Ledger.read(str(output), names, timeout_s=600)
    assert ledger.rows == 2048 * arguments.num_units
    return time.perf_counter() - began


if __name__ == "__main__":
    run_job(main)
