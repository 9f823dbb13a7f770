"""Questions that tiny models learn in seconds, in files as a user has them."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.tokenizers import CORPUS

FACTS = [
    ("Who wrote the letter?", CORPUS[1], "Anna"),
    ("When was the letter written?", CORPUS[1], "1897"),
    ("When did the ship leave the harbour?", CORPUS[2], "the first of May"),
    ("How many were on board?", CORPUS[2], "forty people"),
    ("Who does not mind?", CORPUS[0], "the dog"),
    ("What does a reader answer?", CORPUS[3], "questions about a passage"),
]


def make_rows(count: int, *, seed: int, most_others: int = 4, unanswerable: bool = False) -> list[dict[str, Any]]:
    """Return rows, each with a context of its own.

    Args:
        count: How many.
        seed: Of the contexts.
        most_others: Most sentences beside the one with the answer.
        unanswerable: Whether every third row has no answer.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        question, told, answer = FACTS[i % len(FACTS)]
        answerable = not unanswerable or i % 3 > 0
        others = [sentence for sentence in CORPUS if sentence != told]
        sentences = [*rng.permutation(others)[: rng.integers(0, most_others + 1)], told if answerable else others[0]]
        context = f"{i} {seed} " + " ".join(rng.permutation(sentences))
        starts = [context.index(answer)] if answerable else []
        answers = {"text": [answer] * len(starts), "answer_start": starts}
        row = {"id": f"{seed}-{i}", "title": f"{i}", "context": context, "question": question, "answers": answers}
        rows.append(row)
    return rows


def bad_rows() -> list[dict[str, Any]]:
    """Return three rows that no run can use: a wrong offset, no question, an id that `make_rows` gave with seed 1."""
    wrong, silent, twice = make_rows(3, seed=1)
    wrong |= {"id": "wrong", "answers": {"text": ["Anna"], "answer_start": [0]}}
    return [wrong, {**silent, "id": "silent", "question": "  "}, twice]


def write_jsonl(path: pathlib.Path, rows: Sequence[dict[str, Any]]) -> str:
    """Write rows as JSON Lines, and return the path."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)
