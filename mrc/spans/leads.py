"""How far the best span of an example is ahead of others, and the error of that: what float32 shall decide."""

import math

import numpy as np
import numpy.typing as npt

from mrc.spans.merge import ExampleSpans, SpanConfig


def are_close(merged: ExampleSpans, margin: float, config: SpanConfig) -> npt.NDArray[np.bool_]:
    """Tell of which examples another outcome is within a margin of the first; shape (num_examples,).

    That is another span, or in SQuAD 2.0 mode the other side of the threshold between answer and none.

    Args:
        merged: With every span of each example that may come first.
        margin: In logits, as `_errors` counts them.
        config: What decides between answer and none.
    """
    example, best = _bests(merged)
    behind = merged.score[best].astype(np.float64) - merged.score
    is_rival = (behind < margin * _errors(merged, example, best)) & (np.arange(len(best)) != best)
    close: npt.NDArray[np.bool_] = np.bincount(example[is_rival], minlength=len(merged.has_answer)) > 0
    if config.version_2_with_negative:
        close |= np.abs(merged.null_score_diff - config.null_score_diff_threshold) < margin
    return close


def lead_error(merged: ExampleSpans, exact: ExampleSpans) -> float:
    """Return the error of the leads of best spans over others, in logits as `are_close` takes them: root mean square.

    It is inf where no span tells.

    Args:
        merged: Of one pass.
        exact: Of another over the same windows, which is right. Only spans that both have are compared.
    """
    columns = (_bests(exact)[0], exact.start, exact.end, exact.score.astype(np.float64))
    score = {(at, start, end): right for at, start, end, right in zip(*columns, strict=True)}
    example, best = _bests(merged)
    right = np.array([score.get(place, np.nan) for place in zip(example, merged.start, merged.end, strict=True)])
    error = (merged.score[best] - merged.score - (right[best] - right)) / _errors(merged, example, best)
    told = error[(np.arange(len(best)) != best) & np.isfinite(error)]
    return float(np.sqrt(np.square(told).mean())) if len(told) else math.inf


def _bests(merged: ExampleSpans) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the example of each span, and the number of the best span there; shape (num_spans,)."""
    counts = np.diff(merged.row_splits)
    example = np.repeat(np.arange(len(counts)), counts)
    return example, merged.row_splits[example]


def _errors(
    merged: ExampleSpans, example: npt.NDArray[np.int64], best: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return how wide the error of each span's distance to the best is, shape (num_spans,): 1, or 0.7 where it is less.

    Two spans have four logits, whose errors add up as their squares do. Where both are of one window and share an end,
    two logits differ. In another window the same end has another logit.
    """
    shares_end = (merged.start == merged.start[best]) | (merged.end == merged.end[best])
    return np.where(shares_end & (merged.num_windows[example] == 1), math.sqrt(0.5), 1.0)
