"""Logits -> the k best distinct spans of every window, found on the device that holds the logits.

All legal spans compete, a band of (seq_len, max_answer_length) starts and lengths a window, not the cross product of
two top lists, which can lose the best legal span to question and padding tokens. Of the band only what can win is made:
a start's best span takes the highest of the next end logits, and the k best spans begin at the k starts whose best are
highest. k spans and a null score leave the device.

`torch.topk` promises no order of ties. So a cell's score and its place are packed into one integer that is unique, and
the top k of those are the same on every device.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from mrc.spans.merge import WindowSpans

_LARGEST = torch.finfo(torch.float32).max / 2
"""Logits beyond it are read as it, so that the sum of two is finite."""

_LOW_BITS = (1 << 32) - 1


class BestSpans(NamedTuple):
    """The best spans of a batch of windows, on the device: higher score first, then earlier start, then shorter."""

    start: Tensor
    """Shape (batch, k), int32: first character in the context; -1 where a window has fewer spans."""

    end: Tensor
    """Shape (batch, k), int32: the character after the last; -1 where a window has fewer spans."""

    score: Tensor
    """Shape (batch, k), float32: start plus end logit; -inf where a window has fewer spans."""

    null_score: Tensor
    """Shape (batch,), float32: start plus end logit of the null token; inf where they are NaN."""

    def numpy(self) -> WindowSpans:
        """Copy the spans to the host."""
        start, end, score, null_score = (tensor.cpu().numpy() for tensor in self)
        return WindowSpans(start=start, end=end, score=score, null_score=null_score)


def best_spans(
    start_logits: Tensor,
    end_logits: Tensor,
    bounds: Tensor,
    null_index: Tensor,
    *,
    k: int,
    max_answer_length: int,
    may_repeat: bool = True,
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
        bounds: Shape (batch, seq_len, 2), any integer dtype: `token_bounds`, and (-1, -1) on padding.
        null_index: Shape (batch,): position of the null token in the padded row.
        k: Spans to keep of each window.
        max_answer_length: Most tokens of a span.
        may_repeat: False where no two spans of a window can be the same characters, see `bounds_repeat`; saves time.
    """
    legal = bounds[..., 0] >= 0
    width = min(max_answer_length, start_logits.shape[1])
    start, end = _usable(start_logits, legal), _usable(end_logits, legal)
    # Shape (batch, seq_len, width): the end logits from each token on.
    ends = torch.nn.functional.pad(end, (0, width - 1), value=-torch.inf).unfold(1, width, 1)
    if may_repeat:
        band = _drop_copies(start[:, :, None] + ends, bounds)
        token = _top_starts(band.amax(dim=2), k)
        spans = band.gather(1, token[:, :, None].expand(-1, -1, width))
    else:
        token = _top_starts(start + _sliding_maximum(end, width), k)
        spans = start.gather(1, token)[:, :, None] + ends.gather(1, token[:, :, None].expand(-1, -1, width))
    score, first_token, extra_tokens = _top_spans(spans, token, k)
    # Places that hold no span may point past the last token.
    last_token = (first_token + extra_tokens).clamp(max=start_logits.shape[1] - 1)
    found = score > -torch.inf
    return BestSpans(
        start=torch.where(found, bounds[..., 0].gather(1, first_token), -1).int(),
        end=torch.where(found, bounds[..., 1].gather(1, last_token), -1).int(),
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
    begin the shorter ones too. Nearly all batches have no such spans, and cost a sort of their bounds.
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
    """Return the k first tokens whose best spans are highest, shape (batch, at most k); of equal ones the earlier.

    The k best spans begin there: each first token ahead of another has a span ahead of all of the other's.

    Args:
        best: Shape (batch, seq_len): the score of the best span from each token.
        k: Tokens to return; all where there are fewer.
    """
    tokens = torch.arange(best.shape[1], device=best.device).expand(best.shape)
    # Adding 0 turns -0.0 into 0.0, which the packing of scores would tell apart.
    return _top_places(best + 0.0, tokens, k)


def _top_spans(spans: Tensor, token: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the k best spans: score, first token, tokens after the first; shape (batch, k) each.

    Args:
        spans: Shape (batch, num_starts, width): scores of the spans from some tokens on.
        token: Shape (batch, num_starts): those tokens.
        k: Spans to return; where there are fewer, the rest have a score of -inf.
    """
    width = spans.shape[2]
    # Spans are numbered by first token and length. A row's are sorted by number to be looked up by it.
    order = token.argsort(dim=1)
    token = token.gather(1, order)
    scores = spans.gather(1, order[:, :, None].expand(-1, -1, width)).flatten(1) + 0.0
    number = (token[:, :, None] * width + torch.arange(width, device=spans.device)).flatten(1)
    place = _top_places(scores, torch.arange(scores.shape[1], device=spans.device).expand(scores.shape), k)
    fill = (0, k - place.shape[1])
    score = torch.nn.functional.pad(scores.gather(1, place), fill, value=-torch.inf)
    chosen = torch.nn.functional.pad(number.gather(1, place), fill)
    return score, chosen // width, chosen % width


def _top_places(scores: Tensor, places: Tensor, k: int) -> Tensor:
    """Return the places, shape (batch, at most k), of the highest scores, in order; of equal scores the lower place.

    Args:
        scores: Shape (batch, n), float32.
        places: Shape (batch, n), int64 in 0 to 2**32, distinct in a row.
        k: Places to return; all where there are fewer.
    """
    bits = scores.view(torch.int32)
    # The bits of floats order as integers do, but for the negative ones, which run backwards.
    rank = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    key = (rank << 32) | (_LOW_BITS - places)
    return _LOW_BITS - (key.topk(min(k, key.shape[1]), dim=1).values & _LOW_BITS)


def _null_score(start_logits: Tensor, end_logits: Tensor, null_index: Tensor) -> Tensor:
    index = null_index.long()[:, None]
    start, end = (
        logits.gather(1, index).squeeze(1).float().clamp(-_LARGEST, _LARGEST) for logits in (start_logits, end_logits)
    )
    total = start + end
    return torch.where(total.isnan(), torch.inf, total)
