"""Bootstrap intervals over contexts, from sums that merge: no process ever holds all questions, and no order matters.

Questions about one context are not independent, so contexts are drawn and not questions. Drawing n of n contexts would
need all of them in one place. In the Poisson bootstrap (Chamandy et al. 2012, "Estimating Uncertainty for Massive Data
Streams") each context counts w times in a replicate, with w from Poisson(1), independently of the others. Here w is a
function of the context's key and the replicate's number alone: whoever meets a question of the context, in whatever
shard, weighs it alike. So a replicate is a sum like any other, of integers, and the same to the bit for any sharding.
Two runs of the same questions are weighed alike too, so the replicates of their difference are paired.
"""

import math
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

NUM_REPLICATES = 1_000
"""Enough for the ends of a 95 % interval."""

_BLOCK = 4_096
_LEAST_CONTEXTS = 1.5
_WORD = 4
"""Weights from one random number of 64 bits."""

Ints = npt.NDArray[np.int64]


def poisson_weights(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """Return how often each context counts in each replicate, shape (num_keys, NUM_REPLICATES).

    The random numbers are those of splitmix64 (Steele et al. 2014) with the key for its seed.

    Args:
        keys: Shape (num_keys,), evenly spread, such as hashes.
    """
    steps = np.arange(1, NUM_REPLICATES // _WORD + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        bits = keys[:, None] + steps * np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits ^= bits >> np.uint64(31)
    # Little-endian whatever the machine, so that replicates are the same everywhere.
    weights: npt.NDArray[np.uint8] = _quantiles()[bits.astype("<u8").view("<u2")]
    return weights


@lru_cache(maxsize=1)
def _quantiles() -> npt.NDArray[np.uint8]:
    """Return the quantile function of Poisson(1) at each of 65,536 even steps."""
    cumulative = np.cumsum([math.exp(-1) / math.factorial(k) for k in range(12)])
    return np.searchsorted(cumulative, (np.arange(1 << 16) + 0.5) / (1 << 16)).astype(np.uint8)


def replicate_sums(keys: npt.NDArray[np.uint64], groups: Ints, values: Ints, num_groups: int) -> Ints:
    """Return the sums of values over the rows of each group: as they are, and in each replicate.

    Args:
        keys: Shape (num_rows,): of the rows' contexts.
        groups: Shape (num_rows, num_dimensions): a group of each row in each dimension, -1 for none.
        values: Shape (num_rows, num_values). A group's sum of their sizes, times 9, has to be below 2**53.
        num_groups: Groups of all dimensions together.

    Returns:
        Shape (num_groups, num_values, 1 + NUM_REPLICATES); the first are the plain sums.
    """
    num_values = values.shape[1]
    contexts, context = np.unique(keys, return_inverse=True)
    order = np.argsort(context, kind="stable")
    edges = np.searchsorted(context[order], np.arange(0, len(contexts) + _BLOCK, _BLOCK))
    sums = np.zeros((num_groups * num_values, 1 + NUM_REPLICATES), dtype=np.int64)
    for block, (start, stop) in enumerate(pairwise(edges)):
        first = block * _BLOCK
        drawn = contexts[first : first + _BLOCK]
        weights = np.ones((len(drawn), 1 + NUM_REPLICATES))
        weights[:, 1:] = poisson_weights(drawn)
        of_context = np.zeros((len(drawn), num_groups, num_values))
        rows = order[start:stop]
        for dimension in groups.T:
            chosen = rows[dimension[rows] >= 0]
            np.add.at(of_context, (context[chosen] - first, dimension[chosen]), values[chosen])
        # Integers below 2**53 are exact as floats, for which there are fast matrix products.
        sums += (of_context.reshape(len(drawn), -1).T @ weights).astype(np.int64)
    return sums.reshape(num_groups, num_values, 1 + NUM_REPLICATES)


def interval(part: Ints, whole: Ints, scale: float) -> tuple[float, float] | None:
    """Return the 95 % interval of scale * part / whole from replicates, None where there are too few contexts.

    The number of contexts is not known here, but shows in how much the replicates' sizes vary: (mean / deviation)
    squared is it, where all are of one size, and less where they are not (Kish's effective sample size).

    Args:
        part: Shape (NUM_REPLICATES,).
        whole: Shape (NUM_REPLICATES,): what the parts are of, such as numbers of questions.
        scale: 100 for percentages.
    """
    counted = whole > 0
    if not counted.any() or np.mean(whole) ** 2 < _LEAST_CONTEXTS * np.var(whole):
        return None
    low, high = np.percentile(scale * part[counted] / whole[counted], [2.5, 97.5])
    return float(low), float(high)
