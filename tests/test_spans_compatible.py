"""The compatible decoder against run_qa's own, restated."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrc.examples import Prediction
from mrc.spans import SpanConfig, compatible_predictions, make_predictions
from tests.test_spans import CONTEXT, OUTSIDE, Window, examples, merged_of

# run_qa's decoder: the rules of `postprocess_qa_predictions` (transformers, examples/pytorch/question-answering/
# utils_qa.py; Copyright The HuggingFace Team, Apache-2.0), restated.

Entry = dict[str, Any]
Floats = npt.NDArray[np.float32]


def run_qa_candidates(
    start: Floats, end: Floats, offsets: list[tuple[int, int] | None], config: SpanConfig
) -> list[Entry]:
    top = slice(-1, -config.n_best_size - 1, -1)
    pairs = [(i, j) for i in np.argsort(start)[top].tolist() for j in np.argsort(end)[top].tolist()]
    out = []
    for i, j in pairs:
        first, last = offsets[i], offsets[j]
        if first is None or last is None or j < i or j - i + 1 > config.max_answer_length:
            continue
        out.append({"offsets": (first[0], last[1]), "score": start[i] + end[j], "start": start[i], "end": end[j]})
    return out


def run_qa(
    context: str, starts: Floats, ends: Floats, offsets: list[list[tuple[int, int] | None]], config: SpanConfig
) -> tuple[str, list[Entry]]:
    """Return the answer to one example and its n-best list."""
    null: Entry = {}
    candidates = []
    for start, end, window_offsets in zip(starts, ends, offsets, strict=True):
        if not null or null["score"] > start[0] + end[0]:
            null = {"offsets": (0, 0), "score": start[0] + end[0], "start": start[0], "end": end[0], "null": True}
        candidates += run_qa_candidates(start, end, window_offsets, config)
    if config.version_2_with_negative:
        candidates.append(null)
    n_best = sorted(candidates, key=lambda entry: entry["score"], reverse=True)[: config.n_best_size]
    if config.version_2_with_negative and not any(entry["offsets"] == (0, 0) for entry in n_best):
        n_best.append(null)
    for entry in n_best:
        entry["text"] = context[slice(*entry["offsets"])]
    if not n_best or (len(n_best) == 1 and n_best[0]["text"] == ""):
        n_best.insert(0, {"text": "empty", "score": 0.0, "start": 0.0, "end": 0.0})
    scores = np.array([entry["score"] for entry in n_best])
    weights = np.exp(scores - np.max(scores))
    for entry, probability in zip(n_best, weights / weights.sum(), strict=True):
        entry["probability"] = float(probability)
    if not config.version_2_with_negative:
        return n_best[0]["text"], n_best
    with_text = [entry for entry in n_best if entry["text"]]
    if not with_text:  # The original runs off its list here.
        return "", n_best
    null_score_diff = null["score"] - with_text[0]["start"] - with_text[0]["end"]
    return ("" if null_score_diff > config.null_score_diff_threshold else with_text[0]["text"]), n_best


@dataclass
class RunQaCase:
    """Windows of one length of three examples, as run_qa has them after padding."""

    example: list[int]
    starts: Floats
    ends: Floats
    offsets: npt.NDArray[np.int32]
    config: SpanConfig

    def reference(self, i: int) -> tuple[str, list[Entry]]:
        rows = [row for row, example in enumerate(self.example) if example == i]
        offsets = [[None if pair[0] < 0 else (pair[0], pair[1]) for pair in self.offsets[row].tolist()] for row in rows]
        return run_qa(CONTEXT, self.starts[rows], self.ends[rows], offsets, self.config)

    def predictions(self) -> list[Prediction]:
        return compatible_predictions(
            examples(3), np.array(self.example), self.starts, self.ends, self.offsets, config=self.config
        )


@st.composite
def run_qa_cases(draw: st.DrawFn) -> RunQaCase:
    """Random logits, with or without ties; spans can be empty, blank windows occur, every example has a window."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    seq_len, num_extra = draw(st.integers(2, 40)), draw(st.integers(0, 3))
    shape = (3 + num_extra, seq_len)
    starts, ends = rng.normal(size=(2, *shape)) * draw(st.sampled_from([1.0, 5.0]))
    if draw(st.booleans()):
        starts, ends = np.rint(starts), np.rint(ends)
    widths = rng.integers(0, 3, size=shape)
    last = np.minimum(np.cumsum(widths, axis=1), len(CONTEXT))
    offsets = np.stack([np.maximum(last - widths, 0), last], axis=2).astype(np.int32)
    offsets[rng.random(shape) < draw(st.sampled_from([0.1, 0.6, 1.0]))] = -1
    offsets[:, 0] = -1
    config = SpanConfig(
        n_best_size=draw(st.sampled_from([1, 3, 20])),
        max_answer_length=draw(st.sampled_from([1, 5, 30])),
        version_2_with_negative=draw(st.booleans()),
        null_score_diff_threshold=draw(st.sampled_from([0.0, -2.5, 1.0])),
    )
    example = [*rng.permutation(3).tolist(), *rng.integers(0, 3, size=num_extra).tolist()]
    return RunQaCase(example, starts.astype(np.float32), ends.astype(np.float32), offsets, config)


