"""Thresholds of the null answer from sums that merge, against the tuner that sees all questions at once."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrc.metrics import tune_null_threshold
from mrc.metrics.null_gains import NullGains

Rows = list[tuple[float, tuple[int, int], tuple[int, int]]]

scores = st.tuples(st.integers(0, 1), st.integers(0, 8))
diffs = st.one_of(st.sampled_from([-math.inf, math.inf, 0.0, 0.5, -3.0]), st.floats(-40, 40, allow_subnormal=False))
tables = st.lists(st.tuples(diffs, scores, scores), max_size=15)


def gains_of(rows: Rows) -> NullGains:
    answered, null = (np.array([row[at] for row in rows], dtype=np.int64).reshape(-1, 2) for at in (1, 2))
    return NullGains.of([row[0] for row in rows], answered, null)


def at(threshold: float, rows: Rows, column: int) -> int:
    return sum((null if diff > threshold else answered)[column] for diff, answered, null in rows)


@given(tables, st.integers(0, 1))
def test_what_is_told_of_a_threshold_is_what_it_gives(rows: Rows, column: int) -> None:
    thresholds, sums = gains_of(rows).thresholds()
    assert [at(threshold, rows, column) for threshold in thresholds] == sums[:, column].tolist()


@given(
    st.lists(st.tuples(st.sampled_from([-2.0, -0.25, 0.0, 1.5, 7.0]), scores, scores), max_size=15), st.integers(0, 1)
)
def test_best_is_the_tuners_where_no_digit_is_lost(rows: Rows, column: int) -> None:
    threshold, best = gains_of(rows).best(column)
    unit = 1 if column == 0 else 8
    tuned = tune_null_threshold(
        [row[0] for row in rows], [row[1][column] / unit for row in rows], [row[2][column] / unit for row in rows]
    )
    assert at(threshold, rows, column) == at(tuned.threshold, rows, column) == best
    assert [diff > threshold for diff, *_ in rows] == [diff > tuned.threshold for diff, *_ in rows]
    assert 100 * best / unit / max(1, len(rows)) == pytest.approx(tuned.score, abs=1e-6)


@given(tables, st.integers(1, 5), st.randoms(use_true_random=False))
def test_any_order_and_sharding_gives_the_same(rows: Rows, num_shards: int, rng: random.Random) -> None:
    shuffled = rng.sample(rows, len(rows))
    merged = gains_of(shuffled[::num_shards])
    for shard in range(1, num_shards):
        merged += gains_of(shuffled[shard::num_shards])
    whole = gains_of(rows)
    for one, other in zip(merged.thresholds(), whole.thresholds(), strict=True):
        assert (one == other).all()
    assert merged.curve() == whole.curve()


def test_many_questions_have_few_differences() -> None:
    rng = np.random.default_rng(0)
    gains = NullGains.of(
        rng.normal(0, 8, 1_000_000), np.ones((1_000_000, 2), np.int64), np.zeros((1_000_000, 2), np.int64)
    )
    assert len(gains.diffs) < 200_000
    assert len(gains.curve()) <= 200
    assert gains.best(0)[1] == gains.total == 1_000_000
