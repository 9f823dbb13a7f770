"""What every threshold of the null answer would score, from sums that merge.

Differences of null score and best score are rounded up to 14 binary digits, so that there are at most some hundred
thousand of them however many questions there are. Rounded up, because a threshold that is one of the rounded values
then parts the true differences exactly as the rounded ones: what is told of it is what it gives.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_DIGITS = 14
_CURVE_POINTS = 200

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class NullGains:
    """Scores with and without an answer, summed by difference."""

    diffs: npt.NDArray[np.float64]
    """Shape (num_diffs,), ascending: null score minus best score, rounded up; inf where there is no span to answer."""
    gains: Ints
    """Shape (num_diffs, 2): what answering adds to the sums of exact match and F1 over the null answer."""
    null: Ints
    """Shape (2,): sums of exact match and F1 if nothing is answered."""
    total: int
    """Number of questions."""

    @classmethod
    def of(cls, diffs: npt.ArrayLike, answered: Ints, null: Ints) -> "NullGains":
        """Return the gains of some questions.

        Args:
            diffs: Shape (num_questions,): null score minus best score.
            answered: Shape (num_questions, 2): exact match and F1 of the best span, as integers of any unit.
            null: Shape (num_questions, 2): of "".
        """
        rounded = _round_up(np.asarray(diffs, dtype=np.float64))
        return cls._summed(rounded, answered - null, null.sum(axis=0), len(rounded))

    @classmethod
    def _summed(cls, diffs: npt.NDArray[np.float64], gains: Ints, null: Ints, total: int) -> "NullGains":
        found, where = np.unique(diffs, return_inverse=True)
        sums = np.zeros((len(found), 2), dtype=np.int64)
        np.add.at(sums, where, gains)
        return cls(diffs=found, gains=sums, null=null, total=total)

    def __add__(self, other: "NullGains") -> "NullGains":
        return self._summed(
            np.concatenate([self.diffs, other.diffs]),
            np.concatenate([self.gains, other.gains]),
            self.null + other.null,
            self.total + other.total,
        )

    def thresholds(self) -> tuple[npt.NDArray[np.float64], Ints]:
        """Return all thresholds that differ, ascending, and the sums of exact match and F1 at each, shape (num, 2).

        The first answers nothing that has a finite difference. A difference above the threshold answers "".
        """
        always = self.null + self.gains[self.diffs == -np.inf].sum(axis=0)
        finite = np.isfinite(self.diffs)
        diffs = self.diffs[finite]
        sums = np.concatenate([np.zeros((1, 2), dtype=np.int64), np.cumsum(self.gains[finite], axis=0)])
        return np.concatenate([_below(diffs[:1]) if len(diffs) else np.zeros(1), diffs]), always + sums

    def best(self, column: int) -> tuple[float, int]:
        """Return the best threshold, of equally good ones the lowest, and its sum of exact match (0) or F1 (1)."""
        thresholds, sums = self.thresholds()
        at = int(np.argmax(sums[:, column]))
        return float(thresholds[at]), int(sums[at, column])

    def curve(self) -> list[tuple[float, int, int]]:
        """Return (threshold, sum of exact match, sum of F1) at some hundred places, evenly spread over questions."""
        thresholds, sums = self.thresholds()
        places = np.unique(np.linspace(0, len(thresholds) - 1, _CURVE_POINTS).astype(int))
        return [(float(thresholds[at]), int(sums[at, 0]), int(sums[at, 1])) for at in places]


def _round_up(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the next number at or above each that has no more than `_DIGITS` binary digits."""
    mantissa, exponent = np.frexp(values)
    rounded: npt.NDArray[np.float64] = np.ldexp(np.ceil(np.ldexp(mantissa, _DIGITS)), exponent - _DIGITS)
    return np.where(np.isfinite(values), rounded, values)


def _below(rounded: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return a number below whatever was rounded up to each, and not much below it."""
    lower: npt.NDArray[np.float64] = rounded - np.ldexp(1.0, np.frexp(rounded)[1] - _DIGITS)
    return lower
