"""What is known of some of the questions, in parts that merge: `+` adds them up in any order, to the same bits.

Everything that an evaluation tells comes out of the sum of these parts, whose size does not grow with the questions.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import reduce
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from mrc.metrics import Sums
from mrc.metrics.null_gains import NullGains

Slice = tuple[str, str]
"""Dimension and value."""

Ints = npt.NDArray[np.int64]

PROBABILITY_UNIT = 1 << 32
"""A probability of 1 in the integers of `Parts.calibration`."""

K = TypeVar("K", bound=Hashable)

SUMS = tuple(each.name for each in fields(Sums))
"""The sums of `mrc.metrics.Sums`, in the order of their columns here."""


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """The first rows by some order, of all that were seen."""

    most: int
    rows: tuple[dict[str, Any], ...] = ()
    """Each with its place in the order under "rank", which ends in its id."""

    @classmethod
    def of(cls, rows: Sequence[dict[str, Any]], most: int) -> "Ranked":
        """Return the first of some rows."""
        return cls(most=most, rows=tuple(sorted(rows, key=lambda row: row["rank"])[:most]))

    def __add__(self, other: "Ranked") -> "Ranked":
        return self.of([*self.rows, *other.rows], max(self.most, other.most))


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Sums over questions."""

    counts: Counter[str] = field(default_factory=Counter)
    """Questions of each kind, and ids that do not pair up, under the names of `Mismatches`."""
    sums: dict[Slice, Ints] = field(default_factory=dict)
    """By slice, shape (len(SUMS),)."""
    replicates: dict[Slice, Ints] = field(default_factory=dict)
    """By slice, sums of (questions, exact match, F1): shape (3, 1 + NUM_REPLICATES), see mrc.metrics.bootstrap."""
    changes: dict[Slice, Ints] = field(default_factory=dict)
    """The same of (questions, exact match, F1) minus the baseline's exact match and F1, of questions both have."""
    calibration: Ints = field(default_factory=lambda: np.zeros((15, 3), dtype=np.int64))
    """By bin of probability: answers, their probabilities in units of 1 / PROBABILITY_UNIT, exact matches."""
    null_gains: NullGains | None = None
    """None where a prediction lacks its null score."""
    worst: Ranked = Ranked(most=0)
    won: Ranked = Ranked(most=0)
    lost: Ranked = Ranked(most=0)

    def __add__(self, other: "Parts") -> "Parts":
        merged: dict[str, Any] = {}
        for name in (each.name for each in fields(self)):
            one, another = getattr(self, name), getattr(other, name)
            if isinstance(one, Mapping) and not isinstance(one, Counter):
                merged[name] = _merged(one, another)
            elif name == "null_gains":
                merged[name] = None if one is None or another is None else one + another
            else:
                merged[name] = one + another
        return Parts(**merged)


def _merged(one: Mapping[K, Ints], other: Mapping[K, Ints]) -> dict[K, Ints]:
    merged = dict(one)
    for key, sums in other.items():
        merged[key] = merged[key] + sums if key in merged else sums
    return merged


def add_up(parts: Sequence[Parts]) -> Parts:
    """Return the sum of parts, of which there is at least one."""
    return reduce(Parts.__add__, parts)
