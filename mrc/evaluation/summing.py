"""Scored questions -> their part of all sums, see parts.py."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mrc.evaluation.outcome import OVERALL
from mrc.evaluation.parts import PROBABILITY_UNIT, Ints, Parts, Ranked, Slice
from mrc.evaluation.plan import Plan
from mrc.evaluation.slices import DIMENSIONS
from mrc.metrics import Scorer
from mrc.metrics.bootstrap import replicate_sums
from mrc.metrics.null_gains import NullGains
from mrc.metrics.particles import differ_by_particles
from mrc.metrics.sums import F1_UNIT


@dataclass(frozen=True, kw_only=True)
class Work:
    """What scoring needs to know besides the rows; it is put into Ray's object store once."""

    plan: Plan
    scorer: str
    kept_values: tuple[frozenset[str], ...]
    """Of each column to slice by, the values that are slices of their own."""


class Scored(NamedTuple):
    """A question with its scores: the reference's and prediction's rows as mappings."""

    reference: dict[str, Any]
    prediction: dict[str, Any] | None
    exact_match: int
    f1: float
    baseline: tuple[str | None, int, float] | None
    """Answer, exact match and F1, where the baseline has the question."""


def sum_up(
    work: Work,
    scored: Sequence[Scored],
    slices: Sequence[tuple[str | None, ...]],
    counts: Counter[str],
    scorer: Scorer,
) -> Parts:
    """Return the part of all sums that some questions make.

    Args:
        work: The evaluation.
        scored: Questions with their scores.
        slices: Of each, its slice in each dimension: DIMENSIONS, then the columns of the user's.
        counts: What is counted of them already.
        scorer: Whose rule it is.
    """
    values = np.array(
        [(1, one.exact_match, round(one.f1 * F1_UNIT)) for one in scored], dtype=np.int64
    ).reshape(-1, 3)  # fmt: skip
    keys = np.array([one.reference["context_key"] for one in scored], dtype=np.uint64)
    groups, names = _number(slices, work.plan.config.slice_columns)
    has_answer = np.array([bool(one.reference["golds"]) for one in scored], dtype=np.int64).reshape(-1, 1)
    missing = np.array([one.prediction is None for one in scored], dtype=np.int64).reshape(-1, 1)
    all_sums = np.concatenate([values[:, :1], missing, values[:, 1:], has_answer * values], axis=1)
    sums = np.zeros((len(names), all_sums.shape[1]), dtype=np.int64)
    for dimension in groups.T:
        np.add.at(sums, dimension[dimension >= 0], all_sums[dimension >= 0])
    counts.update(_kinds(scored, scorer))
    counts.update(won=sum(_gain(one) > 0 for one in scored), lost=sum(_gain(one) < 0 for one in scored))
    shown = work.plan.config.num_examples
    return Parts(
        counts=counts,
        sums=dict(zip(names, sums, strict=True)),
        replicates=dict(zip(names, replicate_sums(keys, groups, values, len(names)), strict=True)),
        changes=_changes(scored, keys, groups, names, values),
        calibration=_calibration(scored),
        null_gains=_null_gains(scored, scorer),
        worst=Ranked.of(
            [_shown(one, (one.f1, -(_of(one, "probability") or 0.0))) for one in scored if _is_wrong(one)], shown
        ),
        won=Ranked.of([_shown(one, (-gain,)) for one in scored if (gain := _gain(one)) > 0], shown),
        lost=Ranked.of([_shown(one, (gain,)) for one in scored if (gain := _gain(one)) < 0], shown),
    )


def _number(slices: Sequence[tuple[str | None, ...]], columns: Sequence[str]) -> tuple[Ints, list[Slice]]:
    """Return the group of each question in each dimension, overall first, -1 for none; and the slices by group."""
    dimensions = (*DIMENSIONS, *columns)
    found = {(OVERALL, ""): 0}
    groups = np.full((len(slices), 1 + len(dimensions)), -1, dtype=np.int64)
    groups[:, 0] = 0
    for row, values in enumerate(slices):
        for at, (dimension, value) in enumerate(zip(dimensions, values, strict=True), 1):
            if value is not None:
                groups[row, at] = found.setdefault((dimension, value), len(found))
    return groups, list(found)


