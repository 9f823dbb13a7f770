"""Into which slices a question falls: by what it asks, by its passage, by its answer, and by columns of the user's.

Lengths are in characters, which mean the same whatever tokenizer a system has.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence

_Bins = tuple[tuple[int, ...], tuple[str, ...]]

_ANSWER_LENGTH: _Bins = ((5, 10, 20, 40), ("1-4", "5-9", "10-19", "20-39", "40+"))
_CONTEXT_LENGTH: _Bins = ((500, 1_000, 2_000, 4_000), ("0-499", "500-999", "1000-1999", "2000-3999", "4000+"))
_NUM_WINDOWS: _Bins = ((2, 3, 5, 9), ("1", "2", "3-4", "5-8", "9+"))
_POSITION: _Bins = ((20, 40, 60, 80), ("0-20 %", "20-40 %", "40-60 %", "60-80 %", "80-100 %"))

# The first that a question has names it. Korean words stand anywhere, as particles and endings follow them.
_QUESTION_WORDS = (
    ("how many / 몇", re.compile(r"\bhow (?:many|much|old|long|far|tall|large|big|often)\b|몇|얼마")),
    ("who / 누구", re.compile(r"\b(?:who|whom|whose)\b|누구|누가|누굴|누군")),
    ("when / 언제", re.compile(r"\bwhen\b|\b(?:what|which) (?:year|date|day|month|time|century)\b|언제")),
    ("where / 어디", re.compile(r"\bwhere\b|어디")),
    ("why / 왜", re.compile(r"\bwhy\b|왜|이유는|까닭")),
    ("how / 어떻게", re.compile(r"\bhow\b|어떻게|어찌")),
    ("which / 어느", re.compile(r"\bwhich\b|어느|어떤")),
    ("what / 무엇", re.compile(r"\bwhat\b|무엇|무슨|뭐|뭘")),
)
OTHER = "other"

DIMENSIONS = (
    "answerable", "answer_length", "answer_position", "context_length", "question_word", "num_windows"
)  # fmt: skip
"""What all questions are sliced by, besides the user's columns."""


def slice_values(
    *, question: str, golds: Sequence[str], start: int, context_chars: int, num_windows: int | None
) -> tuple[str | None, ...]:
    """Return a question's slice in each of DIMENSIONS, None where it falls into none.

    Args:
        question: "" where it is not known.
        golds: Gold answers, empty where there is none.
        start: Where the first of them stands in its context, in characters; -1 where that is not known.
        context_chars: Length of the context; -1 where that is not known.
        num_windows: How many windows the reader cut the context into, where that is known.
    """
    return (
        "answerable" if golds else "unanswerable",
        _bin(min(map(len, golds)), _ANSWER_LENGTH) if golds else None,
        _bin(100 * start // context_chars, _POSITION) if 0 <= start < context_chars else None,
        _bin(context_chars, _CONTEXT_LENGTH) if context_chars >= 0 else None,
        question_word(question) if question else None,
        None if num_windows is None else _bin(num_windows, _NUM_WINDOWS),
    )


def question_word(question: str) -> str:
    """Return what a question asks for, by its English or Korean question word.

    >>> question_word("How many people live there?"), question_word("무정을 쓴 사람은 누구인가?")
    ('how many / 몇', 'who / 누구')
    """
    text = question.lower()
    return next((name for name, pattern in _QUESTION_WORDS if pattern.search(text)), OTHER)


def in_order(slice_by: str, names: Sequence[str]) -> list[str]:
    """Return the slices of a dimension in the order in which they are shown: as binned, else by name."""
    bins = {
        "answerable": ("answerable", "unanswerable"),
        "answer_length": _ANSWER_LENGTH[1],
        "answer_position": _POSITION[1],
        "context_length": _CONTEXT_LENGTH[1],
        "num_windows": _NUM_WINDOWS[1],
    }.get(slice_by, ())
    return sorted(names, key=lambda name: (bins.index(name) if name in bins else len(bins), name))


def _bin(value: int, bins: _Bins) -> str:
    edges, names = bins
    return names[bisect_right(edges, value)]
