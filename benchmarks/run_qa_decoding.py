"""Logits -> answers by a loop in Python over the 20 best starts and 20 best ends, as run_qa's utils_qa.py has it."""

import collections
import operator
from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt

N_BEST_SIZE = 20
MAX_ANSWER_LENGTH = 30

Floats = npt.NDArray[np.float32]
Entry = dict[str, Any]
"""A line of the n-best list: text, start_logit, end_logit, probability."""


def postprocess(
    questions: datasets.Dataset,
    features: datasets.Dataset,
    start_logits: Floats,
    end_logits: Floats,
    *,
    version_2_with_negative: bool,
    null_score_diff_threshold: float,
) -> tuple[dict[str, str], dict[str, list[Entry]]]:
    """Return answers and n-best lists by id, as `postprocess_qa_predictions` of utils_qa.py makes them."""
    number = {identity: i for i, identity in enumerate(questions["id"])}
    windows = collections.defaultdict(list)
    for i, feature in enumerate(features):
        windows[number[feature["example_id"]]].append(i)
    answers: dict[str, str] = {}
    n_bests: dict[str, list[Entry]] = {}
    for i, question in enumerate(questions):
        found: list[Entry] = []
        nulls: list[Entry] = []
        for window in windows[i]:
            start, end = start_logits[window], end_logits[window]
            nulls.append(_entry((0, 0), start[0], end[0]))
            found += _candidates(start, end, features[window]["offset_mapping"])
        null = min(nulls, key=operator.itemgetter("score")) if version_2_with_negative else None
        n_best = _n_best(found, null, question["context"])
        n_bests[question["id"]] = n_best
        answers[question["id"]] = _answer(n_best, null, null_score_diff_threshold)
    return answers, n_bests


def _candidates(start: Floats, end: Floats, offsets: Sequence[Sequence[int] | None]) -> list[Entry]:
    """Return what the best starts and the best ends of a window make, without what is no span of the context."""
    starts = np.argsort(start)[-1 : -N_BEST_SIZE - 1 : -1].tolist()
    ends = np.argsort(end)[-1 : -N_BEST_SIZE - 1 : -1].tolist()
    found = []
    for first in starts:
        for last in ends:
            left, right = offsets[first], offsets[last]
            if left is None or right is None or last < first or last - first + 1 > MAX_ANSWER_LENGTH:
                continue
            found.append(_entry((left[0], right[1]), start[first], end[last]))
    return found


def _entry(characters: tuple[int, int], start: np.float32, end: np.float32) -> Entry:
    return {"offsets": characters, "score": start + end, "start_logit": start, "end_logit": end}


def _n_best(found: list[Entry], null: Entry | None, context: str) -> list[Entry]:
    """Return the best candidates with their texts and probabilities, the null answer among them where it may win."""
    nulls = [] if null is None else [dict(null)]
    best = sorted(found + nulls, key=operator.itemgetter("score"), reverse=True)[:N_BEST_SIZE]
    if not any(entry["offsets"] == (0, 0) for entry in best):
        best += nulls
    for entry in best:
        start, end = entry.pop("offsets")
        entry["text"] = context[start:end]
    if not best or (len(best) == 1 and not best[0]["text"]):
        best.insert(0, {"text": "empty", "start_logit": 0.0, "end_logit": 0.0, "score": 0.0})
    scores = np.array([entry.pop("score") for entry in best])
    weights = np.exp(scores - scores.max())
    for entry, probability in zip(best, weights / weights.sum(), strict=True):
        entry["probability"] = probability
    return [{key: value if key == "text" else float(value) for key, value in entry.items()} for entry in best]


def _answer(n_best: list[Entry], null: Entry | None, threshold: float) -> str:
    if null is None:
        return str(n_best[0]["text"])
    best = next((entry for entry in n_best if entry["text"]), None)
    if best is None or null["score"] - best["start_logit"] - best["end_logit"] > threshold:
        return ""
    return str(best["text"])
