"""The spans of all windows -> the n best distinct spans of every example, its null score and its answer.

Overlapping windows find the same span twice; it counts once, with its best score. With the n best *distinct* spans of
every window in hand the n best of the example are exact: a span among them is, in the window that scores it best,
beaten by fewer than n. The spans of an example's only window are in order already; all others are merged at once with
two sorts in numpy. Columns come out, ready for Arrow.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mrc.errors import UsageError

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, kw_only=True)
class SpanConfig:
    """How logits become answers, under the names of Hugging Face's run_qa.

    Raises:
        UsageError: A value is out of its range.
    """

    n_best_size: int = 20
    """Spans kept of every example; probabilities are shares among them."""

    max_answer_length: int = 30
    """Most tokens of an answer."""

    version_2_with_negative: bool = False
    """Whether a question may have no answer, as in SQuAD 2.0: the null answer then competes with the spans."""

    null_score_diff_threshold: float = 0.0
    """The null answer wins where null score minus best score is greater, in logits. See `tune_null_threshold`."""

    temperature: float = 1.0
    """What scores are divided by before a softmax makes probabilities of them: above 1 they are less sure, below 1
    surer; answers stay the same. Training fits it on its validation data, if any, whatever is said here."""

    def __post_init__(self) -> None:
        for flag in ("n_best_size", "max_answer_length"):
            if getattr(self, flag) < 1:
                raise UsageError(f"--{flag} is {getattr(self, flag)}: give at least 1")
        if math.isnan(self.null_score_diff_threshold):
            raise UsageError("--null_score_diff_threshold is NaN, which nothing is greater than: give a number")
        if not 0 < self.temperature < math.inf:
            raise UsageError(f"--temperature is {self.temperature}: give a number above 0")


@dataclass(frozen=True, kw_only=True)
class WindowSpans:
    """The best distinct spans of each window, best first, in any order of windows."""

    start: npt.NDArray[np.int32]
    """Shape (num_windows, k): first character in the context; -1 where a window has fewer spans."""

    end: npt.NDArray[np.int32]
    """Shape (num_windows, k): the character after the last."""

    score: npt.NDArray[np.float32]
    """Shape (num_windows, k), falling."""

    null_score: npt.NDArray[np.float32]
    """Shape (num_windows,); inf where it is not known."""

    @classmethod
    def none(cls, k: int) -> "WindowSpans":
        """Return the spans of no window."""
        place, score = np.empty((0, k), dtype=np.int32), np.empty((0, k), dtype=np.float32)
        return cls(start=place, end=place, score=score, null_score=score[:, 0])

    @classmethod
    def concatenate(cls, parts: Sequence["WindowSpans"]) -> "WindowSpans":
        """Return the windows of all parts, at least one, of the same k, in their order."""
        return cls(
            start=np.concatenate([part.start for part in parts]),
            end=np.concatenate([part.end for part in parts]),
            score=np.concatenate([part.score for part in parts]),
            null_score=np.concatenate([part.null_score for part in parts]),
        )

    def take(self, indices: npt.NDArray[np.integer]) -> "WindowSpans":
        """Return the windows at `indices`, in that order."""
        return WindowSpans(
            start=self.start[indices],
            end=self.end[indices],
            score=self.score[indices],
            null_score=self.null_score[indices],
        )

    def replaced(self, indices: npt.NDArray[np.integer], others: "WindowSpans") -> "WindowSpans":
        """Return all windows, with others in place of those at `indices`."""
        source = np.arange(len(self.start))
        source[indices] = len(source) + np.arange(len(indices))
        return WindowSpans.concatenate([self, others]).take(source)


@dataclass(frozen=True, kw_only=True)
class ExampleSpans:
    """The n best spans and the decision of each example; those of example e are `row_splits[e]:row_splits[e + 1]`."""

    row_splits: npt.NDArray[np.int64]
    """Shape (num_examples + 1,): where the spans of examples begin and end."""

    start: npt.NDArray[np.int32]
    """Shape (num_spans,): first character in the context."""

    end: npt.NDArray[np.int32]
    """Shape (num_spans,): the character after the last."""

    score: npt.NDArray[np.float32]
    """Shape (num_spans,): falling within an example."""

    probability: npt.NDArray[np.float64]
    """Shape (num_spans,): softmax of score / temperature over the example's spans, and its null answer in SQuAD 2.0
    mode. It is conditional on them, and calibrated where the temperature was fitted."""

    null_score: npt.NDArray[np.float32]
    """Shape (num_examples,): the lowest over the windows; inf where no window tells."""

    null_probability: npt.NDArray[np.float64]
    """Shape (num_examples,): the null answer's part of that softmax; 0 outside SQuAD 2.0 mode."""

    null_score_diff: npt.NDArray[np.float64]
    """Shape (num_examples,): null score minus best score; inf where there is no span."""

    has_answer: npt.NDArray[np.bool_]
    """Shape (num_examples,): whether the first span is the answer; else the answer is ""."""

    num_windows: npt.NDArray[np.int64]
    """Shape (num_examples,)."""

    read_again: npt.NDArray[np.bool_]
    """Shape (num_examples,): whether a second pass, in float32, decided."""


