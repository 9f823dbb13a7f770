"""Batches hold every window once, within their budget, and depend on nothing that runs."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrc.batching import epoch_steps, first_token, pad, ragged_ranges, token_budget_batches, token_mask, worker_share

LENGTHS = st.lists(st.integers(1, 400), max_size=300).map(lambda values: np.array(values, dtype=np.int64))


@given(LENGTHS, st.integers(1, 4000))
def test_token_budget_batches_hold_every_window_once_within_the_budget(lengths: np.ndarray, budget: int) -> None:
    batches = token_budget_batches(lengths, budget)
    assert sorted(np.concatenate(batches).tolist() if batches else []) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= budget


@given(LENGTHS, st.integers(1, 4000))
def test_batches_of_equal_lengths_have_no_padding_and_are_as_few_as_can_be(lengths: np.ndarray, budget: int) -> None:
    batches = token_budget_batches(lengths, budget, "equal")
    assert sorted(np.concatenate(batches).tolist() if batches else []) == list(range(len(lengths)))
    expected = 0
    for length, count in zip(*np.unique(lengths, return_counts=True), strict=True):
        expected += -(-count // max(1, budget // length))
    assert len(batches) == expected
    for batch in batches:
        assert len(set(lengths[batch])) == 1
        assert len(batch) == 1 or lengths[batch].sum() <= budget


@given(LENGTHS, st.integers(1, 4000))
def test_packed_batches_are_as_full_as_they_can_be_in_order(lengths: np.ndarray, budget: int) -> None:
    batches = token_budget_batches(lengths, budget, "packed")
    assert sorted(np.concatenate(batches).tolist() if batches else []) == list(range(len(lengths)))
    for batch, following in pairwise(batches):
        assert len(batch) == 1 or lengths[batch].sum() <= budget
        assert lengths[batch].sum() + lengths[following[0]] > budget
        assert lengths[batch].min() >= lengths[following].max()


@given(LENGTHS)
def test_positions_count_from_the_beginning_of_each_window(lengths: np.ndarray) -> None:
    places = ragged_ranges(np.zeros_like(lengths), lengths)
    assert places.tolist() == [place for length in lengths for place in range(length)]


def test_token_budget_batches_of_mixed_lengths_waste_little() -> None:
    lengths = np.random.default_rng(0).integers(20, 385, 4000)
    padded = sum(len(batch) * lengths[batch].max() for batch in token_budget_batches(lengths, 4096))
    assert padded / lengths.sum() < 1.02


@given(LENGTHS, st.integers(1, 64), st.integers(0, 3), st.integers(0, 3))
def test_an_epoch_holds_every_window_once(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> None:
    steps = epoch_steps(lengths, batch_size, seed=seed, epoch=epoch)
    assert sorted(np.concatenate(steps).tolist() if steps else []) == list(range(len(lengths)))
    assert sum(len(step) != batch_size for step in steps) <= 1


def test_epochs_are_repeatable_and_differ() -> None:
    lengths = np.random.default_rng(0).integers(20, 385, 1000)
    first, again, second, other = (
        np.concatenate(epoch_steps(lengths, 16, seed=seed, epoch=epoch)).tolist()
        for seed, epoch in [(1, 0), (1, 0), (1, 1), (2, 0)]
    )
    assert first == again
    assert first != second
    assert first != other


def test_steps_group_like_lengths_but_come_in_random_order() -> None:
    lengths = np.random.default_rng(0).integers(20, 385, 4000)
    steps = epoch_steps(lengths, 16, seed=0, epoch=0)
    assert sum(len(step) * lengths[step].max() for step in steps) / lengths.sum() < 1.06
    longest = np.array([lengths[step].max() for step in steps])
    assert abs(np.corrcoef(longest, np.arange(len(steps)))[0, 1]) < 0.2


@given(st.integers(0, 40), st.integers(1, 8))
def test_shares_of_the_workers_are_the_step(size: int, world_size: int) -> None:
    step = np.arange(size)
    shares = [worker_share(step, rank, world_size) for rank in range(world_size)]
    assert sorted(np.concatenate(shares).tolist()) == step.tolist()
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=7), max_size=6), st.sampled_from(["left", "right"]))
def test_padding_keeps_the_rows_and_agrees_with_the_mask(rows: list[list[int]], side: str) -> None:
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    padded = pad(np.array([token for row in rows for token in row], dtype=np.int64), lengths, fill=0, side=side)
    mask = token_mask(lengths, side)
    assert padded.shape == mask.shape
    assert [line[keep].tolist() for line, keep in zip(padded, mask, strict=True)] == rows
    assert (padded[~mask] == 0).all()
    assert [keep.argmax() for keep in mask] == first_token(lengths, side).tolist()


@pytest.mark.parametrize(("side", "expected"), [("right", [[1, 2], [3, 0]]), ("left", [[1, 2], [0, 3]])])
def test_padding_sides(side: str, expected: list[list[int]]) -> None:
    assert pad(np.array([1, 2, 3]), np.array([2, 1]), fill=0, side=side).tolist() == expected
