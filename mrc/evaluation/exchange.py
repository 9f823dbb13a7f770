"""Rows -> buckets by id, on the cluster: a join at any size, of any sharding and order.

Tasks read some units each and cut their rows into buckets by the hash of the id; other tasks take all pieces of one
bucket. The pieces lie in Ray's object store, which moves them between nodes, spills them to disk where memory is short,
and makes those of a lost node again. No process holds more than a bucket, and the driver holds no row at all.
(Ray Data's own join and groupby were tried: the one wants another library, the other takes seconds for thousands.)
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from mrc import storage
from mrc.errors import UsageError
from mrc.evaluation.parts import Parts, add_up
from mrc.evaluation.plan import Plan
from mrc.evaluation.predictions import PREDICTIONS, read_predictions
from mrc.evaluation.reading import BASELINE, REFERENCES, Rows, key_of, read_baseline, read_references
from mrc.evaluation.score import MISMATCH_SCHEMA, MISMATCHES, score_bucket
from mrc.evaluation.summing import Work
from mrc.examples import Reject
from mrc.metrics import is_korean
from mrc.tasks import results

BUCKET_ROWS = 50_000
"""References of a bucket: some hundred megabytes while it is scored."""

_MOST_TASKS = 256
_MERGED_AT_ONCE = 16
_MOST_VALUES = 10_000
_HASH_BITS = 128


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of the rows of some units before they are scored."""

    bad: int = 0
    questions: int = 0
    korean: int = 0
    unanswerable: int = 0
    hash: int = 0
    """Sum of hashes of the references: names the data, however they are sharded and ordered."""
    values: tuple[Counter[str], ...] = field(default=())
    """Of each column to slice by: how many questions have each value."""

    def __add__(self, other: "Facts") -> "Facts":
        return Facts(
            bad=self.bad + other.bad,
            questions=self.questions + other.questions,
            korean=self.korean + other.korean,
            unanswerable=self.unanswerable + other.unanswerable,
            hash=(self.hash + other.hash) % (1 << _HASH_BITS),
            values=tuple(map(Counter.__add__, self.values, other.values))
            if self.values and other.values
            else self.values or other.values,
        )


@dataclass(frozen=True)
class Pieces:
    """One side's rows in the object store: for each reading task, a table for each bucket."""

    by_task: list[list[Any]]
    facts: Facts


def num_buckets(num_references: int) -> int:
    """Return into how many buckets so many questions are cut."""
    return max(1, math.ceil(num_references / BUCKET_ROWS))


def scatter_references(plan: Plan) -> Pieces:
    """Read the references and cut them into buckets."""
    return _scatter(plan, "references", len(plan.references))


def scatter_predictions(plan: Plan) -> Pieces:
    """Read the predictions and cut them into buckets."""
    return _scatter(plan, "predictions", len(plan.predictions))


def scatter_baseline(plan: Plan) -> Pieces:
    """Read what the baseline answered and cut it into buckets."""
    return _scatter(plan, "baseline", len(plan.baseline_files))


def _scatter(plan: Plan, side: str, num_units: int) -> Pieces:
    buckets = num_buckets(plan.num_references)
    step = max(1, math.ceil(num_units / _MOST_TASKS))
    # One more than the buckets, for the facts, so that there are always several, as a list.
    task: Any = _read_some.options(num_returns=buckets + 1)
    shared = ray.put(plan)
    refs = [
        task.remote([shared], side, first, min(first + step, num_units), buckets) for first in range(0, num_units, step)
    ]
    facts = results([ref[-1] for ref in refs])
    return Pieces([ref[:-1] for ref in refs], sum(facts, Facts()))


# A process runs many tasks: it fetches the plan, which lists all units, once.
@lru_cache(maxsize=2)
def _fetch(shared: Any) -> Any:
    return ray.get(shared)


