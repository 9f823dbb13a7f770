"""Validation by the code that answers: every worker reads its share of the questions, and the scores are gathered.

A question's windows stay on one worker, and no share is filled up with repeats: every question is scored once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist

from mrc.examples import Example, examples_from_table
from mrc.metrics import ExampleScore, Scorer, Sums, get_scorer, score_example, tune_null_threshold
from mrc.models import span_loss
from mrc.reader import Logits, Reader
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
            `loss` (mean over windows), what the scorer tells (`exact_match`, `f1`, `total` …), and in SQuAD 2.0 mode
            the `null_score_diff_threshold` that was tuned on these questions, with which the figures are reached.
        """
        loss = _LossSum(self.labelled, reader.padding_side)
        merged = reader.read(self.examples, self.labelled.windows, look=loss.add)
        scored = _score(self.examples, merged, get_scorer(scorer_name))
        parts = [(scored, float(loss.total), loss.count)]
        if world_size > 1:
            gathered: list[Any] = [None] * world_size
            dist.all_gather_object(gathered, parts[0])
            parts = gathered
        scores = [score for part, _, _ in parts for score in part]
        mean_loss = sum(total for _, total, _ in parts) / max(1, sum(count for _, _, count in parts))
        return {"loss": mean_loss, **_figures(scores, reader.span)}


class _Scored(NamedTuple):
    """One question, scored both ways: answered with its best span, and with the null answer."""

    null_score_diff: float
    if_answered: ExampleScore
    if_null: ExampleScore


def _score(examples: Sequence[Example], merged: ExampleSpans, scorer: Scorer) -> list[_Scored]:
    best = [
        example.context[merged.start[at] : merged.end[at]] if at < stop else ""
        for example, at, stop in zip(examples, merged.row_splits[:-1], merged.row_splits[1:], strict=True)
    ]
    return [
        _Scored(float(diff), score_example(text, example, scorer), score_example("", example, scorer))
        for example, text, diff in zip(examples, best, merged.null_score_diff, strict=True)
    ]


def _figures(scores: Sequence[_Scored], span: SpanConfig) -> dict[str, Any]:
    """Return the scorer's figures, in SQuAD 2.0 mode at the threshold that is best for F1 and with it."""
    if not span.version_2_with_negative:
        return dict(sum((Sums.of(score.if_answered) for score in scores), Sums()).result())
    threshold = tune_null_threshold(
        [score.null_score_diff for score in scores],
        [score.if_answered.f1 for score in scores],
        [score.if_null.f1 for score in scores],
    ).threshold
    chosen = (score.if_null if score.null_score_diff > threshold else score.if_answered for score in scores)
    figures = sum((Sums.of(score) for score in chosen), Sums()).result()
    return {**figures, "null_score_diff_threshold": threshold}


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
