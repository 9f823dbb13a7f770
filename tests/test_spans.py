"""Spans, of windows and merged, against brute force over every legal pair of tokens."""

import math
import random
import unicodedata
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mrc.errors import UsageError
from mrc.examples import Example
from mrc.spans import (
    ExampleSpans,
    SpanConfig,
    WindowSpans,
    bounds_repeat,
    make_predictions,
    merge_windows,
    token_bounds,
)
from mrc.spans.best import _highest, _places, window_spans
from mrc.windows import Windows

OUTSIDE = (-1, -1)
CONTEXT = "".join(chr(ord("a") + i % 26) for i in range(60))


@dataclass
class Window:
    """One window as plain lists: logits and bounds of each token."""

    start: list[float]
    end: list[float]
    bounds: list[tuple[int, int]]
    null: int

    def padded(self, left: int, right: int, logit: float = 9.0) -> "Window":
        return Window(
            start=[logit] * left + self.start + [logit] * right,
            end=[logit] * left + self.end + [logit] * right,
            bounds=[OUTSIDE] * left + self.bounds + [OUTSIDE] * right,
            null=self.null + left,
        )


def found_in(windows: list[Window], k: int, max_answer_length: int, dtype: torch.dtype = torch.float32) -> WindowSpans:
    """Find the spans of windows of equal length; both ways where no spans can be the same characters."""
    located = located_as(windows)
    repeats = bounds_repeat(located.offsets, located.row_splits, k)
    found, *others = (
        window_spans(
            torch.tensor([window.start for window in windows], dtype=dtype),
            torch.tensor([window.end for window in windows], dtype=dtype),
            located,
            np.arange(len(windows)),
            side="right",
            repeats=told,
            config=SpanConfig(n_best_size=k, max_answer_length=max_answer_length),
        )
        for told in ([repeats, repeats * 2] if repeats.any() else [repeats, repeats + k])
    )
    for other in others:
        assert_same(other, found)
    return found


def located_as(windows: list[Window]) -> Windows:
    """Return windows that have these bounds, and of the rest only what finding spans looks at."""
    lengths = [len(window.bounds) for window in windows]
    return Windows(
        example=np.arange(len(windows), dtype=np.int32),
        row_splits=np.cumsum([0, *lengths], dtype=np.int64),
        input_ids=np.zeros(sum(lengths), dtype=np.int32),
        token_type_ids=None,
        offsets=np.array([pair for window in windows for pair in window.bounds], dtype=np.int32).reshape(-1, 2),
        null_index=np.array([window.null for window in windows], dtype=np.int32),
    )


def assert_same(found: WindowSpans, expected: WindowSpans) -> None:
    for name in vars(expected):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def brute_force(windows: list[Window], max_answer_length: int) -> list[tuple[float, int, int]]:
    """Return (-score, start, end) of all distinct legal spans of all windows, in order."""
    best: dict[tuple[int, int], float] = {}
    for window in windows:
        tokens = [i for i, bounds in enumerate(window.bounds) if bounds != OUTSIDE]
        for i in tokens:
            for j in tokens:
                if i <= j < i + max_answer_length:
                    span = (window.bounds[i][0], window.bounds[j][1])
                    score = float(np.float32(window.start[i]) + np.float32(window.end[j]))
                    best[span] = max(best.get(span, -math.inf), score)
    return sorted((-score, *span) for span, score in best.items())


def spans_of(found: WindowSpans, row: int) -> list[tuple[float, int, int]]:
    """Return (-score, start, end) of the spans in one row, checking that the rest of the row is marked as empty."""
    count = int((found.start[row] >= 0).sum())
    assert (found.start[row, count:] == -1).all()
    assert (found.end[row, count:] == -1).all()
    assert (found.score[row, count:] == -np.inf).all()
    columns = (-found.score[row, :count], found.start[row, :count], found.end[row, :count])
    return list(zip(*(column.tolist() for column in columns), strict=True))


# Few values make many ties; -0.0 and 0.0 are one of them.
logits = st.sampled_from([-1.0, -0.0, 0.0, 0.5, 1.0])


