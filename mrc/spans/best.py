"""Logits -> the k best distinct spans of every window.

All legal spans compete, a band of (seq_len, max_answer_length) starts and lengths a window, not the cross product of
two top lists, which can lose the best legal span to question and padding tokens. Of the band only what can win is made:
a start's best span takes the highest of the next end logits, and what falls short of the k-th highest of those is
behind k spans. The device that holds the logits finds what is left, some dozens of spans a window; of these the host,
which knows their characters, takes the best.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mrc.batching import first_token, ragged_ranges, token_mask
from mrc.spans.merge import SpanConfig, WindowSpans, distinct_spans
from mrc.windows import Windows

_LARGEST = torch.finfo(torch.float32).max / 2
"""Logits beyond it are read as it, so that the sum of two is finite."""

_LOWEST = torch.finfo(torch.float32).min
"""No span has a score below it."""

_LOW_BITS = (1 << 32) - 1


class _Spans(NamedTuple):
    """Spans of several windows, end to end, in the order of windows and tokens; all of shape (num_spans,)."""

    window: npt.NDArray[np.int64]

    start: npt.NDArray[np.int32]
    """First character in the context."""

    end: npt.NDArray[np.int32]
    """The character after the last."""

    score: npt.NDArray[np.float32]
    """Start plus end logit."""

    def take(self, indices: npt.NDArray[np.integer]) -> "_Spans":
        """Return the spans at `indices`, in that order."""
        return _Spans(self.window[indices], self.start[indices], self.end[indices], self.score[indices])


def window_spans(
    start_logits: Tensor,
    end_logits: Tensor,
    located: Windows,
    chosen: npt.NDArray[np.integer],
    *,
    side: str,
    repeats: npt.NDArray[np.integer],
    config: SpanConfig,
) -> WindowSpans:
    """Return the exact n best legal spans of some windows, no two of the same characters, in the order of `chosen`.

    A span is legal from token i to token j if both have text in the context and i <= j < i + max_answer_length. Several
    tokens can stand for one character (the bytes of an emoji): of the spans that are the same characters, only the best
    counts. The order is higher score first, then earlier start, then shorter. Logits are cast to float32 before they
    are added: half precision has turned an F1 of 88.7 into 8.7.

    A token whose logit is NaN or -inf begins or ends no span. Other logits are clipped to half of the largest float32.
    A null score of NaN becomes inf, so that other windows of the example decide it.

    Args:
        start_logits: Shape (len(chosen), longest), any float dtype, on any device: a row for each of them, padded on
            `side`.
        end_logits: Shape (len(chosen), longest).
        located: Windows as `locate` gives them.
        chosen: Which of the windows these are.
        side: "left" or "right".
        repeats: Shape (len(located),): `bounds_repeat` of all of `located`, for `config.n_best_size` or more.
        config: How many spans to keep, and how long one may be.
    """
    lengths, repeats = located.lengths[chosen], repeats[chosen]
    padding_before = first_token(lengths, side)
    is_token = token_mask(lengths, side)
    legal = is_token.copy()
    legal[is_token] = located.offsets[ragged_ranges(located.row_splits[chosen], lengths), 0] >= 0
    device, k = start_logits.device, config.n_best_size
    candidates = _candidates(
        start_logits,
        end_logits,
        torch.from_numpy(legal).to(device),
        torch.from_numpy(np.where(repeats > 0, repeats, k)).to(device),
        max_answer_length=config.max_answer_length,
    )
    null_score = _null_score(
        start_logits, end_logits, torch.from_numpy(located.null_index[chosen] + padding_before).to(device)
    )
    window, first, last, score = (tensor.cpu().numpy() for tensor in candidates)
    column = (located.row_splits[chosen] - padding_before)[window]
    spans = _Spans(window, located.offsets[column + first, 0], located.offsets[column + last, 1], score)
    if repeats.any():
        spans = _distinct(spans, repeats)
    return _n_best(spans, null_score.cpu().numpy(), k)


def _candidates(
    start_logits: Tensor, end_logits: Tensor, legal: Tensor, rank: Tensor, *, max_answer_length: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the legal spans that score no less than the `rank`-th best token's best span; the token begins it.

    Args:
        start_logits: Shape (batch, seq_len), any float dtype; padding on either side.
        end_logits: Shape (batch, seq_len).
        legal: Shape (batch, seq_len), bool: the tokens that have text in the context.
        rank: Shape (batch,), at least 1; where fewer tokens begin a span, all legal spans are returned.
        max_answer_length: Most tokens of a span.

    Returns:
        Row, first token and last token, which is part of the span, as columns of the logits, and score, of each span;
        rising in that order.
    """
    seq_len = start_logits.shape[1]
    width = min(max_answer_length, seq_len)
    start = _usable(start_logits, legal)
    end = torch.nn.functional.pad(_usable(end_logits, legal), (0, width - 1), value=-torch.inf)
    best = start + _sliding_maximum(end, width)
    most = int(rank.max())
    ranked = _highest(torch.nn.functional.pad(best, (0, max(0, most - seq_len)), value=-torch.inf), most)
    least = ranked.gather(1, rank[:, None] - 1).clamp(min=_LOWEST)
    begins = _places(best >= least)
    row = begins // seq_len
    # Shape (num_starts, width): the scores of the spans that begin there. Rows of ends are longer by the padding.
    ends = end.flatten().unfold(0, width, 1).index_select(0, begins + row * (width - 1))
    score = start.flatten()[begins][:, None] + ends
    place = _places(score >= least[row])
    which, extra_tokens = place // width, place % width
    row, first = row[which], (begins % seq_len)[which]
    return row, first, first + extra_tokens, score.flatten()[place]


