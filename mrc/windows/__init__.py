"""Question and context -> overlapping windows of tokens, and the labels that training needs.

    tokens.py   the tokens of texts as arrays
    words.py    texts -> tokens by way of their words, each of which is tokenized once
    pairs.py    what is taken of a tokenizer: how it reads texts, and how it puts a pair of them together
    build.py    examples -> windows
    labels.py   windows and gold answers -> start and end positions

A model reads at most `max_seq_length` tokens, so a long context is cut into windows that overlap. A fast tokenizer can
do that itself (`return_overflowing_tokens`), and Hugging Face's run_qa lets it; but then it reads a context again for
each of its questions, and every token passes through Python lists in each of its windows. Here each distinct text is
tokenized once, most of them word by word, each word once, and numpy assembles all windows in one gather. The price is
that some rules of the tokenizer stand here again: where overflow windows begin, how special tokens join a pair (read
off a probe), and what a word is. Tests hold the two equal.

Positions: offsets and answers are half-open characters of the original context; labels and `null_index` are tokens of
their own window.
"""

from mrc.windows.build import MAX_WINDOW_GROWTH, Rejection, WindowConfig, Windows, make_windows
from mrc.windows.labels import label_windows
from mrc.windows.pairs import PairTokenizer

__all__ = [
    "MAX_WINDOW_GROWTH",
    "PairTokenizer",
    "Rejection",
    "WindowConfig",
    "Windows",
    "label_windows",
    "make_windows",
]
