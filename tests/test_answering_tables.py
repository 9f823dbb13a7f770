"""The tables of bulk answering: predictions as a reader's own, and the best row of each group whatever the cut."""

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrc import storage
from mrc.answering import best
from mrc.answering.output import Answered, output_schema, predictions_table
from mrc.errors import UsageError
from mrc.examples import Answer, Example
from mrc.metrics import Sums, get_scorer, score_example
from mrc.spans import ExampleSpans, SpanConfig, WindowSpans, make_predictions, merge_windows
from tests.source_files import unhurried

SQUAD = get_scorer("squad_v2")
CONTEXT = "Anna wrote 한 letters, 😀 and Ben none of them."
KEPT = [pa.field("number", pa.int64()), pa.field("labels", pa.list_(pa.string()))]

few = settings(unhurried, max_examples=40)


def make_examples(count: int, rng: np.random.Generator) -> list[Example]:
    golds = [None, (), (Answer(text="Anna", start=0),)]
    return [
        Example(
            id=f"q{number}",
            question="Who?",
            context=CONTEXT[: rng.integers(10, len(CONTEXT))],
            answers=golds[rng.integers(3)],
            kept=(number, ["한"] * (number % 3) if number % 4 else None),
        )
        for number in range(count)
    ]


def make_spans(examples: Sequence[Example], rng: np.random.Generator, config: SpanConfig) -> ExampleSpans:
    """Merge random windows of examples: some have no window, some windows no span or no null score."""
    window_example = np.repeat(np.arange(len(examples)), rng.integers(0, 3, len(examples)))
    shape = (len(window_example), config.n_best_size)
    lengths = np.array([len(example.context) for example in examples], dtype=np.int64)[window_example]
    start = rng.integers(0, 10_000, shape) % np.maximum(lengths[:, None] - 1, 1)
    end = start + 1 + rng.integers(0, 10_000, shape) % np.maximum(lengths[:, None] - start, 1)
    start[rng.random(shape) < 0.3] = -1
    # Of quarters, which add up exactly; and some are equal.
    score = -np.sort(rng.integers(-20, 20, shape)) / 4
    null_score = rng.integers(-20, 20, shape[0]) / 4
    null_score[rng.random(shape[0]) < 0.3] = np.inf
    windows = WindowSpans(
        start=start.astype(np.int32),
        end=end.astype(np.int32),
        score=score.astype(np.float32),
        null_score=null_score.astype(np.float32),
    )
    return merge_windows(window_example, windows, num_examples=len(examples), config=config)


def answered(examples: Sequence[Example], spans: ExampleSpans, n_best_size: int, min_probability: float) -> Answered:
    return predictions_table(
        examples,
        spans,
        schema=output_schema(KEPT, with_n_best=n_best_size > 0),
        scorer=SQUAD,
        n_best_size=n_best_size,
        min_probability=min_probability,
    )


def single(value: float) -> float | None:
    """What is written of a number: float32, or null where it is not finite."""
    return float(np.float32(value)) if math.isfinite(value) else None


# Predictions


@few
@given(
    count=st.integers(0, 6),
    seed=st.integers(0, 2**32 - 1),
    n_best_size=st.integers(0, 6),
    min_probability=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
    has_null=st.booleans(),
)
def test_predictions_are_those_of_a_reader(
    count: int, seed: int, n_best_size: int, min_probability: float, has_null: bool
) -> None:
    rng = np.random.default_rng(seed)
    examples = make_examples(count, rng)
    spans = make_spans(examples, rng, SpanConfig(n_best_size=4, version_2_with_negative=has_null))
    table, sums = answered(examples, spans, n_best_size, min_probability)
    assert table.schema == output_schema(KEPT, with_n_best=n_best_size > 0)
    table.validate(full=True)
    assert ("n_best" in table.column_names) == (n_best_size > 0)
    expected_sums = Sums()
    for row, example, one in zip(table.to_pylist(), examples, make_predictions(examples, spans), strict=True):
        is_sure = one.has_answer and np.float32(one.probability) >= np.float32(min_probability)
        gold = None if example.answers is None else score_example(one.answer if is_sure else "", example, SQUAD)
        expected_sums += Sums() if gold is None else Sums.of(gold)
        expected = {
            "id": one.id,
            "answer": one.answer if is_sure else "",
            "start": one.start if is_sure else -1,
            "end": one.end if is_sure else -1,
            "score": single(one.score),
            "probability": single(one.probability),
            "null_score": single(one.null_score),
            "has_answer": is_sure,
            "num_windows": one.num_windows,
            "exact_match": None if gold is None else gold.exact_match,
            "f1": None if gold is None else gold.f1,
            "number": example.kept[0],
            "labels": example.kept[1],
        }
        if n_best_size:
            expected["n_best"] = [
                {**asdict(span), "score": single(span.score), "probability": single(span.probability)}
                for span in one.n_best[:n_best_size]
            ]
        assert row == expected
    assert sums == expected_sums


def test_no_examples_are_an_empty_table_of_the_schema() -> None:
    for n_best_size in (0, 3):
        spans = make_spans([], np.random.default_rng(0), SpanConfig())
        table, sums = answered([], spans, n_best_size, 0.0)
        assert (len(table), sums) == (0, Sums())
        assert table.schema == output_schema(KEPT, with_n_best=n_best_size > 0)


