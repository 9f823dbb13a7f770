"""Ids that an earlier row of any unit has, found before anything is answered.

The input is read once more. Hashes of 128 bits travel instead of ids, in buckets, so that no process holds more than a
few million of them: at a billion ids the chance that two different ones collide is under one in 10**20.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import ray

from mrc import storage
from mrc.answering.plan import Input
from mrc.answering.records import RECORDS
from mrc.examples import Example
from mrc.sources import Unit
from mrc.tasks import results

_MOST_IDS = 4_000_000
_MOST_TASKS = 256
_NAME = "duplicates.json"

Hashes = npt.NDArray[np.uint64]

Duplicates = dict[int, list[int]]
"""Index of a unit -> its items, counted from 0, whose id an earlier item has."""


def find_duplicates(read: Input, units: Sequence[Unit], output: str) -> Duplicates:
    """Return the items of all units whose id stands in an earlier unit; a job that goes on reads what it had found."""
    url = storage.join(output, RECORDS, _NAME)
    if storage.exists(url):
        return {int(unit): items for unit, items in json.loads(storage.read_text(url)).items()}
    num_buckets = max(1, math.ceil(sum(map(read.num_questions, units)) / _MOST_IDS))
    step = max(1, math.ceil(len(units) / _MOST_TASKS))
    # One more than the buckets, so that there are always several, as a list.
    hash_ids: Any = _hash_ids.options(num_returns=num_buckets + 1)
    chunks = [hash_ids.remote(read, units[at : at + step], at, num_buckets) for at in range(0, len(units), step)]
    found: Duplicates = {}
    for bucket in range(num_buckets):
        for unit, item in results(_repeated.remote(*(chunk[bucket] for chunk in chunks))):
            found.setdefault(unit, []).append(item)
    storage.write_text(url, json.dumps(found))
    return found


@ray.remote(num_cpus=0.5)
def _hash_ids(read: Input, units: Sequence[Unit], first: int, num_buckets: int) -> list[Hashes]:
    """Return for each bucket its ids, shape (num_ids, 4): hash in two parts, unit, item; and an empty one."""
    rows = [
        (*_hash(item.id), number, at)
        for number, unit in enumerate(units, first)
        for at, item in enumerate(storage.persistently(partial(read.read, unit)))
        if isinstance(item, Example)
    ]
    table = np.array(rows, dtype=np.uint64).reshape(-1, 4)
    bucket = table[:, 0] % np.uint64(num_buckets)
    return [table[bucket == np.uint64(i)] for i in range(num_buckets + 1)]


def _hash(text: str) -> tuple[int, int]:
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


@ray.remote(num_cpus=0.5)
def _repeated(*chunks: Hashes) -> list[tuple[int, int]]:
    """Return unit and item of each id but the first of its like."""
    table = np.concatenate(chunks)
    table = table[np.lexsort((table[:, 3], table[:, 2], table[:, 1], table[:, 0]))]
    again = (table[1:, :2] == table[:-1, :2]).all(axis=1)
    return [(int(unit), int(item)) for unit, item in table[1:][again][:, 2:].tolist()]
