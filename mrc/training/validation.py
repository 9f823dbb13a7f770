"""Validation by the code that answers: every worker reads its share of the questions, and the scores are gathered.

A question's windows stay on one worker, and no share is filled up with repeats: every question is scored once. What the
validation questions tell of decoding, the null threshold and the temperature, is fitted here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist

from mrc.examples import Example, examples_from_table
from mrc.finder import Logits
from mrc.metrics import (
    ExampleScore,
    Scorer,
    Sums,
    answer_probability,
    centred_threshold,
    expected_calibration_error,
    fit_temperature,
    get_scorer,
    score_example,
    tune_null_threshold,
)
from mrc.models import span_loss
from mrc.reader import Reader
from mrc.spans import ExampleSpans, SpanConfig
from mrc.training.store import LabelledWindows, concatenate, read_arrow, windows_from_table


@dataclass(frozen=True)
class ValidationSet:
    """One worker's share of the validation questions, with their windows."""

    examples: Sequence[Example]
    labelled: LabelledWindows

    @classmethod
    def load(cls, units: Sequence[tuple[str, str]], rank: int, world_size: int) -> "ValidationSet | None":
        """Read one worker's share: every `world_size`-th question, beginning with question `rank`.

        Args:
            units: URLs of each unit's windows and of its examples.
            rank: Of this worker.
            world_size: Number of workers.

        Returns:
            None where there are no units, so that nothing is validated.
        """
        if not units:
            return None
        examples: list[Example] = []
        parts: list[LabelledWindows] = []
        for windows_url, examples_url in units:
            part = windows_from_table(read_arrow(windows_url))
            shifted = replace(part.windows, example=part.windows.example + len(examples))
            parts.append(replace(part, windows=shifted))
            examples.extend(examples_from_table(read_arrow(examples_url)))
        labelled = concatenate(parts)
        mine = labelled.take(np.flatnonzero(labelled.windows.example % world_size == rank))
        renumbered = replace(mine.windows, example=mine.windows.example // world_size)
        return cls(examples[rank::world_size], replace(mine, windows=renumbered))

    def score(self, reader: Reader, scorer_name: str, world_size: int) -> dict[str, Any]:
        """Answer this worker's share and return the figures of all shares; every rank calls it.

        Returns:
            `loss` (mean over windows), what the scorer tells (`exact_match`, `f1`, `total` …), in SQuAD 2.0 mode the
            `null_score_diff_threshold` that was tuned on these questions, with which the figures are reached, and the
            `temperature` that was fitted on them: `calibration_error` (expected, 0 to 1) is that of the probabilities
            at this temperature, `calibration_error_before` that at 1.
        """
        loss = _LossSum(self.labelled, reader.padding_side)
        merged = reader.read(self.examples, self.labelled.windows, look=loss.add)
        scored = _score(self.examples, merged, get_scorer(scorer_name))
        shares = [_Share(scored, _rival_scores(merged, reader.span), float(loss.total), loss.count)]
        if world_size > 1:
            gathered: list[Any] = [None] * world_size
            dist.all_gather_object(gathered, shares[0])
            shares = gathered
        questions = [question for share in shares for question in share.questions]
        rivals = np.concatenate([share.rivals for share in shares])
        mean_loss = sum(share.loss for share in shares) / max(1, sum(share.num_windows for share in shares))
        return {"loss": mean_loss, **_figures(questions, rivals, reader.span)}


class _Scored(NamedTuple):
    """One question, scored both ways: answered with its best span, and with the null answer."""

    null_score_diff: float
    if_answered: ExampleScore
    if_null: ExampleScore


class _Share(NamedTuple):
    """What one worker tells the others of its questions."""

    questions: list[_Scored]
    rivals: npt.NDArray[np.float32]
    """Shape (num_questions, 1 + n_best_size): see `_rival_scores`."""
    loss: float
    """Sum over windows."""
    num_windows: int


def _score(examples: Sequence[Example], merged: ExampleSpans, scorer: Scorer) -> list[_Scored]:
    best = [
        example.context[merged.start[at] : merged.end[at]] if at < stop else ""
        for example, at, stop in zip(examples, merged.row_splits[:-1], merged.row_splits[1:], strict=True)
    ]
    return [
        _Scored(float(diff), score_example(text, example, scorer), score_example("", example, scorer))
        for example, text, diff in zip(examples, best, merged.null_score_diff, strict=True)
    ]


def _rival_scores(merged: ExampleSpans, span: SpanConfig) -> npt.NDArray[np.float32]:
    """Return the scores that compete for each answer: of null, then of the spans; -inf where there is no such rival."""
    counts = np.diff(merged.row_splits)
    rivals = np.full((len(counts), 1 + span.n_best_size), -np.inf, dtype=np.float32)
    if span.version_2_with_negative:
        rivals[:, 0] = merged.null_score
    rivals[:, 1:][np.arange(span.n_best_size) < counts[:, None]] = merged.score
    return rivals


def _figures(questions: Sequence[_Scored], rivals: npt.NDArray[np.float32], span: SpanConfig) -> dict[str, Any]:
    """Return the scorer's figures and what is fitted: in SQuAD 2.0 mode first the threshold, the best one for F1."""
    tuned: dict[str, float] = {}
    threshold = math.inf
    diffs = [question.null_score_diff for question in questions]
    if span.version_2_with_negative:
        best = tune_null_threshold(
            diffs,
            [question.if_answered.f1 for question in questions],
            [question.if_null.f1 for question in questions],
        )
        threshold = centred_threshold(diffs, best.threshold)
        tuned = {"null_score_diff_threshold": threshold}
    is_null = [diff > threshold for diff in diffs]
    chosen = [
        question.if_null if null else question.if_answered for question, null in zip(questions, is_null, strict=True)
    ]
    figures = sum((Sums.of(score) for score in chosen), Sums()).result()
    given = np.where(np.array(is_null, dtype=bool), 0, 1)
    return {**figures, **tuned, **_calibrate(rivals, given, [score.exact_match for score in chosen])}


def _calibrate(
    rivals: npt.NDArray[np.float32], given: npt.NDArray[np.int64], is_right: Sequence[int]
) -> dict[str, float]:
    """Return the temperature that fits, and the calibration errors without and with it."""
    temperature = fit_temperature(rivals, given, is_right)
    before, after = (
        expected_calibration_error(answer_probability(rivals, given, each), is_right) for each in (1.0, temperature)
    )
    return {"temperature": temperature, "calibration_error_before": before, "calibration_error": after}


class _LossSum:
    """Adds up the validation loss of the batches that a reader reads, on the reader's device."""

    def __init__(self, labelled: LabelledWindows, padding_side: str) -> None:
        self.total = torch.zeros(())
        self.count = len(labelled)
        self._labelled = labelled
        self._side = padding_side

    def add(self, logits: Logits) -> None:
        """Add the loss of one batch."""
        labels = self._labelled.take(logits.windows).padded_positions(self._side)
        starts, ends = (positions.to(logits.start.device) for positions in labels.values())
        self.total = self.total.to(logits.start.device) + span_loss(
            logits.start, logits.end, starts, ends, logits.attention_mask
        )
