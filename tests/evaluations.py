"""Evaluations in tests: references and predictions in any sharding, an evaluation of them, and what it wrote."""

import json
import pathlib
import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mrc import storage
from mrc.evaluation import EvaluateConfig, Evaluation, prepare, run
from mrc.sources import SourceConfig

Row = dict[str, Any]

CONTEXTS = [
    f"Passage {number} tells of Ada, who lived in Rome and in Bonn, and wrote {'many ' * (number * 9)}books."
    for number in range(12)
]
QUESTIONS = ("Who wrote?", "Where did she live?", "How many books?", "언제 썼는가?")
GOLDS = ("Ada", "Rome", "many", None)


def references(count: int = 96) -> list[Row]:
    """Return questions about a dozen passages; every fourth has no answer."""
    rows = []
    for number in range(count):
        context, kind = CONTEXTS[number % len(CONTEXTS)], number % 4
        gold = GOLDS[kind] if GOLDS[kind] and str(GOLDS[kind]) in context else None
        answers = [] if gold is None else [{"text": gold, "answer_start": context.index(gold)}]
        genre = None if number % 5 == 4 else ("letters", "news")[number % 2]
        rows.append(
            {
                "id": f"q{number:04d}",
                "question": QUESTIONS[kind],
                "context": context,
                "answers": answers,
                "genre": genre,
            }
        )
    return rows


def predictions(rows: Sequence[Row], *, wrong: float = 0.4, seed: int = 0) -> list[Row]:
    """Return answers in the schema of jobs/answer.py, some of them wrong, with null scores and n-best spans."""
    rng = random.Random(seed)
    found = []
    for row in rows:
        gold = row["answers"][0]["text"] if row["answers"] else ""
        best = rng.choice(["Ada, who lived", "Bonn", "Passage"]) if rng.random() < wrong or not gold else gold
        score, null_score = rng.uniform(0, 9), rng.uniform(0, 9)
        answer = best if null_score - score <= 0 else ""
        start = row["context"].find(answer) if answer else -1
        span = {"text": best, "start": row["context"].index(best), "end": 0, "score": score, "probability": 0.5}
        found.append(
            {"id": row["id"], "answer": answer, "start": start, "probability": rng.random(), "null_score": null_score,
             "num_windows": 1 + len(row["context"]) // 200, "n_best": [span]}
        )  # fmt: skip
    return found


def write_shards(rows: Sequence[Row], folder: pathlib.Path, shards: int, *, seed: int | None = None) -> str:
    """Write rows as so many Parquet files, shuffled with a seed; return the folder."""
    rows = list(rows) if seed is None else random.Random(seed).sample(rows, len(rows))
    folder.mkdir(parents=True, exist_ok=True)
    schema = pa.Table.from_pylist(rows).schema
    for shard in range(shards):
        part = rows[shard * len(rows) // shards : (shard + 1) * len(rows) // shards]
        pq.write_table(pa.Table.from_pylist(part, schema=schema), folder / f"{shard:03d}.parquet")
    return str(folder)


class Evaluated(NamedTuple):
    """A finished evaluation and its folders."""

    found: Evaluation
    output: pathlib.Path

    def rows(self, name: str) -> list[Row]:
        """Return all rows of a folder of the run."""
        files = sorted((self.output / "runs" / self.found.run_id / name).glob("*.parquet"))
        return [row for file in files for row in pq.read_table(file).to_pylist()]

    @property
    def table(self) -> list[Row]:
        """The run's rows of the table."""
        rows: list[Row] = pq.read_table(self.output / "metrics" / f"{self.found.run_id}.parquet").to_pylist()
        return rows


def evaluate(output: pathlib.Path, source: SourceConfig | None = None, **flags: Any) -> Evaluated:
    """Evaluate on the session's cluster, without drawing a report."""
    job = prepare(EvaluateConfig(output=str(output), **flags), source or SourceConfig())
    found = run(job, lambda evaluation: f"<p>{evaluation.run_id}</p>")
    return Evaluated(found, output)


def write_json(path: pathlib.Path, content: Any) -> str:
    """Write JSON and return its path."""
    storage.write_text(str(path), json.dumps(content, ensure_ascii=False))
    return str(path)


def texts_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return answers by id, as a predictions.json has them."""
    return {row["id"]: row["answer"] for row in rows}