def _changes(
    scored: Sequence[Scored], keys: Any, groups: Ints, names: Sequence[Slice], values: Ints
) -> dict[Slice, Ints]:
    """Return sums of the differences to the baseline over the questions that both have."""
    both = np.array([one.baseline is not None for one in scored], dtype=bool)
    if not both.any():
        return {}
    old = [(0, one.baseline[1], round(one.baseline[2] * F1_UNIT)) for one in scored if one.baseline is not None]
    differences = values[both] - np.array(old, dtype=np.int64)
    return dict(zip(names, replicate_sums(keys[both], groups[both], differences, len(names)), strict=True))


def _kinds(scored: Sequence[Scored], scorer: Scorer) -> Counter[str]:
    """Count the questions of each kind that tells something of its own."""
    kinds: Counter[str] = Counter()
    for one in scored:
        golds, prediction = one.reference["golds"], one.prediction
        if prediction is not None:
            given = "answered" if prediction["answer"] else "unanswered"
            kinds[f"{given}_{'answerable' if golds else 'unanswerable'}"] += 1
            if prediction["answer"] and golds and not one.exact_match:
                kinds["misses"] += 1
                found = scorer.normalise(prediction["answer"])
                kinds["only_particles"] += any(differ_by_particles(found, scorer.normalise(gold)) for gold in golds)
        if one.reference["at_boundaries"] is not None:
            kinds["at_boundaries"] += 1
            candidates = one.reference["at_boundaries"] if golds else [""]
            kinds["exact_at_boundaries"] += any(scorer.score(text, golds)[0] for text in candidates)
    return kinds


def _calibration(scored: Sequence[Scored]) -> Ints:
    known = [(one.prediction["probability"], one.exact_match) for one in scored
             if one.prediction is not None and one.prediction["probability"] is not None]  # fmt: skip
    bins = np.zeros((15, 3), dtype=np.int64)
    if known:
        probability, exact_match = np.array(known, dtype=np.float64).T
        places = np.clip(np.ceil(probability * len(bins)).astype(np.int64) - 1, 0, len(bins) - 1)
        rows = [
            np.ones_like(places),
            np.rint(probability * PROBABILITY_UNIT).astype(np.int64),
            exact_match.astype(np.int64),
        ]
        np.add.at(bins, places, np.stack(rows, axis=1))
    return bins


def _null_gains(scored: Sequence[Scored], scorer: Scorer) -> NullGains | None:
    """Return what thresholds of the null answer would score, None where a prediction does not tell of it."""
    given = [(one, one.prediction) for one in scored if one.prediction is not None]
    if any(prediction["null_diff"] is None for _, prediction in given):
        return None

    def score(text: str, one: Scored) -> tuple[int, int]:
        exact_match, f1 = scorer.score(text, one.reference["golds"])
        return exact_match, round(f1 * F1_UNIT)

    answered = [score(prediction["best_text"] or "", one) for one, prediction in given]
    null = [score("", one) for one, _ in given]
    return NullGains.of(
        [prediction["null_diff"] for _, prediction in given],
        np.array(answered, dtype=np.int64).reshape(-1, 2),
        np.array(null, dtype=np.int64).reshape(-1, 2),
    )


def _of(one: Scored, name: str) -> Any:
    return None if one.prediction is None else one.prediction[name]


def _is_wrong(one: Scored) -> bool:
    return one.prediction is not None and not one.exact_match


def _gain(one: Scored) -> float:
    """Return how much higher the F1 is than the baseline's, 0 where that has no answer to it."""
    return 0.0 if one.baseline is None else one.f1 - one.baseline[2]


def _shown(one: Scored, rank: tuple[float, ...]) -> dict[str, Any]:
    """Return what is needed to show a question."""
    return {
        "rank": (*rank, one.reference["id"]),
        **{name: one.reference[name] for name in ("id", "unit", "row", "question", "golds")},
        "answer": _of(one, "answer"),
        "start": _of(one, "start"),
        "probability": _of(one, "probability"),
        "exact_match": one.exact_match,
        "f1": one.f1,
        "baseline_answer": None if one.baseline is None else one.baseline[0],
        "baseline_f1": None if one.baseline is None else one.baseline[2],
    }
