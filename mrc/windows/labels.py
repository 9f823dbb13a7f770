"""Windows and gold answers -> the start and end tokens that training aims at."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mrc.examples import Example
from mrc.windows.build import Windows
from mrc.windows.tokens import IntArray

Positions = npt.NDArray[np.int32]


def label_windows(windows: Windows, examples: Sequence[Example]) -> tuple[Positions, Positions]:
    """Label each window with the first and the last token of its example's first gold answer.

    The start is the window's first context token that reaches past `answer.start`, the end its last that begins before
    `answer.end`: every token with a character of the answer is in, so the span covers the answer whatever the tokenizer
    did to the text. Where each character is one token's, these are the labels of Hugging Face's run_qa. Where tokens
    share a character (an emoji in bytes, a syllable in jamo, XLM-R's "▁" before a word) all of them are in, and run_qa
    keeps one at each edge: the same characters of the context.

    Both are `null_index` where the example has no answer, where the window does not hold all of it, and where no token
    does. A window holds an answer if it has the first and the last of its characters that any token covers: white space
    and stripped accents at its edges belong to no token, and cost nothing.

    Args:
        windows: All windows of every example in it, as `make_windows` gave them: take a selection afterwards.
        examples: The examples that the windows were made of.

    Returns:
        Start and end positions, shape (num_windows,) each: tokens of the window, the end included.

    Raises:
        ValueError: An example's `answers` is None, that is, its gold is not known.
    """
    answers = _first_answers(examples)
    answer = answers[windows.example]
    window, start, end = _overlapping_tokens(windows, answer)
    example = windows.example[window]

    first_character = np.maximum(windows.offsets[start, 0], answer[window, 0])
    last_character = np.minimum(windows.offsets[end, 1], answer[window, 1])
    first_anywhere = np.full(len(examples), np.iinfo(np.int32).max, np.int32)
    last_anywhere = np.zeros(len(examples), np.int32)
    np.minimum.at(first_anywhere, example, first_character)
    np.maximum.at(last_anywhere, example, last_character)

    whole = (first_character == first_anywhere[example]) & (last_character == last_anywhere[example])
    held, row_start = window[whole], windows.row_splits[window[whole]]
    start_positions, end_positions = windows.null_index.copy(), windows.null_index.copy()
    start_positions[held] = start[whole] - row_start
    end_positions[held] = end[whole] - row_start
    return start_positions, end_positions


def _first_answers(examples: Sequence[Example]) -> npt.NDArray[np.int32]:
    """Return the first gold answers as half-open characters, shape (num_examples, 2); (0, 0) where there is none."""
    answers = np.zeros((len(examples), 2), np.int32)
    for row, example in zip(answers, examples, strict=True):
        if example.answers is None:
            raise ValueError(f"example {example.id!r} cannot be labelled: its answers are not known")
        if example.answers and example.answers[0].text:
            row[:] = example.answers[0].start, example.answers[0].end
    return answers


def _overlapping_tokens(windows: Windows, answer: npt.NDArray[np.int32]) -> tuple[IntArray, IntArray, IntArray]:
    """Return the windows with some token of their answer, and the first and the last such token, in all tokens.

    Args:
        windows: num_windows of them.
        answer: Shape (num_windows, 2): half-open characters.
    """
    answer_of_token = np.repeat(answer, windows.lengths, axis=0)
    overlaps = (windows.offsets[:, 1] > answer_of_token[:, 0]) & (windows.offsets[:, 0] < answer_of_token[:, 1])
    hits = np.flatnonzero(overlaps)
    first = np.searchsorted(hits, windows.row_splits[:-1])
    behind = np.searchsorted(hits, windows.row_splits[1:])
    window = np.flatnonzero(first < behind)
    return window, hits[first[window]], hits[behind[window] - 1]