@given(run_qa_cases())
def test_compatible_answers_are_run_qas_to_the_character(case: RunQaCase) -> None:
    for i, prediction in enumerate(case.predictions()):
        answer, n_best = case.reference(i)
        assert prediction.answer == answer
        assert prediction.has_answer == (answer not in ("", "empty"))
        spans = [entry for entry in n_best if "null" not in entry and "offsets" in entry]
        assert [span.text for span in prediction.n_best] == [entry["text"] for entry in spans]
        assert [(span.start, span.end) for span in prediction.n_best] == [entry["offsets"] for entry in spans]
        assert [span.score for span in prediction.n_best] == [entry["score"] for entry in spans]
        shares = [entry["probability"] for entry in spans]
        assert [span.probability for span in prediction.n_best] == pytest.approx(shares, rel=1e-5, abs=1e-9)


def only(case_bounds: list[tuple[int, int]], start: list[float], end: list[float], **config: Any) -> Prediction:
    (prediction,) = compatible_predictions(
        examples(1),
        np.array([0]),
        np.array([start]),
        np.array([end]),
        np.array([case_bounds]),
        config=SpanConfig(**config),
    )
    return prediction


def test_compatible_says_empty_where_ours_says_nothing() -> None:
    bounds, start, end = [OUTSIDE, (0, 2)], [1.0, -math.inf], [1.0, 0.0]
    theirs = only([OUTSIDE, OUTSIDE], start, end)
    assert (theirs.answer, theirs.has_answer, theirs.start, theirs.n_best) == ("empty", False, -1, ())
    window = Window(start=start, end=end, bounds=bounds, null=0)
    (ours,) = make_predictions(examples(1), merged_of([window], [0], SpanConfig(), 1))
    assert (ours.answer, ours.has_answer, ours.start, ours.probability) == ("", False, -1, 0.0)


def test_compatible_meets_candidates_that_are_all_empty() -> None:
    # Zero-width tokens give candidates without text, over which the original's search runs off its list.
    prediction = only(
        [OUTSIDE, (3, 3), (3, 3)], [0.0, 1.0, 2.0], [0.0, 2.0, 1.0], n_best_size=20, version_2_with_negative=True
    )
    assert (prediction.answer, prediction.has_answer) == ("", False)


def test_compatible_survives_odd_logits_and_examples_without_windows() -> None:
    prediction = only([OUTSIDE, (0, 1)], [math.inf, math.inf], [math.inf, math.nan])
    assert prediction.answer == "a"
    nowhere = np.zeros((0, 4), dtype=np.float32)
    for version_2_with_negative, answer in [(False, "empty"), (True, "")]:
        config = SpanConfig(version_2_with_negative=version_2_with_negative)
        (prediction,) = compatible_predictions(
            examples(1), np.zeros(0, dtype=int), nowhere, nowhere, np.zeros((0, 4, 2), dtype=int), config=config
        )
        assert (prediction.answer, prediction.num_windows) == (answer, 0)


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_both_decoders_agree_where_nothing_is_lost_or_tied(seed: int, version_2_with_negative: bool) -> None:
    rng = np.random.default_rng(seed)
    start, end = rng.normal(size=(2, 1, 10)).astype(np.float32)
    bounds = [OUTSIDE, OUTSIDE, *((2 * i, 2 * i + 2) for i in range(8))]
    config = SpanConfig(n_best_size=20, version_2_with_negative=version_2_with_negative)
    theirs = only(bounds, start[0].tolist(), end[0].tolist(), version_2_with_negative=version_2_with_negative)
    window = Window(start=start[0].tolist(), end=end[0].tolist(), bounds=bounds, null=0)
    (ours,) = make_predictions(examples(1), merged_of([window], [0], config, 1))
    assert (ours.answer, ours.has_answer, ours.start, ours.end) == (
        *(theirs.answer, theirs.has_answer),
        *(theirs.start, theirs.end),
    )
