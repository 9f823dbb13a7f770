"""One bucket of ids: its references, predictions and baseline answers are joined, scored, sliced and summed.

A bucket holds all rows of its ids, from every shard, so a join is a dictionary. What is wanted of single questions is
written as Parquet; sums go on, see parts.py.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from mrc import storage
from mrc.evaluation.parts import Parts
from mrc.evaluation.plan import PER_QUESTION
from mrc.evaluation.slices import DIMENSIONS, OTHER, slice_values
from mrc.evaluation.summing import Scored, Work, sum_up
from mrc.metrics import Scorer, get_scorer

MISMATCHES = "mismatches"
MISMATCH_SCHEMA = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),
        pa.field("id", pa.string()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
    ]
)
"""`kind` is missing, extra, duplicate_references, duplicate_predictions, bad_references or bad_predictions."""

_FIXED = [
    pa.field("id", pa.string(), nullable=False),
    pa.field("question", pa.string(), nullable=False),
    pa.field("golds", pa.list_(pa.string()), nullable=False),
    pa.field("answer", pa.string()),
    pa.field("exact_match", pa.int8(), nullable=False),
    pa.field("f1", pa.float64(), nullable=False),
    pa.field("probability", pa.float64()),
    pa.field("null_diff", pa.float64()),
    *(pa.field(name, pa.string()) for name in DIMENSIONS),
    pa.field("baseline_answer", pa.string()),
    pa.field("baseline_exact_match", pa.int8()),
    pa.field("baseline_f1", pa.float64()),
]
_MOST_ROWS = 500_000


def score_bucket(work: Work, bucket: int, references: pa.Table, predictions: pa.Table, baseline: pa.Table) -> Parts:
    """Join and score one bucket, write its questions and mismatches, and return its part of all sums."""
    counts: Counter[str] = Counter()
    mismatches: list[dict[str, Any]] = []
    plan = work.plan

    def note(kind: str, row: dict[str, Any], detail: str) -> None:
        counts[kind] += 1
        units = plan.predictions if kind in ("extra", "duplicate_predictions") else plan.references
        mismatches.append(
            {"kind": kind, "id": row["id"], "source": units[row["unit"]].source, "row": row["row"], "detail": detail}
        )

    golds = _by_id(references, lambda row: note("duplicate_references", row, "an earlier reference has this id"))
    answers = _by_id(predictions, lambda row: note("duplicate_predictions", row, "an earlier prediction has this id"))
    before = dict(zip(baseline["id"].to_pylist(), baseline["answer"].to_pylist(), strict=True))
    for row_id in sorted(golds.keys() - answers.keys()):
        note("missing", golds[row_id], "no prediction has this id")
    for row_id in sorted(answers.keys() - golds.keys()):
        note("extra", answers[row_id], "no reference has this id")
    if before:
        counts["only_here"] = len(golds.keys() - before.keys())
        counts["only_there"] = len(before.keys() - golds.keys())
    scorer = get_scorer(work.scorer)
    scored = [_score(golds[row_id], answers.get(row_id), before, scorer) for row_id in sorted(golds)]
    assert len(scored) < _MOST_ROWS, "buckets are small, see exchange.py"
    slices = [_slices(one, work) for one in scored]
    _write(work, bucket, scored, slices, mismatches)
    return sum_up(work, scored, slices, counts, scorer)


def _by_id(table: pa.Table, on_duplicate: Any) -> dict[str, dict[str, Any]]:
    """Return the rows of a table by id, of a repeated one the first in reading order."""
    rows: dict[str, dict[str, Any]] = {}
    for row in table.sort_by([("unit", "ascending"), ("row", "ascending")]).to_pylist():
        if row["id"] in rows:
            on_duplicate(row)
        else:
            rows[row["id"]] = row
    return rows


def _score(
    reference: dict[str, Any], prediction: dict[str, Any] | None, before: dict[str, str | None], scorer: Scorer
) -> Scored:
    golds = reference["golds"]
    old = None
    if reference["id"] in before:
        text = before[reference["id"]]
        old = (text, *((0, 0.0) if text is None else scorer.score(text, golds)))
    exact_match, f1 = (0, 0.0) if prediction is None else scorer.score(prediction["answer"], golds)
    return Scored(reference, prediction, exact_match, f1, old)


def _slices(one: Scored, work: Work) -> tuple[str | None, ...]:
    """Return a question's slice in each dimension: DIMENSIONS, then the columns of the user's."""
    found = slice_values(
        question=one.reference["question"],
        golds=one.reference["golds"],
        start=one.reference["start"],
        context_chars=one.reference["context_chars"],
        num_windows=None if one.prediction is None else one.prediction["num_windows"],
    )
    named = zip(one.reference["extra"], work.kept_values, strict=True)
    return (*found, *(value if value in kept else OTHER for value, kept in named))


def _write(
    work: Work,
    bucket: int,
    scored: Sequence[Scored],
    slices: Sequence[tuple[str | None, ...]],
    mismatches: Sequence[dict[str, Any]],
) -> None:
    plan = work.plan
    columns = plan.config.slice_columns
    rows = [
        {
            **{name: one.reference[name] for name in ("id", "question", "golds")},
            **dict(zip(DIMENSIONS, found, strict=False)),
            **{f"by_{name}": value for name, value in zip(columns, one.reference["extra"], strict=True)},
            **{name: None if one.prediction is None else one.prediction[name] for name in _OF_PREDICTION},
            "exact_match": one.exact_match,
            "f1": one.f1,
            **dict(zip(_OF_BASELINE, one.baseline or (None, None, None), strict=True)),
        }
        for one, found in zip(scored, slices, strict=True)
    ]
    schema = pa.schema([*_FIXED, *(pa.field(f"by_{name}", pa.string()) for name in columns)])
    name = f"{bucket:05d}.parquet"
    table = pa.Table.from_pylist(rows, schema=schema)
    plan.patiently(lambda: storage.write_table(plan.url(PER_QUESTION, name), table))
    if mismatches:
        listed = pa.Table.from_pylist(list(mismatches), schema=MISMATCH_SCHEMA)
        plan.patiently(lambda: storage.write_table(plan.url(MISMATCHES, name), listed))


_OF_PREDICTION = ("answer", "probability", "null_diff")
_OF_BASELINE = ("baseline_answer", "baseline_exact_match", "baseline_f1")
