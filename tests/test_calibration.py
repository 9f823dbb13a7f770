"""A fitted temperature recovers the one that outcomes were drawn at, and changes no answer."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrc.metrics import answer_probability, expected_calibration_error, fit_temperature
from mrc.spans import SpanConfig, WindowSpans, merge_windows

Floats = npt.NDArray[np.float64]
NOTHING = -math.inf


class Answered(NamedTuple):
    """Questions with the scores of their candidates, what was answered and whether that was right."""

    scores: Floats
    given: npt.NDArray[np.int64]
    is_right: npt.NDArray[np.bool_]

    def loss(self, temperature: float) -> float:
        """Return the mean negative log likelihood of being right, straight from its definition."""
        rows = np.arange(len(self.given))
        shares = np.exp(self.scores / temperature - self.scores.max(axis=1, keepdims=True) / temperature)
        of_given = shares[rows, self.given].copy()
        shares[rows, self.given] = 0
        others = shares.sum(axis=1)
        with np.errstate(divide="ignore"):
            return float(-np.log(np.where(self.is_right, of_given, others) / (of_given + others)).mean())


def drawn(seed: int, count: int, *, temperature: float = 1.0, scale: float = 2.0) -> Answered:
    """Return answers, some of them not the best candidate, that are right as often as a temperature says."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(count, 8)) * scale
    scores[rng.random(scores.shape) < 0.2] = NOTHING
    scores[:, :2] = rng.normal(size=(count, 2)) * scale
    answer = np.where(rng.random(count) < 0.8, scores.argmax(axis=1), 0)
    is_right = rng.random(count) < answer_probability(scores, answer, temperature)
    return Answered(scores, answer, is_right)


seeds = st.integers(0, 2**32 - 1)
scores = st.sampled_from([NOTHING, 0.0, 1.0]) | st.floats(-30, 30, width=32)


@st.composite
def answered(draw: st.DrawFn) -> Answered:
    """Return a few questions of any kind, each with a candidate that was answered."""
    count, width = draw(st.integers(0, 8)), draw(st.integers(1, 5))
    rows = [draw(st.lists(scores, min_size=width, max_size=width)) for _ in range(count)]
    given = [draw(st.integers(0, width - 1)) for _ in rows]
    for row, column in zip(rows, given, strict=True):
        row[column] = draw(st.floats(-30, 30, width=32))
    right = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    table = np.array(rows, dtype=np.float64).reshape(count, width)
    return Answered(table, np.array(given, dtype=np.int64), np.array(right, dtype=bool))


# The temperature


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("seed", range(3))
def test_the_temperature_that_outcomes_were_drawn_at_is_found_again(seed: int, temperature: float) -> None:
    assert fit_temperature(*drawn(seed, 10_000, temperature=temperature)) == pytest.approx(temperature, rel=0.1)


@given(seed=seeds, factor=st.floats(0.3, 3.0))
def test_scores_of_another_scale_have_a_temperature_of_that_scale(seed: int, factor: float) -> None:
    data = drawn(seed, 1000)
    found = fit_temperature(data.scores * factor, data.given, data.is_right)
    # The pull towards 1 is felt a little.
    assert found == pytest.approx(fit_temperature(*data) * factor, rel=0.05)


@given(data=answered())
def test_no_likelihood_is_worse_than_at_a_temperature_of_1(data: Answered) -> None:
    temperature = fit_temperature(*data)
    assert math.exp(-3.001) < temperature < math.exp(3.001)
    if len(data.given) and math.isfinite(data.loss(1.0)):
        assert data.loss(temperature) <= data.loss(1.0) + 1e-9


@given(seed=seeds, temperature=st.floats(0.2, 5.0))
def test_no_other_temperature_is_better(seed: int, temperature: float) -> None:
    data = drawn(seed, 300, temperature=temperature)

    def cost(log_t: float) -> float:
        return len(data.given) * data.loss(math.exp(log_t)) + log_t**2 / 2

    found = cost(math.log(fit_temperature(*data)))
    assert all(found <= cost(log_t) + 1e-6 for log_t in np.linspace(-2.99, 2.99, 200))


@given(data=answered(), seed=seeds)
def test_the_order_of_questions_and_of_candidates_changes_nothing(data: Answered, seed: int) -> None:
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(data.given))
    assert fit_temperature(data.scores[order], data.given[order], data.is_right[order]) == fit_temperature(*data)
    columns = rng.permutation(data.scores.shape[1])
    moved = data.scores[:, columns], np.argsort(columns)[data.given], data.is_right
    assert fit_temperature(*moved) == pytest.approx(fit_temperature(*data), rel=1e-5)


@given(data=answered())
def test_missing_candidates_change_nothing(data: Answered) -> None:
    padded = np.pad(data.scores, ((0, 0), (0, 3)), constant_values=NOTHING)
    assert fit_temperature(padded, data.given, data.is_right) == pytest.approx(fit_temperature(*data), rel=1e-5)


@pytest.mark.parametrize(
    ("rows", "is_right"),
    [
        (np.empty((0, 4)), []),
        ([[3.0, NOTHING], [-1.0, NOTHING]], [1, 0]),
        ([[NOTHING, NOTHING], [NOTHING, 2.0]], [0, 0]),
        ([[2.0, 2.0], [-5.0, -5.0]], [1, 1]),
        ([[math.inf, 1.0], [0.0, math.inf]], [0, 1]),
    ],
    ids=["no questions", "single candidates", "nothing answered", "candidates alike", "infinite scores"],
)
def test_where_the_data_say_nothing_the_temperature_is_1(rows: list[list[float]], is_right: list[int]) -> None:
    assert fit_temperature(rows, [0] * len(is_right), is_right) == 1.0