def _usable(logits: Tensor, legal: Tensor) -> Tensor:
    """Return shape (batch, seq_len): finite float32 logits, and -inf where no span may begin or end."""
    logits = logits.float()
    # A comparison with NaN is false, so NaN is unusable as well.
    return torch.where(legal & (logits > -torch.inf), logits.clamp(-_LARGEST, _LARGEST), -torch.inf)


def _sliding_maximum(values: Tensor, width: int) -> Tensor:
    """Return the highest of each `width` neighbours, shape (batch, n - width + 1), in log2(width) steps.

    Args:
        values: Shape (batch, n).
        width: At most n.
    """
    covered = 1
    while covered < width:
        step = min(covered, width - covered)
        values = torch.maximum(values[:, :-step], values[:, step:])
        covered += step
    return values


def _places(mask: Tensor) -> Tensor:
    """Return where a mask is true, as places of the flattened mask, rising."""
    if mask.device.type != "cpu":
        return mask.flatten().nonzero().squeeze(1)
    return torch.from_numpy(np.flatnonzero(mask.numpy()))  # in a quarter of torch's time


def _highest(values: Tensor, k: int) -> Tensor:
    """Return the k highest of each row, falling; shape (batch, k)."""
    if values.device.type != "cpu":
        return values.topk(k, dim=1).values
    return torch.from_numpy(np.sort(values.numpy(), axis=1)).flip(1)[:, :k]  # likewise


def _null_score(start_logits: Tensor, end_logits: Tensor, null_index: Tensor) -> Tensor:
    """Return shape (batch,): start plus end logit of the null token, inf where they are NaN."""
    index = null_index.long()[:, None]
    start, end = (
        logits.gather(1, index).squeeze(1).float().clamp(-_LARGEST, _LARGEST) for logits in (start_logits, end_logits)
    )
    total = start + end
    return torch.where(total.isnan(), torch.inf, total)


def _distinct(spans: _Spans, repeats: npt.NDArray[np.integer]) -> _Spans:
    """Return spans of which no two of a window are the same characters: each once, with the best of its scores.

    Args:
        spans: Those of windows that do not repeat are as they should be.
        repeats: Shape (num_windows,): `bounds_repeat` of these windows.
    """
    is_alone = repeats[spans.window] == 0
    some = np.flatnonzero(~is_alone)
    kept = np.append(np.flatnonzero(is_alone), some[distinct_spans(*spans.take(some))])
    return spans.take(kept[np.argsort(spans.window[kept], kind="stable")])


def _n_best(spans: _Spans, null_score: npt.NDArray[np.float32], k: int) -> WindowSpans:
    """Return the k best spans of each of len(null_score) windows.

    A span's score and its place are packed into one integer that is unique, and one sort brings them into order.
    """
    counts = np.bincount(spans.window, minlength=len(null_score))
    place = np.arange(len(spans.window))
    # Adding 0 turns -0.0 into 0.0, which their bits would tell apart.
    bits = (spans.score + np.float32(0)).view(np.int32)
    # The bits of floats order as integers do, but for the negative ones, which run backwards.
    falling = ~(bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64)
    # After every score, and the place of what is appended below.
    nothing = (0x7FFFFFFF << 32) | len(place)
    keys = np.full((len(null_score), max(k, counts.max(initial=0))), nothing)
    keys[spans.window, place - (np.cumsum(counts) - counts)[spans.window]] = (falling << 32) | place
    keys.sort(axis=1)
    best = keys[:, :k] & _LOW_BITS
    start, end, score = (
        np.append(column, np.array(none, column.dtype))[best]
        for column, none in zip(spans[1:], (-1, -1, -np.inf), strict=True)
    )
    return WindowSpans(start=start, end=end, score=score, null_score=null_score)
