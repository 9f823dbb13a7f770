"""The best answer of each group of rows, such as of all passages that a question was asked of.

Every unit leaves the best row of each of its groups behind; at the end tasks merge those, each task all groups of some
buckets. Scores compare between passages: they are sums of logits of one model, not shares of one passage. Order: what
has an answer first, then the higher score, then the id.
"""

import hashlib
import math
from functools import partial
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from mrc import storage
from mrc.errors import UsageError
from mrc.tasks import results

PARTS = "best_parts"
_BUCKET, _COUNT = "_bucket", "num_passages"
_NUM_BUCKETS = 256
_MOST_GROUPS = 4_000_000


def check_group(schema: pa.Schema, group: str) -> None:
    """Refuse a column that rows cannot be grouped by, and one that the table of the best has itself.

    Args:
        schema: Of the predictions.
        group: One of its columns.

    Raises:
        UsageError: Says what to change.
    """
    for name in (_COUNT, _BUCKET):
        if name in schema.names:
            raise UsageError(f"--keep_columns {name}: the best rows have a column of that name; rename the input's")
    names = [group, "has_answer", "score", "id"]
    try:
        best_of_unit(pa.table({name: pa.nulls(1, schema.field(name).type) for name in names}), group)
    except pa.ArrowException as error:
        kind = schema.field(group).type
        raise UsageError(f"--best_per {group}: rows cannot be grouped by values of {kind}; name another one") from error


def best_of_unit(predictions: pa.Table, group: str) -> pa.Table:
    """Return the best row of each group of a unit, with the number of its rows and the bucket of its group."""
    table = predictions.drop_columns([name for name in ("n_best",) if name in predictions.column_names])
    table = table.append_column(_COUNT, pa.array(np.ones(len(table), dtype=np.int64)))
    best = _merge(table, group)
    buckets = [_bucket(value) for value in best[group].to_pylist()]
    return best.append_column(_BUCKET, pa.array(buckets, pa.int16()))


def _bucket(value: object) -> int:
    return hashlib.blake2b(repr(value).encode(), digest_size=1).digest()[0]


def _merge(table: pa.Table, group: str) -> pa.Table:
    """Return the best row of each value of a column, with the groups' counts added up."""
    if not len(table):
        return table
    order = pc.sort_indices(
        table, [(group, "ascending"), ("has_answer", "descending"), ("score", "descending"), ("id", "ascending")]
    )
    table = table.take(order)
    codes = pc.dictionary_encode(table[group].combine_chunks(), null_encoding="encode").indices.to_numpy()
    first = np.flatnonzero(np.diff(codes, prepend=-1))
    counts = np.add.reduceat(table[_COUNT].to_numpy(), first)
    best = table.take(pa.array(first))
    return best.set_column(best.schema.get_field_index(_COUNT), _COUNT, pa.array(counts))


def write_best(output: str, units: list[str], group: str, num_groups: int, *, timeout_s: float) -> int:
    """Merge what the units left into `best/`, on the cluster, and return the number of groups.

    Args:
        output: The output folder.
        units: Names of all units.
        group: The column.
        num_groups: Sum of the units' groups, which bounds what a task holds.
        timeout_s: Of each request to the store, see `mrc.storage.persistently`.
    """
    storage.persistently(lambda: storage.remove(storage.join(output, "best")), timeout_s=timeout_s)
    num_tasks = min(_NUM_BUCKETS, max(1, math.ceil(num_groups / _MOST_GROUPS)))
    edges = np.linspace(0, _NUM_BUCKETS, num_tasks + 1).astype(int).tolist()
    tasks = [_write_buckets.remote(output, units, group, low, high, timeout_s) for low, high in pairwise(edges)]
    return int(sum(results(tasks)))


@ray.remote(num_cpus=0.5)
def _write_buckets(output: str, units: list[str], group: str, low: int, high: int, timeout_s: float) -> int:
    best: pa.Table | None = None
    for unit in units:
        read = partial(storage.read_table, storage.join(output, PARTS, unit + ".parquet"))
        part = storage.persistently(read, timeout_s=timeout_s)
        part = part.filter((pc.field(_BUCKET) >= low) & (pc.field(_BUCKET) < high))
        best = part if best is None else _merge(pa.concat_tables([best, part]), group)
    assert best is not None, "a job has a unit"
    write = partial(storage.write_table, storage.join(output, "best", f"{low:03d}.parquet"))
    storage.persistently(partial(write, best.drop_columns([_BUCKET])), timeout_s=timeout_s)
    return len(best)
