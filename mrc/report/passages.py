"""Passages to read: cut to what lies around the gold spans and the answer, and marked.

All spans are half-open characters of the passage. Those of gold and of the answer may overlap, nest and repeat, so a
passage is cut into pieces at every edge of a span, and each piece knows what it is part of:

    passage  The reader was built in Seoul in 1998.
    gold                            [---]
    answer                       [----------]
    pieces   The reader was built| in |Seoul| in 1998|.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Span = tuple[int, int]

WHOLE = 700
"""Characters up to which a passage is shown in full."""

AROUND = 160
"""Characters that are kept before and after the edges of a span in a longer one."""

_SNAP = 20
"""Characters within which a cut moves to white space, so that few words are cut through."""

_MOST_RANGES = 6
"""Places shown of one passage: references with hundreds of gold spans exist."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A stretch of a passage that is marked in one way."""

    text: str
    is_gold: bool = False
    is_answer: bool = False
    is_gap: bool = False
    """Whether it stands for text that is left out; it has no text then."""

    @property
    def kind(self) -> str:
        """The classes of its mark, "" where it has none."""
        return " ".join(["gold"] * self.is_gold + ["answer"] * self.is_answer)


def excerpt(
    passage: str, gold_spans: Iterable[Span], answer_span: Span | None, *, whole: int = WHOLE, around: int = AROUND
) -> tuple[Piece, ...]:
    """Return the pieces of a passage that are worth reading, gaps between and around them.

    Args:
        passage: The text that spans are in.
        gold_spans: May overlap. What of a span lies outside the passage, and a span of nothing, is not marked.
        answer_span: None where nothing was answered.
        whole: A passage of at most this many characters is kept in full.
        around: Characters kept on either side of both edges of a span; the middle of a long span may be left out, too.
    """
    golds = _inside(gold_spans, len(passage))
    answers = _inside([answer_span] if answer_span else [], len(passage))
    kept = [(0, len(passage))] if len(passage) <= whole else ranges(passage, [*answers, *golds], around)
    pieces: list[Piece] = []
    gap = Piece(text="", is_gap=True)
    for start, end in kept:
        pieces += [gap] * (start > 0 and not (pieces and pieces[-1].is_gap))
        pieces += mark(passage, (start, end), golds, answers)
        pieces += [gap] * (end < len(passage))
    return tuple(pieces)


def ranges(passage: str, spans: Sequence[Span], around: int) -> list[Span]:
    """Return what of a passage to keep, ascending and apart from each other; its beginning where there are no spans.

    Args:
        passage: The text that spans are in.
        spans: The ones that matter most first: beyond a few places the rest are not shown.
        around: Characters kept on either side of an edge, a few more or less where that saves a word.
    """
    kept: list[Span] = []
    for edge in itertools.chain.from_iterable(spans or [(0, 0)]):
        low, high = _snap(passage, max(edge - around, 0), -1), _snap(passage, min(edge + around, len(passage)), 1)
        merged = _merge([*kept, (low, high)])
        if len(merged) <= _MOST_RANGES:
            kept = merged
    return kept


def mark(passage: str, within: Span, golds: Sequence[Span], answers: Sequence[Span]) -> list[Piece]:
    """Return one part of a passage as pieces, each wholly inside or wholly outside of every span."""
    start, end = within
    edges = {start, end} | {edge for span in [*golds, *answers] for edge in span if start < edge < end}

    def covered(spans: Sequence[Span], low: int) -> bool:
        return any(first <= low < last for first, last in spans)

    marked = [
        (low, high, covered(golds, low), covered(answers, low)) for low, high in itertools.pairwise(sorted(edges))
    ]
    # Spans that touch or repeat leave edges between pieces that are marked alike.
    groups = [list(group) for _, group in itertools.groupby(marked, key=lambda part: part[2:])]
    return [
        Piece(text=passage[group[0][0] : group[-1][1]], is_gold=group[0][2], is_answer=group[0][3]) for group in groups
    ]


def _inside(spans: Iterable[Span], length: int) -> list[Span]:
    cut = [(max(start, 0), min(end, length)) for start, end in spans]
    return [(start, end) for start, end in cut if start < end]


def _merge(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _snap(passage: str, place: int, step: int) -> int:
    """Return the nearest place outwards where a word ends, if it is near."""
    for near in range(place, place + step * _SNAP, step):
        if near <= 0 or near >= len(passage) or passage[near - 1].isspace() or passage[near].isspace():
            return min(max(near, 0), len(passage))
    return place
