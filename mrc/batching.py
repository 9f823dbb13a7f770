"""Windows -> batches: by token budget to answer, by fixed-size steps to train, with windows of like length together.

A padded batch costs `number of windows x longest window` tokens, a packed one only its own. Sorting by length before
cutting makes padding a few per cent; the price is that training needs its order shuffled again, which `epoch_steps`
does so that an epoch is a pure function of (lengths, batch_size, seed, epoch) and of nothing that runs.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]

# Steps are sorted by length inside pools of this many steps: enough that a step's windows are alike in length,
# few enough that an epoch's steps stay a random draw.
_POOL_STEPS = 64


Layout = Literal["padded", "equal", "packed"]
"""How windows share a batch: padded to the longest, only with windows of their own length, or in one row."""


def token_budget_batches(
    lengths: npt.NDArray[np.integer], max_batch_tokens: int, layout: Layout = "padded"
) -> list[Indices]:
    """Cut windows, longest first, into batches of at most `max_batch_tokens` tokens, padding included.

    Longest first, so that a batch which does not fit into memory fails at once and not at the end.

    Args:
        lengths: Shape (num_windows,), tokens of each window.
        max_batch_tokens: Budget of one batch. A single window longer than that is a batch of its own.
        layout: How windows share a batch.

    Returns:
        Index arrays that hold every window once; ties in length keep the order of the windows.
    """
    order = np.argsort(-lengths.astype(np.int64), kind="stable")
    if layout == "packed":
        return _packed_batches(order, lengths[order], max_batch_tokens)
    equal_lengths = layout == "equal"
    # Where the windows end that are as long as each window, in that order; else where all end.
    ends = np.searchsorted(-lengths[order], -lengths[order], side="right") if equal_lengths else None
    batches: list[Indices] = []
    at = 0
    while at < len(order):
        size = max(1, max_batch_tokens // max(1, int(lengths[order[at]])))
        end = at + size if ends is None else min(at + size, int(ends[at]))
        batches.append(order[at:end])
        at = end
    return batches


def _packed_batches(order: Indices, lengths: npt.NDArray[np.integer], max_batch_tokens: int) -> list[Indices]:
    """Cut windows in an order, with their lengths in it, wherever the next would be over the budget."""
    total = np.cumsum(lengths, dtype=np.int64)
    batches: list[Indices] = []
    at = 0
    while at < len(order):
        before = total[at - 1] if at else 0
        end = max(at + 1, int(np.searchsorted(total, before + max_batch_tokens, side="right")))
        batches.append(order[at:end])
        at = end
    return batches


def epoch_steps(lengths: npt.NDArray[np.integer], batch_size: int, *, seed: int, epoch: int) -> list[Indices]:
    """Return the optimizer steps of one epoch: which windows each step learns from, over all workers.

    Windows are shuffled, sorted by length inside pools of 64 steps, cut into steps, and the steps are shuffled.

    Args:
        lengths: Shape (num_windows,), tokens of each window.
        batch_size: Windows of a step; only the last step cut may hold fewer.
        seed: Of the run.
        epoch: Counted from 0; every epoch has an order of its own.

    Returns:
        Index arrays that hold every window once, each sorted by length.
    """
    rng = np.random.default_rng([seed, epoch])
    shuffled = rng.permutation(len(lengths))
    pool = batch_size * _POOL_STEPS
    steps: list[Indices] = []
    for at in range(0, len(shuffled), pool):
        chunk = shuffled[at : at + pool]
        chunk = chunk[np.argsort(lengths[chunk], kind="stable")]
        steps.extend(chunk[i : i + batch_size] for i in range(0, len(chunk), batch_size))
    return [steps[i] for i in rng.permutation(len(steps))]


def worker_share(step: Indices, rank: int, world_size: int) -> Indices:
    """Return one worker's windows of a step; the shares of all ranks are the step, each window once.

    Every `world_size`-th window of a step that is sorted by length: shares cost about the same. A share may be empty.
    """
    return step[rank::world_size]


def pad(
    values: npt.NDArray[np.integer], lengths: npt.NDArray[np.integer], *, fill: int, side: str
) -> npt.NDArray[np.int64]:
    """Lay out rows that stand end to end as one matrix, filled up on `side`.

    Args:
        values: Shape (num_tokens, ...), all rows end to end.
        lengths: Shape (num_rows,).
        fill: Value of the padding.
        side: "left" or "right".

    Returns:
        Shape (num_rows, longest, ...).
    """
    filled = token_mask(lengths, side)
    out = np.full(filled.shape + values.shape[1:], fill, dtype=np.int64)
    out[filled] = values
    return out


def token_mask(lengths: npt.NDArray[np.integer], side: str) -> npt.NDArray[np.bool_]:
    """Return shape (num_rows, longest): True on tokens, False on the padding that `pad` puts on `side`."""
    lengths = np.asarray(lengths, dtype=np.int64)
    first = first_token(lengths, side)[:, None]
    columns = np.arange(int(lengths.max(initial=0)))
    return (columns >= first) & (columns < first + lengths[:, None])


def ragged_ranges(starts: npt.NDArray[np.integer], lengths: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Return the ranges that begin at `starts`, end to end: starts (7, 2) and lengths (3, 2) give 7 8 9 2 3."""
    before = np.cumsum(lengths, dtype=np.int64) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()), dtype=np.int64)


def first_token(lengths: npt.NDArray[np.integer], side: str) -> npt.NDArray[np.int64]:
    """Return shape (num_rows,): the column of each row's first token, above 0 only where padding is on the left."""
    lengths = np.asarray(lengths, dtype=np.int64)
    return lengths.max(initial=0) - lengths if side == "left" else np.zeros_like(lengths)
