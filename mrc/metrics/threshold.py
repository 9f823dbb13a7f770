"""The threshold at which the null answer should win, tuned on scored predictions.

A reader in SQuAD 2.0 mode answers "" where `null_score - best_score > null_score_diff_threshold`. Every threshold does
the same as one of the differences seen, or as one below them all, so one sort and one running sum try them all.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_GAIN_UNIT = 1 << 32
"""A score of 1 as an integer: the running sum is exact, so rounding never decides between two thresholds."""


@dataclass(frozen=True, kw_only=True)
class NullThreshold:
    """The best threshold and what it scores."""

    threshold: float
    """For `null_score_diff_threshold`: a difference above it answers ""."""

    score: float
    """Mean score at that threshold, in 0 to 100."""


def tune_null_threshold(
    null_score_diffs: npt.ArrayLike, score_if_answered: npt.ArrayLike, score_if_null: npt.ArrayLike
) -> NullThreshold:
    """Return the threshold with the best mean score; of equally good ones the lowest, which answers least.

    The best score is that of `find_best_thresh` in SQuAD's evaluate-v2.0.py where no two differences are equal. Where
    some are, the script takes each of them for a threshold of its own, and can report a score that none gives; here
    examples of equal difference are answered together. Where answering nothing is best, the script says 0, which would
    answer all below 0; here the threshold lies just below all differences.

    Args:
        null_score_diffs: Shape (num_examples,), null score minus best score; inf where there is no span to answer.
        score_if_answered: Shape (num_examples,), 0 to 1: the score of the best span.
        score_if_null: Shape (num_examples,), 0 to 1: the score of "".

    Returns:
        A finite threshold; 0 where no difference is finite. The score is 0 where there are no examples.
    """
    diffs = np.asarray(null_score_diffs, dtype=np.float64)
    null = _fixed_point(score_if_null)
    gains = _fixed_point(score_if_answered) - null
    finite = np.isfinite(diffs)
    # Where the difference is -inf every threshold answers; where it is inf none does.
    always = int(null.sum()) + int(gains[diffs == -np.inf].sum())
    order = np.argsort(diffs[finite], kind="stable")
    ascending, running = diffs[finite][order], np.cumsum(gains[finite][order])
    last_of_group = np.flatnonzero(np.diff(ascending, append=np.inf))
    below_all = np.nextafter(ascending[:1], -np.inf)
    thresholds = np.concatenate([below_all, ascending[last_of_group]]) if len(ascending) else np.zeros(1)
    totals = always + np.concatenate([np.zeros(1, dtype=np.int64), running[last_of_group]])
    best = int(np.argmax(totals))
    return NullThreshold(
        threshold=float(thresholds[best]), score=100.0 * float(totals[best]) / _GAIN_UNIT / max(len(diffs), 1)
    )


def centred_threshold(null_score_diffs: npt.ArrayLike, threshold: float) -> float:
    """Return a threshold that decides as `threshold` does on these differences, as far from them as may be.

    One that is a difference itself, as the best are, decides by the last bit of it, which is another on other hardware.

    Args:
        null_score_diffs: Shape (num_examples,).
        threshold: A difference above it answers "".

    Returns:
        The middle between its neighbours, or 1 from the one where there is no other.
    """
    diffs = np.asarray(null_score_diffs, dtype=np.float64)
    diffs = diffs[np.isfinite(diffs)]
    answered, null = diffs[diffs <= threshold], diffs[diffs > threshold]
    if not len(diffs):
        return threshold
    low = answered.max() if len(answered) else min(null.min() - 2, np.nextafter(null.min(), -np.inf))
    high = null.min() if len(null) else max(low + 2, np.nextafter(low, np.inf))
    middle = low + (high - low) / 2
    return float(middle if middle < high else low)


def _fixed_point(scores: npt.ArrayLike) -> npt.NDArray[np.int64]:
    return np.rint(np.asarray(scores, dtype=np.float64) * _GAIN_UNIT).astype(np.int64)
