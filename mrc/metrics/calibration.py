"""How far a reader's probabilities can be believed, and the temperature that makes them so.

A softmax over the n best is a probability by name only. Divided by a temperature before the softmax, the scores keep
their order, so no answer changes, and one number, fitted on questions with gold answers, brings confidence and accuracy
together: temperature scaling, of Guo et al. 2017, "On Calibration of Modern Neural Networks" (arXiv:1706.04599). Here
the outcome whose likelihood is maximised is not which candidate is right, since the right one may not be among them,
but whether the answer given is.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

_LARGEST = float(np.finfo(np.float32).max)

_GRID = tuple(i / 10 for i in range(-30, 31))
"""Values of log T that are tried first: T from 1/20 to 20. The likelihood may have several valleys, each wider."""

_GOLDEN = (math.sqrt(5) - 1) / 2


def fit_temperature(scores: npt.ArrayLike, given: npt.ArrayLike, is_right: npt.ArrayLike) -> float:
    """Return the temperature, 1/20 to 20, at which `answer_probability` best foretells which answers are right.

    It minimises the negative log likelihood plus (log T)² / 2, a weak belief in 1 that counts for as much as a handful
    of questions. Where all answers are right the likelihood alone would be best at T = 0, and a reader that got ten
    questions right would be certain of every answer from then on. Where the data say nothing T is 1, and nowhere is the
    likelihood worse than at 1. The sum over questions is exact, so their order changes nothing.

    Args:
        scores: Shape (num_questions, num_candidates): scores of the rivals for an answer, -inf where there are fewer.
        given: Shape (num_questions,): which column was answered.
        is_right: Shape (num_questions,), 0 or 1: whether that was an exact match.
    """
    cost = _cost(np.asarray(scores, dtype=np.float64), np.asarray(given, dtype=np.int64), np.asarray(is_right))

    def rank(log_t: float) -> tuple[float, float]:
        return cost(log_t), abs(log_t)  # of equal costs the nearest to T = 1

    best = min(_GRID, key=rank)
    refined = _golden_section(cost, max(best - 0.1, _GRID[0]), min(best + 0.1, _GRID[-1]))
    return math.exp(min(best, refined, key=rank))


def answer_probability(
    scores: npt.ArrayLike, given: npt.ArrayLike, temperature: float = 1.0
) -> npt.NDArray[np.float64]:
    """Return the share of each answer given in the softmax of score / temperature, shape (num_questions,).

    Args:
        scores: Shape (num_questions, num_candidates), -inf where there are fewer. One of inf takes everything.
        given: Shape (num_questions,): which column was answered. The share is 0 where it holds no candidate.
        temperature: Above 0.
    """
    rivals = np.minimum(np.asarray(scores, dtype=np.float64), _LARGEST)
    highest = rivals.max(axis=1, initial=-_LARGEST)
    weight = np.exp((rivals - highest[:, None]) / temperature)
    # The highest weighs 1: a total below that is one of no candidates.
    total: npt.NDArray[np.float64] = np.maximum(weight.sum(axis=1), 1.0)
    return _column(weight, np.asarray(given, dtype=np.int64)) / total


def expected_calibration_error(probability: npt.ArrayLike, is_right: npt.ArrayLike, num_bins: int = 15) -> float:
    """Return how far confidence and accuracy are apart, 0 to 1: the mean over bins of equal width, weighted by size.

    As in Guo et al. 2017, section 2, bin m holds the probabilities in (m / num_bins, (m + 1) / num_bins]; the first
    holds 0, too. The error is 0 where there are no questions.

    Args:
        probability: Shape (num_questions,), 0 to 1: of the answers given.
        is_right: Shape (num_questions,), 0 or 1.
        num_bins: At least 1.
    """
    confidence, outcome = np.asarray(probability, dtype=np.float64), np.asarray(is_right, dtype=np.float64)
    bins = np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    gaps = np.bincount(bins, confidence - outcome, minlength=num_bins)
    return float(np.abs(gaps).sum()) / max(1, len(confidence))


def _cost(
    scores: npt.NDArray[np.float64], given: npt.NDArray[np.int64], is_right: npt.NDArray[np.generic]
) -> Callable[[float], float]:
    """Return the function of log T that `fit_temperature` minimises."""
    answered = _column(scores, given)
    is_rival = (scores > -np.inf) & (np.arange(scores.shape[1]) != given[:, None])
    # The rest have the same probability at every temperature, some of them one that makes the likelihood 0.
    telling = np.isfinite(answered) & is_rival.any(axis=1) & (scores < np.inf).all(axis=1)
    rivals = np.where(is_rival[telling], scores[telling], -np.inf)
    strongest = rivals.max(axis=1, initial=-np.inf)
    behind = rivals - strongest[:, None]
    gap = strongest - answered[telling]
    sign = np.where(is_right[telling].astype(bool), 1.0, -1.0)

    def cost(log_t: float) -> float:
        temperature = math.exp(log_t)
        # Log odds of the rivals together against the answer: where p nears 1, 1 - p would be lost to rounding.
        odds = gap / temperature + np.log(np.exp(behind / temperature).sum(axis=1))
        return math.fsum([*np.logaddexp(0.0, sign * odds).tolist(), log_t**2 / 2])

    return cost


def _column(values: npt.NDArray[np.float64], column: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return one value of each row, shape (num_rows,)."""
    chosen: npt.NDArray[np.float64] = np.take_along_axis(values, column[:, None], axis=1)[:, 0]
    return chosen


def _golden_section(cost: Callable[[float], float], low: float, high: float) -> float:
    """Return where a function with one valley between two places is lowest, to within a millionth."""
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    cost_left, cost_right = cost(left), cost(right)
    while high - low > 1e-6:
        if cost_left <= cost_right:
            high, right, cost_right = right, left, cost_left
            left = high - _GOLDEN * (high - low)
            cost_left = cost(left)
        else:
            low, left, cost_left = left, right, cost_right
            right = low + _GOLDEN * (high - low)
            cost_right = cost(right)
    return (low + high) / 2