@pytest.mark.parametrize("is_right", [0, 1])
def test_few_answers_all_right_or_all_wrong_make_nothing_certain(is_right: int) -> None:
    temperature = fit_temperature([[6.0, 2.0, 1.0]] * 8, [0] * 8, [is_right] * 8)
    [probability] = answer_probability([[6.0, 2.0, 1.0]], [0], temperature)
    assert (1.0 < temperature < 10.0, 0.5 < temperature < 1.0) == (not is_right, bool(is_right))
    assert 0.3 < probability < 0.9999


def test_an_answer_far_ahead_and_wrong_has_a_finite_cost() -> None:
    # At a low temperature the rivals' shares are too small for a float.
    assert 1.0 < fit_temperature([[90.0, 0.0]] * 20, [0] * 20, [0] * 20) <= math.exp(3)


# Probabilities


@given(data=answered(), temperature=st.floats(0.05, 20.0), version_2_with_negative=st.booleans())
def test_probabilities_are_those_of_the_reader(
    data: Answered, temperature: float, version_2_with_negative: bool
) -> None:
    """Column 0 is the null answer of each question; the others are the spans of its one window, best first."""
    null, spans = data.scores[:, :1], -np.sort(-data.scores[:, 1:], axis=1)
    window = WindowSpans(
        start=np.where(spans > NOTHING, np.arange(spans.shape[1]), -1).astype(np.int32),
        end=np.full(spans.shape, 99, dtype=np.int32),
        score=spans.astype(np.float32),
        null_score=np.where(null > NOTHING, null, np.inf)[:, 0].astype(np.float32),
    )
    config = SpanConfig(version_2_with_negative=version_2_with_negative, temperature=temperature)
    merged = merge_windows(np.arange(len(null)), window, num_examples=len(null), config=config)
    shares = np.zeros(data.scores.shape)
    shares[:, 0] = merged.null_probability
    shares[:, 1:][spans > NOTHING] = merged.probability
    rivals = np.concatenate([window.null_score[:, None], spans], axis=1)
    if not version_2_with_negative:
        rivals[:, 0] = NOTHING
    for column in range(rivals.shape[1]):
        found = answer_probability(rivals, np.full(len(rivals), column), temperature)
        np.testing.assert_allclose(found, shares[:, column], rtol=1e-9, atol=1e-300)


def test_a_temperature_above_1_is_less_sure_and_one_below_surer() -> None:
    cold, plain, hot = (answer_probability([[2.0, 0.0]], [0], t)[0] for t in (0.5, 1.0, 2.0))
    assert plain == pytest.approx(1 / (1 + math.exp(-2)))
    assert cold == pytest.approx(1 / (1 + math.exp(-4)))
    assert hot == pytest.approx(1 / (1 + math.exp(-1)))


# Calibration error

confidences = st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=40)


@given(pairs=confidences, num_bins=st.integers(1, 20))
def test_the_calibration_error_is_the_weighted_mean_of_its_bins(pairs: list[tuple[float, bool]], num_bins: int) -> None:
    error = expected_calibration_error([p for p, _ in pairs], [right for _, right in pairs], num_bins)
    assert 0 <= error <= 1
    bins: dict[int, list[tuple[float, bool]]] = {}
    for p, right in pairs:
        bins.setdefault(max(0, math.ceil(p * num_bins) - 1), []).append((p, right))
    gaps = [
        len(held) / len(pairs) * abs(sum(r for _, r in held) / len(held) - sum(p for p, _ in held) / len(held))
        for held in bins.values()
    ]
    assert error == pytest.approx(sum(gaps), abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(1, 3)), min_size=1, max_size=11, unique_by=lambda x: x[0]))
def test_a_confidence_that_comes_true_as_often_as_it_says_has_no_error(groups: list[tuple[int, int]]) -> None:
    """Of ten answers of confidence n / 10, n are right."""
    probability = [n / 10 for n, repeats in groups for _ in range(10 * repeats)]
    is_right = [i % 10 < n for n, repeats in groups for i in range(10 * repeats)]
    assert expected_calibration_error(probability, is_right, num_bins=10) == pytest.approx(0, abs=1e-12)


def test_extremes_of_the_calibration_error() -> None:
    assert expected_calibration_error([], []) == 0
    assert expected_calibration_error([1.0, 0.0], [1, 0]) == 0
    assert expected_calibration_error([1.0, 0.0], [0, 1]) == 1
    assert expected_calibration_error([0.75, 0.75], [1, 0], num_bins=2) == 0.25


@pytest.mark.parametrize("temperature", [0.4, 3.0])
def test_fitting_makes_the_calibration_error_small(temperature: float) -> None:
    fitted, held_out = (drawn(seed, 5000, temperature=temperature) for seed in (1, 2))
    found = fit_temperature(*fitted)
    before, after = (
        expected_calibration_error(answer_probability(held_out.scores, held_out.given, t), held_out.is_right)
        for t in (1.0, found)
    )
    assert before > 0.1
    assert after < 0.02
