"""Logits -> the k best distinct spans of every window, found on the device that holds the logits.

All legal spans compete, a band of (seq_len, max_answer_length) starts and lengths a window, not the cross product of
two top lists, which can lose the best legal span to question and padding tokens. Of the band only what can win is made:
a start's best span takes the highest of the next end logits, and the k best spans begin at the k starts whose best are
highest. k spans and a null score leave the device.

`torch.topk` promises no order of ties. So a cell's score and its place are packed into one integer that is unique, and
the top k of those are the same on every device.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mrc.batching import first_token, ragged_ranges, token_mask
from mrc.spans.merge import SpanConfig, WindowSpans
from mrc.windows import Windows

_LARGEST = torch.finfo(torch.float32).max / 2
"""Logits beyond it are read as it, so that the sum of two is finite."""

_LOW_BITS = (1 << 32) - 1


class BestSpans(NamedTuple):
    """The best spans of a batch of windows, on the device: higher score first, then earlier start, then shorter."""

    first_token: Tensor
    """Shape (batch, k), int32: columns of the logits; anything where a window has fewer spans."""

    last_token: Tensor
    """Shape (batch, k), int32: likewise; the token is part of the span."""

    score: Tensor
    """Shape (batch, k), float32: start plus end logit; -inf where a window has fewer spans."""

    null_score: Tensor
    """Shape (batch,), float32: start plus end logit of the null token; inf where they are NaN."""


def window_spans(
    start_logits: Tensor,
    end_logits: Tensor,
    located: Windows,
    chosen: npt.NDArray[np.integer],
    *,
    side: str,
    repeats: npt.NDArray[np.bool_],
    config: SpanConfig,
) -> WindowSpans:
    """Return the exact n best legal spans of some windows, in characters, in the order of `chosen`; see `best_spans`.

    Args:
        start_logits: Shape (len(chosen), longest), on any device: a row for each of them, padded on `side`.
        end_logits: Shape (len(chosen), longest).
        located: Windows as `locate` gives them.
        chosen: Which of the windows these are.
        side: "left" or "right".
        repeats: Shape (len(located),): `bounds_repeat` of all of `located`.
        config: How many spans to keep, and how long one may be.
    """
    lengths = located.lengths[chosen]
    padding_before = first_token(lengths, side)
    is_token = token_mask(lengths, side)
    legal = is_token.copy()
    legal[is_token] = located.offsets[ragged_ranges(located.row_splits[chosen], lengths), 0] >= 0
    device = start_logits.device
    rows = (
        start_logits,
        end_logits,
        torch.from_numpy(legal).to(device),
        torch.from_numpy(located.null_index[chosen] + padding_before).to(device),
    )
    find = partial(best_spans, k=config.n_best_size, max_answer_length=config.max_answer_length)
    best = find(*rows)
    again = np.flatnonzero(repeats[chosen])
    if len(again):
        tokens = ragged_ranges(located.row_splits[chosen[again]], lengths[again])
        bounds = np.full((len(again), legal.shape[1], 2), -1, dtype=located.offsets.dtype)
        bounds[is_token[again]] = located.offsets[tokens]
        which = torch.from_numpy(again).to(device)
        distinct = find(*(each[which] for each in rows), bounds=torch.from_numpy(bounds).to(device))
        best = BestSpans(*(all_of.index_copy(0, which, some) for all_of, some in zip(best, distinct, strict=True)))
    first, last, score, null_score = (tensor.cpu().numpy() for tensor in best)
    found = score > -np.inf
    column = (located.row_splits[chosen] - padding_before)[:, None]
    # The first of all tokens stands in where there is no span.
    start, end = (
        np.where(found, located.offsets[np.where(found, column + token, 0), edge], -1)
        for edge, token in enumerate((first, last))
    )
    return WindowSpans(start=start, end=end, score=score, null_score=null_score)


def best_spans(
    start_logits: Tensor,
    end_logits: Tensor,
    legal: Tensor,
    null_index: Tensor,
    *,
    k: int,
    max_answer_length: int,
    bounds: Tensor | None = None,
) -> BestSpans:
    """Return the exact k best legal spans of every window, no two of the same characters.

    A span is legal from token i to token j if both have text in the context and i <= j < i + max_answer_length. Several
    tokens can stand for one character (the bytes of an emoji): of the spans that are the same characters, only the best
    counts. Logits are cast to float32 before they are added: half precision has turned an F1 of 88.7 into 8.7.

    A token whose logit is NaN or -inf begins or ends no span. Other logits are clipped to half of the largest float32.
    A null score of NaN becomes inf, so that other windows of the example decide it.

    Args:
        start_logits: Shape (batch, seq_len), any float dtype; padding on either side.
        end_logits: Shape (batch, seq_len).
        legal: Shape (batch, seq_len), bool: the tokens that have text in the context.
        null_index: Shape (batch,): position of the null token in the padded row.
        k: Spans to keep of each window.
        max_answer_length: Most tokens of a span.
        bounds: Shape (batch, seq_len, 2), any integer dtype: `token_bounds`, -1 on tokens that are not legal. None
            saves time, where no two spans of a window can be the same characters, see `bounds_repeat`.
    """
    width = min(max_answer_length, start_logits.shape[1])
    start, end = _usable(start_logits, legal), _usable(end_logits, legal)
    # Shape (batch, seq_len, width): the end logits from each token on.
    ends = torch.nn.functional.pad(end, (0, width - 1), value=-torch.inf).unfold(1, width, 1)
    row = torch.arange(len(start), device=start.device)[:, None]
    if bounds is None:
        token = _top_starts(start + _sliding_maximum(end, width), k)
        spans = start[row, token][:, :, None] + ends[row, token]
    else:
        band = _drop_copies(start[:, :, None] + ends, bounds)
        token = _top_starts(band.amax(dim=2), k)
        spans = band[row, token]
    score, first, extra_tokens = _top_spans(spans, token, k)
    return BestSpans(
        first_token=first.int(),
        last_token=(first + extra_tokens).int(),
        score=score,
        null_score=_null_score(start_logits, end_logits, null_index),
    )


def _usable(logits: Tensor, legal: Tensor) -> Tensor:
    """Return shape (batch, seq_len): finite float32 logits, and -inf where no span may begin or end."""
    logits = logits.float()
    # A comparison with NaN is false, so NaN is unusable as well.
    return torch.where(legal & (logits > -torch.inf), logits.clamp(-_LARGEST, _LARGEST), -torch.inf)


def _sliding_maximum(values: Tensor, width: int) -> Tensor:
    """Return shape (batch, seq_len): the highest of each value and the `width` - 1 after it, in log2(width) steps."""
    covered = 1
    while covered < width:
        step = min(covered, width - covered)
        values = torch.maximum(values, torch.nn.functional.pad(values[:, step:], (0, step), value=-torch.inf))
        covered += step
    return values


def _drop_copies(band: Tensor, bounds: Tensor) -> Tensor:
    """Of the spans in a window that are the same characters, leave one, the first in token order, with the best score.

    That order is the order of characters: where the first token of a character can begin a span to some end, it can
    begin the shorter ones too.
    """
    shared_start, shared_end = (_shared(values) for values in bounds.unbind(dim=2))
    ends = torch.nn.functional.pad(shared_end, (0, band.shape[2] - 1)).unfold(1, band.shape[2], 1)
    row, token, extra = ((shared_start[:, :, None] | ends) & (band > -torch.inf)).nonzero(as_tuple=True)
    if not len(row):
        return band
    start, end = bounds[row, token, 0].long(), bounds[row, token + extra, 1].long()
    size = end.max() + 1
    distinct, group = torch.unique((row * size + start) * size + end, return_inverse=True)
    scores = band[row, token, extra]
    best = torch.full_like(distinct, -torch.inf, dtype=torch.float32).scatter_reduce(0, group, scores, "amax")
    place = torch.arange(len(row), device=row.device)
    first = torch.full_like(distinct, len(row)).scatter_reduce(0, group, place, "amin")

    kept = torch.full_like(scores, -torch.inf).scatter(0, first, best)
    return band.index_put((row, token, extra), kept)


def _shared(values: Tensor) -> Tensor:
    """Return shape (batch, seq_len), bool: whether another token of the row has the same value, where it is not -1."""
    ordered, order = values.sort(dim=1)
    same = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    pad = torch.nn.functional.pad
    return torch.zeros_like(values, dtype=torch.bool).scatter(1, order, pad(same, (1, 0)) | pad(same, (0, 1)))


def _top_starts(best: Tensor, k: int) -> Tensor:
    """Return the k first tokens whose best spans are highest, of equal ones the earlier, as they stand in the row.

    The k best spans begin there: each first token ahead of another has a span ahead of all of the other's.

    Args:
        best: Shape (batch, seq_len): the score of the best span from each token.
        k: Tokens to return; all where there are fewer.

    Returns:
        Shape (batch, at most k), rising.
    """
    return _top_places(best, k).sort(dim=1).values


def _top_spans(spans: Tensor, token: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the k best spans: score, first token, tokens after the first; shape (batch, k) each.

    Args:
        spans: Shape (batch, num_starts, width): scores of the spans from some tokens on.
        token: Shape (batch, num_starts): those tokens, rising.
        k: Spans to return; where there are fewer, the rest have a score of -inf.
    """
    width = spans.shape[2]
    scores = spans.flatten(1)
    place = _top_places(scores, k)
    fill = (0, k - place.shape[1])
    score = torch.nn.functional.pad(scores.gather(1, place), fill, value=-torch.inf)
    first, extra = token.gather(1, place // width), place % width
    return score, torch.nn.functional.pad(first, fill), torch.nn.functional.pad(extra, fill)


def _top_places(scores: Tensor, k: int) -> Tensor:
    """Return the places, shape (batch, at most k), of the highest scores, in order; of equal scores the lower place.

    Args:
        scores: Shape (batch, n), float32.
        k: Places to return; all where there are fewer.
    """
    # Adding 0 turns -0.0 into 0.0, which their bits would tell apart.
    bits = (scores + 0.0).view(torch.int32)
    # The bits of floats order as integers do, but for the negative ones, which run backwards.
    rank = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long()
    places = torch.arange(scores.shape[1], device=scores.device)
    key = rank.bitwise_left_shift_(32).bitwise_or_(_LOW_BITS - places)
    return _LOW_BITS - (_highest(key, min(k, scores.shape[1])) & _LOW_BITS)


def _highest(values: Tensor, k: int) -> Tensor:
    """Return the k highest of each row, falling; shape (batch, k). On a CPU numpy takes a third of torch's time."""
    if values.device.type != "cpu":
        return values.topk(k, dim=1).values
    least = values.shape[1] - k
    highest = np.partition(values.numpy(), least, axis=1)[:, least:]
    return torch.from_numpy(np.sort(highest, axis=1)).flip(1)


def _null_score(start_logits: Tensor, end_logits: Tensor, null_index: Tensor) -> Tensor:
    index = null_index.long()[:, None]
    start, end = (
        logits.gather(1, index).squeeze(1).float().clamp(-_LARGEST, _LARGEST) for logits in (start_logits, end_logits)
    )
    total = start + end
    return torch.where(total.isnan(), torch.inf, total)