def test_own_columns_cannot_be_kept() -> None:
    for name in ("id", "f1", "n_best"):
        with pytest.raises(UsageError, match=f"^--keep_columns {name}: "):
            output_schema([pa.field(name, pa.string())], with_n_best=True)
    assert "n_best" in output_schema([pa.field("n_best", pa.string())], with_n_best=False).names
    with pytest.raises(UsageError, match=r"^--keep_columns a: "):
        output_schema([pa.field("a", pa.string()), pa.field("a", pa.int8())], with_n_best=False)


# The best row of each group

groups: Mapping[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "texts": (pa.string(), st.sampled_from(["a", "b", "", "한"])),
    "integers": (pa.int64(), st.integers(0, 3)),
    "floats": (pa.float64(), st.sampled_from([1.5, 2.5, math.inf])),
    "flags": (pa.bool_(), st.booleans()),
    "dates": (pa.date32(), st.dates()),
    "nothing": (pa.null(), st.none()),
}


def rank(row: dict[str, Any]) -> tuple[Any, ...]:
    return (not row["has_answer"], row["score"] is None, -(row["score"] or 0), row["id"])


def brute_force(table: pa.Table, group: str) -> list[dict[str, Any]]:
    by_value: dict[Any, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        by_value.setdefault(row[group], []).append(row)
    return [min(rows, key=rank) | {best._COUNT: len(rows)} for rows in by_value.values()]


def by_group(row: Mapping[str, Any]) -> str:
    return repr(row["group"])


def merged(parts: Sequence[pa.Table], group: str, num_tasks: int) -> list[dict[str, Any]]:
    """Write the units' parts and merge them in some tasks, as a job does, without Ray."""
    output = f"memory://{uuid.uuid4().hex}"
    names = [f"unit{number}" for number in range(len(parts))]
    for name, part in zip(names, parts, strict=True):
        storage.write_table(storage.join(output, best.PARTS, name + ".parquet"), part)
    write_buckets: Any = best._write_buckets
    edges = np.linspace(0, best._NUM_BUCKETS, num_tasks + 1).astype(int).tolist()
    found: list[dict[str, Any]] = []
    for low, high in pairwise(edges):
        count = write_buckets._function(output, names, group, low, high, 60.0)
        rows = storage.read_table(storage.join(output, "best", f"{low:03d}.parquet")).to_pylist()
        assert len(rows) == count
        found += rows
    return found


@pytest.mark.parametrize("kind", groups)
@settings(unhurried, max_examples=15)
@given(data=st.data())
def test_the_best_of_each_group_is_the_best_of_all_rows_whatever_the_cut(kind: str, data: st.DataObject) -> None:
    column, values = groups[kind]
    row = st.tuples(st.none() | values, st.booleans(), st.none() | st.sampled_from([-1.5, 0.0, 2.5]))
    rows = data.draw(st.lists(row, max_size=30))
    cuts = sorted({0, len(rows), *data.draw(st.lists(st.integers(0, len(rows)), max_size=4))})
    table = pa.table(
        {
            "id": pa.array([f"q{number:02}" for number in data.draw(st.permutations(range(len(rows))))], pa.string()),
            "has_answer": pa.array([has_answer for _, has_answer, _ in rows], pa.bool_()),
            "score": pa.array([score for _, _, score in rows], pa.float32()),
            "group": pa.array([value for value, _, _ in rows], column),
        }
    )
    units = [table.slice(low, high - low) for low, high in pairwise(cuts)] or [table]
    parts = [best.best_of_unit(unit, "group") for unit in units]
    assert [len(part) for part in parts] == [len(set(unit["group"].to_pylist())) for unit in units]
    found = merged(parts, "group", data.draw(st.integers(1, 5), label="tasks"))
    assert sorted(found, key=by_group) == sorted(brute_force(table, "group"), key=by_group)


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.int32()), pa.struct([("a", pa.int32())]), pa.map_(pa.string(), pa.int32()), pa.float16()]
)
def test_a_column_that_rows_cannot_be_grouped_by_is_refused(kind: pa.DataType) -> None:
    schema = output_schema([pa.field("group", kind)], with_n_best=True)
    with pytest.raises(UsageError, match=r"^--best_per group: rows cannot be grouped by"):
        best.check_group(schema, "group")


@pytest.mark.parametrize("kind", [kind for kind, _ in groups.values()])
def test_other_columns_group_rows(kind: pa.DataType) -> None:
    best.check_group(output_schema([pa.field("group", kind)], with_n_best=True), "group")


@pytest.mark.parametrize("name", ["num_passages", "_bucket"])
def test_the_columns_of_the_best_rows_cannot_be_kept(name: str) -> None:
    schema = output_schema([pa.field("group", pa.string()), pa.field(name, pa.string())], with_n_best=True)
    with pytest.raises(UsageError, match=f"^--keep_columns {name}: "):
        best.check_group(schema, "group")


def test_the_best_rows_have_no_candidates_and_stay_whole() -> None:
    rng = np.random.default_rng(3)
    examples = make_examples(9, rng)
    table, _ = answered(examples, make_spans(examples, rng, SpanConfig(n_best_size=3)), 3, 0.0)
    part = best.best_of_unit(table.append_column("group", pa.array([None] * 9, pa.string())), "group")
    assert part.column_names == [
        *(name for name in table.column_names if name != "n_best"),
        "group",
        "num_passages",
        "_bucket",
    ]
    assert part["num_passages"].to_pylist() == [9]