@st.composite
def token_runs(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Bounds of neighbouring tokens: of their own text, of one character's bytes, of a byte and the next, or blank."""
    bounds: list[tuple[int, int]] = []
    start, end = 0, draw(st.integers(1, 3))
    for kind in draw(st.lists(st.sampled_from(["next", "next", "same", "grown", "blank"]), max_size=7)):
        if kind == "next":
            start, end = end, end + draw(st.integers(1, 2))
        elif kind == "grown":
            end += 1
        bounds.append(OUTSIDE if kind == "blank" else (start, end))
    return bounds


@st.composite
def windows_of_one_length(draw: st.DrawFn, values: st.SearchStrategy[float] = logits) -> list[Window]:
    bounds = [[OUTSIDE, *run] for run in draw(st.lists(token_runs(), min_size=1, max_size=3))]
    length = max(map(len, bounds))
    rows = st.lists(values, min_size=length, max_size=length)
    return [
        Window(
            start=draw(rows),
            end=draw(rows),
            bounds=run + [OUTSIDE] * (length - len(run)),
            null=draw(st.integers(0, length - 1)),
        )
        for run in bounds
    ]


sizes = st.integers(1, 12)
lengths = st.integers(1, 9)


@given(windows_of_one_length(), sizes, lengths)
def test_best_spans_are_the_exact_best_in_order(windows: list[Window], k: int, max_answer_length: int) -> None:
    found = found_in(windows, k, max_answer_length)
    for row, window in enumerate(windows):
        assert spans_of(found, row) == brute_force([window], max_answer_length)[:k]
        assert found.null_score[row] == window.start[window.null] + window.end[window.null]


@given(windows_of_one_length(), sizes, lengths, st.integers(0, 4), st.integers(0, 4))
def test_padding_on_either_side_changes_nothing(
    windows: list[Window], k: int, max_answer_length: int, left: int, right: int
) -> None:
    plain = found_in(windows, k, max_answer_length)
    padded = found_in([window.padded(left, right) for window in windows], k, max_answer_length)
    assert_same(padded, plain)


@given(st.lists(windows_of_one_length(), min_size=1, max_size=3), sizes, lengths, st.randoms())
def test_windows_of_any_lengths_are_found_as_alone(
    batches: list[list[Window]], k: int, max_answer_length: int, random: random.Random
) -> None:
    windows = [window for batch in batches for window in batch]
    located = located_as(windows)
    chosen = np.array(random.sample(range(len(windows)), k=random.randint(1, len(windows))))
    longest = int(located.lengths[chosen].max())
    for side in ("left", "right"):
        missing = [(longest - len(windows[at].bounds)) for at in chosen]
        padded = [
            windows[at].padded(*((n, 0) if side == "left" else (0, n))) for at, n in zip(chosen, missing, strict=True)
        ]
        found = window_spans(
            torch.tensor([window.start for window in padded]),
            torch.tensor([window.end for window in padded]),
            located,
            chosen,
            side=side,
            repeats=bounds_repeat(located.offsets, located.row_splits, k),
            config=SpanConfig(n_best_size=k, max_answer_length=max_answer_length),
        )
        alone = [found_in([windows[at]], k, max_answer_length) for at in chosen]
        assert_same(found, WindowSpans.concatenate(alone))


@given(windows_of_one_length(), sizes, lengths)
def test_a_window_alone_gives_what_it_gives_in_a_batch(windows: list[Window], k: int, max_answer_length: int) -> None:
    together = found_in(windows, k, max_answer_length)
    assert_same(together, WindowSpans.concatenate([found_in([window], k, max_answer_length) for window in windows]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@given(seed=st.integers(0, 2**32 - 1))
def test_half_precision_is_summed_in_float32(dtype: torch.dtype, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    start, end = (torch.randn(12, generator=generator).mul(8).to(dtype).float().tolist() for _ in range(2))
    window = Window(start=start, end=end, bounds=[(i, i + 1) for i in range(12)], null=3)
    found = found_in([window], 40, 6, dtype)
    assert spans_of(found, 0) == brute_force([window], 6)[:40]
    assert found.null_score[0] == np.float32(start[3]) + np.float32(end[3])


def test_a_sum_that_half_precision_cannot_hold_still_decides() -> None:
    # In float16 both sums are 2048: its next number is 2050.
    window = Window(start=[0.0, 1024.0, 1024.0], end=[0.0, 1024.0, 1025.0], bounds=[OUTSIDE, (0, 1), (2, 3)], null=0)
    found = found_in([window], 1, 1, torch.float16)
    assert spans_of(found, 0) == [(-2049.0, 2, 3)]


odd_logits = st.sampled_from([math.nan, math.inf, -math.inf, 3.4e38, -3.4e38, 0.0, 1.0])


@given(windows_of_one_length(odd_logits), sizes, lengths, st.booleans())
def test_odd_logits_give_finite_scores_and_shares(
    windows: list[Window], k: int, max_answer_length: int, version_2_with_negative: bool
) -> None:
    found = found_in(windows, k, max_answer_length)
    config = SpanConfig(n_best_size=k, version_2_with_negative=version_2_with_negative)
    merged = merge_windows(np.zeros(len(windows), dtype=np.int32), found, num_examples=1, config=config)
    assert np.isfinite(merged.score).all()
    assert not np.isnan(merged.null_score).any()
    total = merged.probability.sum() + merged.null_probability.sum()
    assert total == pytest.approx(1.0 if version_2_with_negative or len(merged.score) else 0.0)


def test_nan_and_minus_infinity_begin_and_end_nothing() -> None:
    start, end = [math.nan, 1.0, 2.0, math.nan], [math.nan, 1.0, -math.inf, 3.0]
    window = Window(start=start, end=end, bounds=[OUTSIDE, (0, 1), (2, 3), (4, 5)], null=0)
    found = found_in([window], 9, 9)
    assert spans_of(found, 0) == [(-5.0, 2, 5), (-4.0, 0, 5), (-2.0, 0, 1)]
    assert found.null_score[0] == np.inf


@given(st.integers(1, 5), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_a_cpu_and_other_devices_find_the_same_highest(rows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    keys = torch.from_numpy(rng.integers(-(2**62), 2**62, (rows, columns)))
    k = int(rng.integers(1, columns + 1))
    assert torch.equal(_highest(keys, k), keys.topk(k, dim=1).values)


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3)))
def test_a_cpu_and_other_devices_find_the_same_places(rows: list[list[bool]]) -> None:
    mask = torch.tensor(rows, dtype=torch.bool).reshape(-1, 3)
    assert torch.equal(_places(mask), mask.flatten().nonzero().squeeze(1))


def test_windows_without_context() -> None:
    questions = [Window(start=[1.0, 2.0], end=[3.0, 4.0], bounds=[OUTSIDE, OUTSIDE], null=1)] * 2
    found_nothing = found_in(questions, 3, 4)
    assert spans_of(found_nothing, 1) == []
    assert found_nothing.null_score.tolist() == [6.0, 6.0]


def test_the_best_legal_span_behind_better_question_tokens_is_found() -> None:
    # Two top lists of two would hold question tokens only (trap of the popular script).
    bounds = [OUTSIDE, OUTSIDE, OUTSIDE, (0, 1), (1, 2)]
    window = Window(start=[9.0, 8.0, 7.0, 1.0, 0.0], end=[9.0, 8.0, 7.0, 0.0, 1.0], bounds=bounds, null=0)
    assert spans_of(found_in([window], 2, 30), 0) == [(-2.0, 0, 2), (-1.0, 0, 1)]


# Tokens -> bounds.

offsets_in = st.tuples(st.integers(0, 6), st.integers(0, 6)).map(lambda pair: (min(pair), max(pair)))


@given(
    st.lists(
        st.tuples(
            st.text(st.sampled_from(" \t\u3000\u2028\x1fa가🙂\ud800"), min_size=6, max_size=6),
            st.lists(st.one_of(st.just(OUTSIDE), offsets_in), max_size=5),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_bounds_are_the_stripped_tokens(windows: list[tuple[str, list[tuple[int, int]]]]) -> None:
    offsets = np.array([pair for _, pairs in windows for pair in pairs], dtype=np.int32).reshape(-1, 2)
    row_splits = np.cumsum([0, *(len(pairs) for _, pairs in windows)])
    bounds = token_bounds(offsets, row_splits, np.arange(len(windows)), [context for context, _ in windows])
    wanted = []
    for context, pairs in windows:
        for start, end in pairs:
            text = context[start:end] if start >= 0 else ""
            left = start + len(text) - len(text.lstrip())
            wanted.append((left, left + len(text.strip())) if text.strip() else OUTSIDE)
    assert list(map(tuple, bounds.tolist())) == wanted


def test_windows_find_their_own_context() -> None:
    bounds = token_bounds(np.array([[0, 2], [1, 3]]), np.array([0, 1, 2]), np.array([1, 0]), [" ab", "x "])
    assert bounds.tolist() == [[0, 1], [1, 3]]


def test_an_emoji_of_several_tokens_is_one_character() -> None:
    context = "hi 🙂 you"
    offsets = np.array([(0, 2), (2, 4), (3, 4), (3, 4), (4, 8)])
    bounds = token_bounds(offsets, np.array([0, 5]), np.array([0]), [context])
    window = Window(start=[0.0, 1.0, 3.0, 2.0, 0.0], end=[0.0, 2.0, 1.0, 3.0, 0.0], bounds=bounds.tolist(), null=0)
    spans = spans_of(found_in([window], 20, 30), 0)
    assert [(score, context[start:end]) for score, start, end in spans] == [
        *[(-6.0, "🙂"), (-3.0, "hi 🙂"), (-3.0, "🙂 you")],
        *[(0.0, "hi"), (0.0, "hi 🙂 you"), (0.0, "you")],
    ]


@pytest.mark.parametrize(
    ("context", "tokens", "wanted"),
    [
        (unicodedata.normalize("NFD", "한강"), [(0, 1), (3, 4)], ["한", "강"]),
        (unicodedata.normalize("NFD", "한강"), [(0, 1), (1, 2), (2, 3), (3, 6)], ["한", "한", "한", "강"]),
        ("cafe\u0301 x", [(0, 4), (6, 7)], ["cafe\u0301", "x"]),
        ("e\u0301\u0302", [(0, 1), (1, 2), (2, 3)], ["e\u0301\u0302"] * 3),
        ("한강", [(0, 1), (1, 2)], ["한", "강"]),
    ],
)
def test_bounds_keep_characters_whole(context: str, tokens: list[tuple[int, int]], wanted: list[str]) -> None:
    bounds = token_bounds(np.array(tokens), np.array([0, len(tokens)]), np.array([0]), [context])
    texts = [unicodedata.normalize("NFC", context[start:end]) for start, end in bounds.tolist()]
    assert texts == [unicodedata.normalize("NFC", text) for text in wanted]


def test_a_context_that_begins_with_a_mark_stays_within_itself() -> None:
    bounds = token_bounds(np.array([[0, 1], [0, 2]]), np.array([0, 1, 2]), np.array([0, 1]), ["e", "\u0301x"])
    assert bounds.tolist() == [[0, 1], [0, 2]]


# Merging.


def merged_of(windows: list[Window], example: list[int], config: SpanConfig, num_examples: int = 3) -> ExampleSpans:
    found = found_in(windows, config.n_best_size, config.max_answer_length)
    return merge_windows(np.array(example), found, num_examples=num_examples, config=config)


def examples(count: int) -> list[Example]:
    return [Example(id=str(i), question="?", context=CONTEXT) for i in range(count)]


assignments = st.lists(st.integers(0, 2), min_size=3, max_size=3)


@given(windows_of_one_length(), assignments, sizes, lengths)
def test_merged_spans_are_the_exact_n_best_of_all_windows(
    windows: list[Window], assignment: list[int], n_best_size: int, max_answer_length: int
) -> None:
    example = assignment[: len(windows)]
    config = SpanConfig(n_best_size=n_best_size, max_answer_length=max_answer_length)
    predictions = make_predictions(examples(3), merged_of(windows, example, config))
    for i, prediction in enumerate(predictions):
        own = [window for window, e in zip(windows, example, strict=True) if e == i]
        n_best = [(-span.score, span.start, span.end) for span in prediction.n_best]
        assert n_best == brute_force(own, max_answer_length)[:n_best_size]
        assert all(span.text == CONTEXT[span.start : span.end] for span in prediction.n_best)
        nulls = [window.start[window.null] + window.end[window.null] for window in own]
        assert prediction.null_score == min(nulls, default=math.inf)
        assert prediction.num_windows == len(own)


@given(windows_of_one_length(), assignments, sizes, st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_windows_changes_nothing(
    windows: list[Window], assignment: list[int], k: int, version_2_with_negative: bool, rng: random.Random
) -> None:
    config = SpanConfig(n_best_size=k, version_2_with_negative=version_2_with_negative)
    order = rng.sample(range(len(windows)), len(windows))
    plain = merged_of(windows, assignment[: len(windows)], config)
    shuffled = merged_of([windows[i] for i in order], [assignment[i] for i in order], config)
    assert make_predictions(examples(3), shuffled) == make_predictions(examples(3), plain)


@given(
    windows_of_one_length(),
    assignments,
    sizes,
    st.booleans(),
    st.sampled_from([-1.0, 0.0, 0.5]),
    st.sampled_from([0.25, 1.0, 3.0]),
)
def test_decisions_and_shares(
    windows: list[Window],
    assignment: list[int],
    k: int,
    version_2_with_negative: bool,
    threshold: float,
    temperature: float,
) -> None:
    config = SpanConfig(
        n_best_size=k,
        version_2_with_negative=version_2_with_negative,
        null_score_diff_threshold=threshold,
        temperature=temperature,
    )
    merged = merged_of(windows, assignment[: len(windows)], config)
    for i, prediction in enumerate(make_predictions(examples(3), merged)):
        scores = [span.score for span in prediction.n_best]
        null_wins = not scores or (version_2_with_negative and prediction.null_score - scores[0] > threshold)
        assert prediction.has_answer != null_wins
        assert merged.null_score_diff[i] == (prediction.null_score - scores[0] if scores else math.inf)
        rivals = [*scores, prediction.null_score] if version_2_with_negative else scores
        weights = (
            [math.exp(score / temperature) for score in rivals]
            if math.inf not in rivals
            else [0.0] * len(scores) + [1.0]
        )
        shares = [weight / sum(weights) for weight in weights]
        assert [span.probability for span in prediction.n_best] == pytest.approx(shares[: len(scores)])
        null_share = shares[-1] if version_2_with_negative else 0.0
        if null_wins:
            assert (prediction.answer, prediction.start, prediction.end) == ("", -1, -1)
            assert prediction.score == prediction.null_score
            assert prediction.probability == pytest.approx(null_share)
        else:
            best = prediction.n_best[0]
            assert (prediction.answer, prediction.start, prediction.end) == (best.text, best.start, best.end)
            assert (prediction.score, prediction.probability) == (best.score, best.probability)


@given(windows_of_one_length(), assignments, sizes, st.booleans(), st.floats(0.05, 20))
def test_a_temperature_changes_no_answer_and_no_order(
    windows: list[Window], assignment: list[int], k: int, version_2_with_negative: bool, temperature: float
) -> None:
    config = SpanConfig(n_best_size=k, version_2_with_negative=version_2_with_negative)
    plain = merged_of(windows, assignment[: len(windows)], config)
    found = merged_of(windows, assignment[: len(windows)], replace(config, temperature=temperature))
    for name in ("row_splits", "start", "end", "score", "null_score", "null_score_diff", "has_answer"):
        np.testing.assert_array_equal(getattr(found, name), getattr(plain, name))
    for prediction in make_predictions(examples(3), found):
        probabilities = [span.probability for span in prediction.n_best]
        assert probabilities == sorted(probabilities, reverse=True)


def test_a_span_of_two_windows_counts_once_with_its_best_score() -> None:
    low = Window(start=[0.0, 1.0], end=[0.0, 1.0], bounds=[OUTSIDE, (4, 6)], null=0)
    high = Window(start=[0.0, 2.0], end=[-1.0, 1.0], bounds=[OUTSIDE, (4, 6)], null=0)
    (prediction,) = make_predictions(examples(1), merged_of([low, high], [0, 0], SpanConfig(), 1))
    assert [(span.text, span.score, span.probability) for span in prediction.n_best] == [("ef", 3.0, 1.0)]
    assert prediction.null_score == -1.0


def test_no_windows_and_no_examples() -> None:
    config = SpanConfig(version_2_with_negative=True)
    empty = WindowSpans(
        start=np.zeros((0, 20), dtype=np.int32),
        end=np.zeros((0, 20), dtype=np.int32),
        score=np.zeros((0, 20), dtype=np.float32),
        null_score=np.zeros(0, dtype=np.float32),
    )
    nowhere = np.zeros(0, dtype=np.int32)
    (prediction,) = make_predictions(examples(1), merge_windows(nowhere, empty, num_examples=1, config=config))
    assert (prediction.answer, prediction.has_answer, prediction.probability) == ("", False, 1.0)
    assert make_predictions([], merge_windows(nowhere, empty, num_examples=0, config=config)) == []


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"n_best_size": 0}, "--n_best_size is 0"),
        ({"max_answer_length": -1}, "--max_answer_length is -1"),
        ({"null_score_diff_threshold": math.nan}, "--null_score_diff_threshold is NaN"),
        *(({"temperature": value}, f"--temperature is {value}: give") for value in (0.0, -1.0, math.nan, math.inf)),
    ],
)
def test_bad_config_is_refused(values: dict[str, Any], flag: str) -> None:
    with pytest.raises(UsageError, match=flag):
        SpanConfig(**values)
