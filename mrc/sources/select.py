"""Fewer rows of the input: the first ones or a seeded sample, the same ones however the files are cut into units."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mrc.errors import UsageError
from mrc.sources.config import Unit


def select_rows(units: Sequence[Unit], max_samples: int | None, seed: int | None) -> list[Unit]:
    """Return units that hold just some rows of the given ones, in the same order.

    Which rows these are depends on the order of all rows, `max_samples` and `seed` alone, not on the cut.

    Args:
        units: Units without picked rows, as `plan_units` gives them.
        max_samples: How many rows to keep; all where there are fewer, or where it is None.
        seed: None for the first rows, else the seed of a sample without replacement.

    Raises:
        UsageError: `max_samples` is below 1.
    """
    if max_samples is None:
        return list(units)
    if max_samples < 1:
        raise UsageError(f"{max_samples} rows are asked for; give at least 1, or leave the flag out for all rows")
    return _first_rows(units, max_samples) if seed is None else _sampled_rows(units, max_samples, seed)


def _first_rows(units: Iterable[Unit], max_samples: int) -> list[Unit]:
    chosen: list[Unit] = []
    for unit in units:
        if unit.num_rows > max_samples:
            return [*chosen, replace(unit, stop=unit.start + max_samples)]
        chosen.append(unit)
        max_samples -= unit.num_rows
        if not max_samples:
            break
    return chosen


def _sampled_rows(units: Sequence[Unit], max_samples: int, seed: int) -> list[Unit]:
    edges = np.concatenate([[0], np.cumsum([unit.num_rows for unit in units], dtype=np.int64)])
    total = int(edges[-1])
    if max_samples >= total:
        return list(units)
    # random.sample holds the sample alone, where a permutation of a billion rows would be held whole.
    picked = np.sort(np.array(random.Random(seed).sample(range(total), max_samples), dtype=np.int64))
    parts = np.split(picked, np.searchsorted(picked, edges[1:-1]))
    return [
        replace(unit, rows=_row_numbers(part - first + unit.start))
        for unit, part, first in zip(units, parts, edges[:-1], strict=True)
        if len(part)
    ]


def _row_numbers(rows: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(rows.tolist())
