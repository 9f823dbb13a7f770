"""Leads of best spans: who is close, by brute force, and how wide the error is."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrc.spans import ExampleSpans, SpanConfig, WindowSpans, are_close, lead_error, merge_windows

NUM_EXAMPLES = 3


def drawn(seed: int) -> tuple[np.ndarray, WindowSpans]:
    """Return the examples of some windows, and their spans on a grid so small that many share an end."""
    rng = np.random.default_rng(seed)
    num_windows = int(rng.integers(0, 5))
    places = rng.permuted(np.tile(np.arange(9), (num_windows, 1)), axis=1)[:, :4]
    spans = WindowSpans(
        start=(places // 3).astype(np.int32),
        end=(places % 3 + 4).astype(np.int32),
        score=-np.sort(-rng.normal(size=places.shape).astype(np.float32), axis=1),
        null_score=rng.normal(size=num_windows).astype(np.float32),
    )
    return rng.integers(0, NUM_EXAMPLES, num_windows), spans


@given(st.integers(0, 10_000), st.booleans(), st.sampled_from([-1.0, 0.5]), st.floats(0.01, 3))
def test_close_is_what_another_outcome_is_within_the_margin_of(
    seed: int, version_2_with_negative: bool, threshold: float, margin: float
) -> None:
    config = SpanConfig(version_2_with_negative=version_2_with_negative, null_score_diff_threshold=threshold)
    example, spans = drawn(seed)
    merged = merge_windows(example, spans, num_examples=NUM_EXAMPLES, config=config)
    expected = []
    for e in range(NUM_EXAMPLES):
        own = range(merged.row_splits[e], merged.row_splits[e + 1])
        is_close = False
        for i in own[1:]:
            shares_end = merged.start[i] == merged.start[own[0]] or merged.end[i] == merged.end[own[0]]
            narrower = math.sqrt(2) if shares_end and (example == e).sum() == 1 else 1
            is_close |= float(merged.score[own[0]]) - float(merged.score[i]) < margin / narrower
        if version_2_with_negative:
            is_close |= abs(merged.null_score_diff[e] - threshold) < margin
        expected.append(is_close)
    assert are_close(merged, margin, config).tolist() == expected


@pytest.mark.parametrize(
    ("other", "num_windows", "expected"),
    [((4, 9), 1, False), ((2, 6), 1, False), ((2, 9), 1, True), ((4, 9), 2, True)],
    ids=["same start", "same end", "apart", "of another window"],
)
def test_a_span_that_shares_an_end_has_a_narrower_margin(
    other: tuple[int, int], num_windows: int, expected: bool
) -> None:
    spans = WindowSpans(
        start=np.array([[4, other[0]]] * num_windows, dtype=np.int32),
        end=np.array([[6, other[1]]] * num_windows, dtype=np.int32),
        score=np.array([[5.0, 4.15]] * num_windows, dtype=np.float32),
        null_score=np.zeros(num_windows, dtype=np.float32),
    )
    example = np.zeros(num_windows, dtype=np.int64)
    merged = merge_windows(example, spans, num_examples=1, config=SpanConfig())
    assert are_close(merged, 1.0, SpanConfig()).tolist() == [expected]
    assert are_close(merged, 1.3, SpanConfig()).tolist() == [True]
    assert are_close(merged, 0.5, SpanConfig()).tolist() == [False]


def test_the_error_of_leads_is_that_of_two_logits_or_of_four() -> None:
    def merged(scores: list[float], num_windows: int = 1) -> ExampleSpans:
        spans = WindowSpans(
            start=np.array([[4, 4, 2, 7]] * num_windows, dtype=np.int32),
            end=np.array([[6, 9, 9, 8]] * num_windows, dtype=np.int32),
            score=np.array([scores] * num_windows, dtype=np.float32),
            null_score=np.zeros(num_windows, dtype=np.float32),
        )
        example = np.zeros(num_windows, dtype=np.int64)
        return merge_windows(example, spans, num_examples=1, config=SpanConfig(n_best_size=3))

    # The best is 2 too high; the next, which shares its start, 1, and the third 0. The fourth is not among the three.
    found, exact = [9.0, 7.0, 5.0, 1.0], [7.0, 6.0, 5.0, 1.0]
    assert lead_error(merged(found), merged(found)) == 0
    assert lead_error(merged(found), merged(exact)) == pytest.approx(math.sqrt((1**2 * 2 + 2**2) / 2))
    assert lead_error(merged(found, 2), merged(exact, 2)) == pytest.approx(math.sqrt((1**2 + 2**2) / 2))
    none = merge_windows(
        np.zeros(0, dtype=np.int64), WindowSpans.none(3), num_examples=1, config=SpanConfig(n_best_size=3)
    )
    assert lead_error(none, none) == math.inf
