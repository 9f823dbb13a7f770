"""Bulk answering in tests: a tiny reader whose scores lie apart, questions for it, and a job with what it wrote."""

import functools
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrc.answering import AnswerConfig, Outcome, Plan, plan, run
from mrc.examples import Answer, Example, Prediction
from mrc.reader import Reader
from mrc.sources import SourceConfig
from tests.tiny import write_reader

SETTINGS = {"max_seq_length": 64, "doc_stride": 16, "n_best_size": 5, "max_answer_length": 12}
"""Windows that most contexts need several of."""


def write_bulk_reader(folder: pathlib.Path, *, positions: int = 64, **settings: Any) -> str:
    """Write a reader with its settings, and return its path."""
    # Large random weights: no two spans score about the same, so that rounding changes no answer.
    path = write_reader(folder, seed=11, initializer_range=0.4, max_position_embeddings=positions)
    (folder / "reader.json").write_text(json.dumps({**SETTINGS, **settings}))
    return path


def examples_of(rows: Iterable[Mapping[str, Any]]) -> list[Example]:
    """Return rows of `tests.training_data` as examples."""
    return [
        Example(
            id=row["id"],
            question=row["question"],
            context=row["context"],
            answers=tuple(
                Answer(text=text, start=start)
                for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
            ),
        )
        for row in rows
    ]


class Answered(NamedTuple):
    """A finished job."""

    plan: Plan
    outcome: Outcome

    @property
    def output(self) -> pathlib.Path:
        return pathlib.Path(self.plan.config.output)

    @property
    def examples(self) -> list[Example]:
        """What the input gives, without the rows that were rejected when they were read."""
        items = (item for unit in self.plan.units for item in self.plan.input.read(unit))
        return [item for item in items if isinstance(item, Example)]

    def files(self, name: str) -> list[pathlib.Path]:
        """Return the files in a folder of the output, hidden ones too."""
        return sorted((self.output / name).iterdir())

    def table(self, name: str) -> pa.Table:
        """Return all rows of a folder of the output."""
        return pa.concat_tables(map(pq.read_table, self.files(name)))

    def rows(self, name: str = "predictions") -> list[dict[str, Any]]:
        """Return all rows of a folder of the output, sorted by id where they have one."""
        rows: list[dict[str, Any]] = self.table(name).to_pylist()
        return sorted(rows, key=lambda row: row.get("id") or "")


def answer_plan(source: SourceConfig | None = None, **config: Any) -> Plan:
    """Return a plan on the CPU in float32."""
    return plan(AnswerConfig(precision="float32", **config), source or SourceConfig())


def answer(source: SourceConfig | None = None, *, num_actors: int = 1, **config: Any) -> Answered:
    """Carry a job out on the session's cluster; each actor is a start of torch, which costs more than it reads."""
    made = answer_plan(source, num_actors=num_actors, **config)
    return Answered(made, run(made))


@functools.lru_cache(maxsize=4)
def reader_of(model: str, **settings: Any) -> Reader:
    """Return the reader that a job has in its actors."""
    return Reader.from_pretrained(model, precision="float32", **settings)


def assert_reader_agrees(
    rows: Sequence[Mapping[str, Any]], examples: Sequence[Example], reader: Reader
) -> list[Prediction]:
    """Check that predictions are what a reader answers to the same examples; return what it does."""
    by_id = {prediction.id: prediction for prediction in reader.answer(examples)}
    expected = [by_id[row["id"]] for row in rows]
    assert len(rows) == len(examples) == len(by_id)
    names = ("answer", "start", "end", "has_answer", "num_windows")
    assert [[row[name] for name in names] for row in rows] == [
        [getattr(prediction, name) for name in names] for prediction in expected
    ]
    for name in ("score", "probability", "null_score"):
        assert [row[name] for row in rows] == pytest.approx([getattr(each, name) for each in expected], abs=1e-4)
    return expected


def best_rows(rows: Iterable[Mapping[str, Any]], group: str) -> dict[Any, tuple[str, int]]:
    """Return for each value of a column the id of the row with the best answer, and how many rows have the value."""
    groups: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row[group], []).append(row)
    return {
        value: (min(members, key=lambda row: (not row["has_answer"], -row["score"], row["id"]))["id"], len(members))
        for value, members in groups.items()
    }
