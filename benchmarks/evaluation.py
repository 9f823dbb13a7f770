"""A million predictions against a million references, shuffled apart into different shards: seconds, memory, ids.

    python -m benchmarks.evaluation --num_questions 100000 1000000

References are five questions a passage, in 40 Parquet files; predictions, with spans and null scores, are in another
order in 25. Each size is evaluated twice, the second time against the first as its baseline. Prints seconds, the peak
memory of the driver and of each kind of worker, and whether every id came out once.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measuring import PeakMemory, table
from mrc.launch import run_job, start_ray

_KINDS = {"_read_some": "reading", "_score_one": "scoring", "_add_up": "adding", "_read_passages": "passages"}
_PER_PASSAGE = 5
_WORDS = np.array("the river town of many old letters was found near a wide lake in spring by some".split())


def main() -> None:
    """Evaluate each number of questions, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_questions", type=int, nargs="+", default=[100_000, 1_000_000])
    arguments = parser.parse_args()
    start_ray()
    with tempfile.TemporaryDirectory(prefix="mrc-evaluation-") as folder:
        print(table([measure(Path(folder) / str(count), count) for count in arguments.num_questions]))


def write_sides(folder: Path, count: int) -> tuple[str, str]:
    """Write references and predictions, each in an order of its own; return their folders."""
    rng = np.random.default_rng(0)
    words = _WORDS[rng.integers(0, len(_WORDS), (count // _PER_PASSAGE, 60))]
    passages = np.array([" ".join(row) for row in words], dtype=object)[np.arange(count) // _PER_PASSAGE]
    starts = [passage.index(" ") + 1 for passage in passages]
    golds = [passage[start : passage.index(" ", start)] for passage, start in zip(passages, starts, strict=True)]
    ids = np.array([f"question-{number:09d}" for number in range(count)], dtype=object)
    answers = np.where(rng.random(count) < 0.7, np.array(golds, dtype=object), "the river")
    span = pa.struct([("text", pa.string()), ("start", pa.int32()), ("score", pa.float32())])
    n_best = [[{"text": text, "start": 0, "score": 3.0}, {"text": "x", "start": 1, "score": 1.0}] for text in answers]
    references = {
        "id": ids,
        "question": np.array(["Who was it?", "When was it?", "What is it?"], dtype=object)[rng.integers(0, 3, count)],
        "context": passages,
        "answer_text": golds,
        "answer_start": starts,
        "group": rng.integers(0, 20, count).astype(str),
    }
    predictions = {
        "id": ids,
        "answer": answers,
        "probability": rng.random(count),
        "null_score": rng.normal(0, 3, count),
        "num_windows": np.ones(count, dtype=np.int32),
        "n_best": pa.array(n_best, pa.list_(span)),
    }
    places = []
    for name, columns, shards in (("references", references, 40), ("predictions", predictions, 25)):
        shuffled = pa.table(columns).take(pa.array(rng.permutation(count)))
        (folder / name).mkdir(parents=True)
        for shard in range(shards):
            start, stop = shard * count // shards, (shard + 1) * count // shards
            pq.write_table(
                shuffled.slice(start, stop - start), folder / name / f"{shard:03d}.parquet", compression="zstd"
            )
        places.append(str(folder / name))
    return places[0], places[1]


def measure(folder: Path, count: int) -> dict[str, Any]:
    """Evaluate `count` questions twice and return what was measured."""
    references, predictions = write_sides(folder, count)
    first = evaluate(folder, references, predictions, baseline=None, slice_by="group")
    second = evaluate(folder, references, predictions, baseline="last", slice_by="group")
    return {"questions": count, **first, "with a baseline, seconds": second["seconds"]}


def evaluate(folder: Path, references: str, predictions: str, **flags: Any) -> dict[str, Any]:
    """Run one evaluation and check that every id is there once."""
    from mrc.evaluation import EvaluateConfig, prepare, run
    from mrc.report import render
    from mrc.sources import SourceConfig

    config = EvaluateConfig(predictions=predictions, references=references, output=str(folder / "evaluations"), **flags)
    began = time.perf_counter()
    with PeakMemory(_KINDS) as memory:
        found = run(prepare(config, SourceConfig()), render)
    seconds = time.perf_counter() - began
    ids = pq.read_table(folder / "evaluations" / "runs" / found.run_id / "per_question", columns=["id"]).column("id")
    wanted = pq.read_table(references, columns=["id"]).column("id")
    assert sorted(ids.to_pylist()) == sorted(wanted.to_pylist()), "the ids are not those of the references, once"
    return {
        "seconds": seconds,
        "exact match": found.overall.figures["exact_match"],
        "distinct ids": len(ids.unique()),
        **{f"{name}, MiB": round(peak / 2**20) for name, peak in sorted(memory.peaks.items())},
    }


if __name__ == "__main__":
    run_job(main)