@ray.remote(num_cpus=1)
def _read_some(shared: list[Any], side: str, first: int, stop: int, buckets: int) -> list[Any]:
    """Return the rows of some units, a table for each bucket, and their facts."""
    plan: Plan = _fetch(shared[0])
    tables: list[pa.Table] = []
    bad: list[Reject] = []
    facts = Facts()
    for number in range(first, stop):
        if side == "baseline":
            tables.append(plan.patiently(partial(read_baseline, plan.baseline_files[number])))
            continue
        rows = plan.patiently(partial(_read, plan, side, number))
        tables.append(rows.table)
        bad += rows.bad
        if side == "references":
            facts += _facts_of(rows.table, plan)
    if bad:
        _list_bad(plan, f"bad_{side}", first, bad)
    facts += Facts(bad=len(bad))
    table = pa.concat_tables(tables)
    bucket = np.array([key_of(row_id) % buckets for row_id in table["id"].to_pylist()], dtype=np.int64)
    # Copied, so that a piece does not hold on to the whole.
    return [table.filter(pa.array(bucket == at)).combine_chunks() for at in range(buckets)] + [facts]


def _read(plan: Plan, side: str, number: int) -> Rows:
    if side == "predictions":
        return read_predictions(plan.predictions[number], number, plan.prediction_source, plan.config.null_odds)
    tokenizer = None if plan.config.tokenizer is None else _tokenizer(plan.config.tokenizer)
    return read_references(plan.references[number], number, plan.reference_source, plan.config.slice_columns, tokenizer)


@lru_cache(maxsize=1)
def _tokenizer(model: str) -> Any:
    from mrc.pretrained import load_tokenizer  # imports torch, which few evaluations need

    with storage.local_copy(model) as folder:
        return load_tokenizer(folder)


def _facts_of(table: pa.Table, plan: Plan) -> Facts:
    golds, questions = table["golds"].to_pylist(), table["question"].to_pylist()
    values = tuple(Counter(column) for column in zip(*table["extra"].to_pylist(), strict=True))
    for name, counter in zip(plan.config.slice_columns, values, strict=False):
        if len(counter) > _MOST_VALUES:
            raise UsageError(f"--slice_by {name}: it has thousands of values; name a column of categories")
    ids = table["id"].to_pylist()
    keys = zip(ids, questions, golds, table["context_key"].to_pylist(), strict=True)
    return Facts(
        questions=len(table),
        korean=sum(map(is_korean, questions)),
        unanswerable=sum(not gold for gold in golds),
        hash=sum(key_of(repr(key)) * key_of(repr(key[::-1])) for key in keys) % (1 << _HASH_BITS),
        values=values or tuple(Counter() for _ in plan.config.slice_columns),
    )


def _list_bad(plan: Plan, kind: str, first: int, bad: Sequence[Reject]) -> None:
    rows = [
        {**{name: value for name, value in asdict(each).items() if name in ("id", "source", "row")},
         "kind": kind, "detail": f"{each.reason}: {each.detail}"}
        for each in bad
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows, schema=MISMATCH_SCHEMA)
    plan.patiently(lambda: storage.write_table(plan.url(MISMATCHES, f"{kind}-{first:07d}.parquet"), table))


def score_all(work: Work, references: Pieces, predictions: Pieces, baseline: Pieces) -> Parts:
    """Score all buckets and return the sum of their parts, which tasks add up too."""
    shared = ray.put(work)
    sides = (references, predictions, baseline)
    counts = [len(side.by_task) for side in sides]
    refs = [
        _score_one.remote([shared], bucket, counts, *(pieces[bucket] for side in sides for pieces in side.by_task))
        for bucket in range(num_buckets(work.plan.num_references))
    ]
    while len(refs) > 1:
        refs = [_add_up.remote(*refs[at : at + _MERGED_AT_ONCE]) for at in range(0, len(refs), _MERGED_AT_ONCE)]
    [parts] = results(refs)
    return parts  # type: ignore[no-any-return]


@ray.remote(num_cpus=1)
def _score_one(shared: list[Any], bucket: int, counts: Sequence[int], *pieces: pa.Table) -> Parts:
    work: Work = _fetch(shared[0])
    first, second = counts[0], counts[0] + counts[1]
    sides = (pieces[:first], pieces[first:second], pieces[second:])
    schemas = (REFERENCES, PREDICTIONS, BASELINE)
    references, predictions, baseline = (
        pa.concat_tables([schema.empty_table(), *side]) for schema, side in zip(schemas, sides, strict=True)
    )
    return score_bucket(work, bucket, references, predictions, baseline)


@ray.remote(num_cpus=1)
def _add_up(*parts: Parts) -> Parts:
    return add_up(parts)
