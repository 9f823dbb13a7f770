"""Tokens -> the characters at which an answer may begin and end.

Some tokenizers count the space before a word to the word (RoBERTa without `trim_offsets`, SentencePiece), some give a
token for nothing but white space, or one without any characters at all. So every token is cut down to its text once,
before spans are made of tokens: a span of trimmed tokens is trimmed, and is never blank.

    context  "a  b"    offsets  (0, 1) (1, 2) (2, 4)    bounds  (0, 1) (-1, -1) (3, 4)

And no bound falls inside a character as readers see it. A tokenizer that composes text (NFKC in XLM-R and T5) gives a
decomposed syllable or letter the offsets of its first code point only, and one that strips accents leaves them to no
token: marks and conjoining jamo belong to the character that they follow.

    context  "한강" in NFD, 6 code points    offsets  (0, 1) (3, 4)    bounds  (0, 3) (3, 6)
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mrc.batching import ragged_ranges
from mrc.spans.contexts import join_contexts
from mrc.windows import Windows

_LAST_SPACE = 0x3000
_IS_SPACE = np.array([chr(code).isspace() for code in range(_LAST_SPACE + 1)] + [False])
"""By code point, what `str.strip` takes off; its last entry stands for everything after IDEOGRAPHIC SPACE."""


def token_bounds(
    offsets: npt.NDArray[np.integer],
    row_splits: npt.NDArray[np.integer],
    example: npt.NDArray[np.integer],
    contexts: Sequence[str],
) -> npt.NDArray[np.int32]:
    """Return where the text of every token begins and ends, in half-open characters of its context.

    Args:
        offsets: Shape (num_tokens, 2): half-open characters of the context, (-1, -1) outside it.
        row_splits: Shape (num_windows + 1,): where windows begin and end, in tokens.
        example: Shape (num_windows,): index of the window's context in `contexts`.
        contexts: One for each example. Each distinct one is looked through once.

    Returns:
        Shape (num_tokens, 2): (-1, -1) where no answer may begin or end: outside the context, and on tokens that are
        empty or blank.
    """
    joined = join_contexts(contexts)
    next_text, text_end = _nearest_text(joined.text, joined.starts)
    shift = np.repeat(joined.start_of[example].astype(np.int32), np.diff(row_splits))
    # Outside the context this looks up some other place, or the last.
    start, end = next_text[offsets[:, 0] + shift], text_end[offsets[:, 1] + shift]
    bounds = np.stack([start - shift, end - shift], axis=1)
    bounds[(offsets[:, 0] < 0) | (start >= end)] = -1
    return bounds


def bounds_repeat(
    bounds: npt.NDArray[np.integer], row_splits: npt.NDArray[np.integer], k: int
) -> npt.NDArray[np.integer]:
    """Return how many tokens of each window are sure to begin at k different characters; shape (num_windows,).

    0 where no spans of different tokens are the same characters, which is so in nearly all windows: any k tokens will
    do. More than a window has where no number is enough.

    Args:
        bounds: Shape (num_tokens, 2): `token_bounds`.
        row_splits: Shape (num_windows + 1,): where windows begin and end, in tokens.
        k: At least 1.
    """
    is_legal = bounds[:, 0] >= 0
    legal = np.flatnonzero(is_legal)
    start, end = (np.ascontiguousarray(column)[is_legal] for column in bounds.T)
    stays = np.flatnonzero((start[1:] <= start[:-1]) | (end[1:] <= end[:-1]))
    before, after = (np.searchsorted(row_splits, legal[at], side="right") - 1 for at in (stays, stays + 1))
    repeating = np.unique(before[before == after])

    num_tokens = np.diff(row_splits)[repeating]
    window = np.repeat(repeating, num_tokens)
    start = bounds[ragged_ranges(row_splits[repeating], num_tokens), 0]
    size = int(start.max(initial=0)) + 1
    distinct, counts = np.unique((window * size + start)[start >= 0], return_counts=True)
    window = distinct // size
    order = np.lexsort((-counts, window))
    window, counts = window[order], counts[order]
    is_frequent = np.arange(len(window)) - np.searchsorted(window, window) < k - 1
    # At worst all tokens of the k - 1 most frequent starts come before any other.
    repeats = np.bincount(window, counts * is_frequent, minlength=len(row_splits) - 1).astype(np.int64)
    repeats[repeating] += 1
    return repeats


def _nearest_text(
    text: str, context_start: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """For each position, shape (len(text) + 1,), return where text begins after it, and where text before it ends.

    Blanks are no text, and characters are whole. len(text) and 0 where there is no text.

    Args:
        text: All contexts, end to end.
        context_start: Where they begin; what a context begins with follows nothing.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    blank = _IS_SPACE[np.minimum(codes, _LAST_SPACE + 1)]
    positions = np.arange(len(text) + 1, dtype=np.int32)
    begins = np.append(~_follows(codes), True)
    begins[context_start] = True
    character_start = np.maximum.accumulate(np.where(begins, positions, 0))
    character_end = np.minimum.accumulate(np.where(begins, positions, len(text))[::-1])[::-1]
    next_text = np.append(np.where(blank, len(text), positions[:-1]), len(text))
    text_end = np.append(0, np.where(blank, 0, positions[1:]))
    return (
        character_start[np.minimum.accumulate(next_text[::-1])[::-1]],
        character_end[np.maximum.accumulate(text_end)],
    )


def _follows(codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    """Tell which code points belong to the character before them: marks, and the vowels and finals of Hangul."""
    counts = np.bincount(codes)
    follows = np.zeros(len(counts), dtype=bool)
    for code in np.flatnonzero(counts).tolist():
        follows[code] = 0x1160 <= code <= 0x11FF or unicodedata.category(chr(code)).startswith("M")
    return follows[codes]


def locate(windows: Windows, contexts: Sequence[str]) -> Windows:
    """Return windows whose offsets are where an answer may begin and end, see `token_bounds`, for `read_located`."""
    bounds = token_bounds(windows.offsets, windows.row_splits, windows.example, contexts)
    return replace(windows, offsets=bounds)