def merge_windows(
    window_example: npt.NDArray[np.integer], spans: WindowSpans, *, num_examples: int, config: SpanConfig
) -> ExampleSpans:
    """Merge the windows of each example.

    The null score is the lowest of the windows: a window without the answer is right to say null, so all have to agree.

    Args:
        window_example: Shape (num_windows,): the example of each row of `spans`, in 0 to num_examples.
        spans: At least the `n_best_size` best distinct spans of each window, in any order of windows.
        num_examples: Examples without any window get no answer.
        config: Sizes, the null threshold and the temperature.
    """
    example, start, end, score = _n_best(window_example, spans, num_examples, config.n_best_size)
    counts = np.bincount(example, minlength=num_examples)
    row_splits = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
    null_score = np.full(num_examples, np.inf, dtype=np.float32)
    np.minimum.at(null_score, window_example, spans.null_score)
    best_score = np.full(num_examples, -np.inf)
    best_score[counts > 0] = score[row_splits[:-1][counts > 0]]
    null_score_diff = null_score.astype(np.float64) - best_score
    null_wins = config.version_2_with_negative & (null_score_diff > config.null_score_diff_threshold)
    rival = null_score if config.version_2_with_negative else np.full_like(null_score, -np.inf)
    probability, null_probability = _softmax(example, score, best_score, rival, config.temperature)
    return ExampleSpans(
        row_splits=row_splits,
        start=start,
        end=end,
        score=score,
        probability=probability,
        null_score=null_score,
        null_probability=null_probability,
        null_score_diff=null_score_diff,
        has_answer=(counts > 0) & ~null_wins,
        num_windows=np.bincount(window_example, minlength=num_examples),
        read_again=np.zeros(num_examples, dtype=bool),
    )


def _n_best(
    window_example: npt.NDArray[np.integer], spans: WindowSpans, num_examples: int, n_best_size: int
) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Return example, start, end and score of the spans kept, shape (num_spans,) each, in order."""
    alone = (np.bincount(window_example, minlength=num_examples) == 1)[window_example]
    # A row for each example. Most have one window, and its spans are in order.
    shape = num_examples, n_best_size
    start, end, score = np.full(shape, -1, np.int32), np.empty(shape, np.int32), np.empty(shape, np.float32)
    only, width = window_example[alone], min(n_best_size, spans.start.shape[1])
    start[only, :width], end[only, :width] = spans.start[alone, :width], spans.end[alone, :width]
    score[only, :width] = spans.score[alone, :width]

    place, *columns = _merge(window_example[~alone], spans.take(np.flatnonzero(~alone)), n_best_size)
    start[place], end[place], score[place] = columns
    real = start >= 0
    return np.repeat(np.arange(num_examples), real.sum(axis=1)), start[real], end[real], score[real]


def _merge(
    window_example: npt.NDArray[np.integer], spans: WindowSpans, n_best_size: int
) -> tuple[tuple[npt.NDArray[np.integer], ...], npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Return the place of each span kept, an example and a rank in it, and its start, end and score."""
    real = spans.start >= 0
    example = np.repeat(window_example, real.sum(axis=1))
    start, end, score = spans.start[real], spans.end[real], spans.score[real]

    once = distinct_spans(example, start, end, score)
    example, start, end, score = example[once], start[once], end[once], score[once]

    # The sort is stable: spans of equal score stay in the order of start, then end.
    order = np.lexsort((-score, example))
    example = example[order]
    rank = np.arange(len(example)) - np.searchsorted(example, example)
    kept = order[rank < n_best_size]
    return (example[rank < n_best_size], rank[rank < n_best_size]), start[kept], end[kept], score[kept]


def distinct_spans(
    owner: npt.NDArray[np.integer],
    start: npt.NDArray[np.int32],
    end: npt.NDArray[np.int32],
    score: npt.NDArray[np.float32],
) -> npt.NDArray[np.int64]:
    """Return where each span of an owner stands that differs from its others, of equal ones the best.

    Args:
        owner: Shape (num_spans,): what spans are told apart within, a window or an example.
        start: Shape (num_spans,).
        end: Shape (num_spans,).
        score: Shape (num_spans,).

    Returns:
        Shape (num_distinct,), in the order of owner, start and end.
    """
    order = np.lexsort((-score, end, start, owner))
    owner, start, end = owner[order], start[order], end[order]
    copy = (owner[1:] == owner[:-1]) & (start[1:] == start[:-1]) & (end[1:] == end[:-1])
    once: npt.NDArray[np.int64] = order[np.append(True, ~copy)[: len(order)]]
    return once


def _softmax(
    example: npt.NDArray[np.integer],
    score: npt.NDArray[np.float32],
    best_score: npt.NDArray[np.float64],
    rival: npt.NDArray[np.float32],
    temperature: float,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the shares of spans, shape (num_spans,), and of the null answer, shape (num_examples,).

    Args:
        example: Shape (num_spans,), rising.
        score: Shape (num_spans,).
        best_score: Shape (num_examples,): the highest score, -inf where there is none.
        rival: Shape (num_examples,): score of the null answer, -inf where it does not compete.
        temperature: What scores are divided by, above 0.
    """
    # Clipping keeps inf - inf out: a null score of inf takes everything, an example with nothing gives it all 0.
    highest = np.clip(np.maximum(best_score, rival), -_LARGEST, _LARGEST)
    weight = np.exp((score - highest[example]) / temperature)
    null_weight = np.exp((np.minimum(rival, _LARGEST) - highest) / temperature)
    total = np.bincount(example, weight, minlength=len(highest)) + null_weight
    total[total == 0] = 1.0
    return weight / total[example], null_weight / total
