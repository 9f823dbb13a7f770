"""Intervals over contexts: sums that merge to the bit, weights that are Poisson's, and intervals that cover."""

import math
import random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrc.metrics.bootstrap import NUM_REPLICATES, interval, poisson_weights, replicate_sums

rows = st.lists(
    st.tuples(st.integers(0, 5), st.integers(-1, 2), st.integers(0, 1), st.integers(0, 10**9)), min_size=1, max_size=30
)


def keys_of(contexts: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """Return keys as hashes are: evenly spread."""
    return np.asarray(contexts, dtype=np.uint64) * np.uint64(0xD1342543DE82EF95) + np.uint64(1)


def sums_of(some: list[tuple[int, int, int, int]]) -> npt.NDArray[np.int64]:
    table = np.array(some, dtype=np.int64).reshape(-1, 4)
    values = np.stack([np.ones(len(table), dtype=np.int64), table[:, 2], table[:, 3]], axis=1)
    groups = np.stack([np.zeros(len(table), dtype=np.int64), np.where(table[:, 1] < 0, -1, table[:, 1] + 1)], axis=1)
    return replicate_sums(keys_of(table[:, 0]), groups, values, 4)


def test_weights_are_of_poisson() -> None:
    weights = poisson_weights(keys_of(np.arange(4_000))).ravel()
    assert weights.mean() == pytest.approx(1, abs=0.003)
    assert weights.var() == pytest.approx(1, abs=0.005)
    for value in range(5):
        assert (weights == value).mean() == pytest.approx(math.exp(-1) / math.factorial(value), abs=0.002)


def test_weights_of_contexts_and_of_replicates_are_independent() -> None:
    weights = poisson_weights(keys_of(np.arange(2_000))).astype(float)
    for pairs in (np.corrcoef(weights[:200]), np.corrcoef(weights.T[:200])):
        assert np.abs(pairs - np.eye(200)).max() < 0.25
        assert np.abs(pairs - np.eye(200)).mean() < 0.04


def test_weights_never_change() -> None:
    """They are part of the table of evaluations: a run of today is compared with one of last year."""
    assert poisson_weights(np.array([1, 2**63], dtype=np.uint64))[:, :12].tolist() == GOLDEN


GOLDEN = [
    [0, 1, 0, 1, 3, 1, 1, 2, 0, 4, 1, 3],
    [3, 0, 2, 0, 1, 1, 1, 2, 1, 2, 1, 1],
]


@given(rows, st.integers(1, 7), st.randoms(use_true_random=False))
def test_any_order_and_sharding_gives_the_same_replicates(
    some: list[tuple[int, int, int, int]], num_shards: int, rng: random.Random
) -> None:
    shuffled = rng.sample(some, len(some))
    shards = [shuffled[at::num_shards] for at in range(num_shards)]
    assert np.array_equal(sum(map(sums_of, shards), start=np.zeros(1, dtype=np.int64)), sums_of(some))


@given(rows)
def test_replicates_are_the_weighted_sums(some: list[tuple[int, int, int, int]]) -> None:
    found = sums_of(some)
    weights = poisson_weights(keys_of([row[0] for row in some])).astype(np.int64)
    for group in range(4):
        chosen = [at for at, row in enumerate(some) if group == 0 or row[1] + 1 == group]
        wanted = np.array([[1, some[at][2], some[at][3]] for at in chosen], dtype=np.int64).reshape(-1, 3)
        assert (found[group, :, 0] == wanted.sum(axis=0)).all()
        assert (found[group, :, 1:] == wanted.T @ weights[chosen]).all()


def test_blocks_of_contexts_add_up() -> None:
    """More contexts than are weighed at a time."""
    some = [(context, context % 3, context % 2, context) for context in range(9_000)]
    assert (sums_of(some) == sums_of(some[:5_000]) + sums_of(some[5_000:])).all()


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(7)
    covered = 0
    for trial in range(200):
        contexts = np.repeat(np.arange(150), rng.integers(1, 8, 150))
        of_context = rng.random(150) < 0.5  # questions of a context are right or wrong together, but for some
        right = np.where(rng.random(len(contexts)) < 0.2, rng.random(len(contexts)) < 0.5, of_context[contexts])
        values = np.stack([np.ones_like(right), right], axis=1).astype(np.int64)
        keys = keys_of(contexts + 1_000 * trial)
        [[total, found]] = replicate_sums(keys, np.zeros((len(keys), 1), dtype=np.int64), values, 1)
        between = interval(found[1:], total[1:], 100)
        assert between is not None
        covered += between[0] <= 50 <= between[1]
    assert 180 <= covered <= 199


def test_too_few_contexts_have_no_interval() -> None:
    def between(contexts: list[int]) -> tuple[float, float] | None:
        [[total]] = replicate_sums(
            keys_of(contexts),
            np.zeros((len(contexts), 1), dtype=np.int64),
            np.ones((len(contexts), 1), dtype=np.int64),
            1,
        )
        return interval(total[1:], total[1:], 100)

    assert between([3] * 50) is None
    assert between([1, 2, 3, 4]) == (100.0, 100.0)
    assert interval(np.zeros(NUM_REPLICATES, dtype=np.int64), np.zeros(NUM_REPLICATES, dtype=np.int64), 100) is None
