"""The sum of all parts -> what is told of a run: scores with intervals, calibration, thresholds, comparison."""

from collections.abc import Sequence

from mrc.evaluation.compare import compare
from mrc.evaluation.exchange import Facts
from mrc.evaluation.outcome import (
    OVERALL,
    Answerability,
    Calibration,
    CalibrationBin,
    Evaluation,
    Interval,
    KoreanAnalysis,
    Mismatches,
    PastRun,
    SliceScore,
    Thresholds,
)
from mrc.evaluation.parts import PROBABILITY_UNIT, SUMS, Ints, Parts, Slice
from mrc.evaluation.plan import Plan
from mrc.evaluation.slices import DIMENSIONS, in_order
from mrc.evaluation.table import past_runs
from mrc.evaluation.views import view
from mrc.metrics import Sums
from mrc.metrics.bootstrap import interval
from mrc.metrics.null_gains import NullGains
from mrc.metrics.sums import F1_UNIT


def conclude(plan: Plan, scorer: str, facts: Facts, parts: Parts, seconds: float) -> Evaluation:
    """Return what an evaluation found.

    Args:
        plan: What was asked for.
        scorer: Whose rule it was.
        facts: Of all references.
        parts: Of all questions.
        seconds: How long it took.
    """
    order = slice_order(parts, plan.config.slice_columns)
    scores = tuple(_slice_score(one, sums_of(parts, one), parts.replicates[one]) for one in order)
    worst, won, lost = view(plan, parts.worst.rows, parts.won.rows, parts.lost.rows)
    overall = scores[0]
    now = PastRun(
        run_id=plan.run_id,
        created_at=plan.created_at.isoformat(timespec="seconds"),
        exact_match=overall.figures["exact_match"],
        f1=overall.figures["f1"],
        f1_interval=overall.f1_interval,
    )
    answerability = _answerability(parts)
    before = [run for run in plan.patiently(lambda: past_runs(plan.config.output, scorer)) if run.run_id != plan.run_id]
    return Evaluation(
        run_id=plan.run_id,
        created_at=now.created_at,
        scorer=scorer,
        predictions=plan.config.predictions or "",
        references=plan.config.references or "",
        model_fingerprint=plan.model_fingerprint,
        data_fingerprint=f"{facts.hash:032x}",
        seconds=round(seconds, 3),
        slices=scores,
        mismatches=mismatches_of(parts),
        history=(*before, now),
        calibration=_calibration(parts.calibration),
        answerability=answerability,
        thresholds=None if answerability is None else _thresholds(parts.null_gains, overall.figures["total"]),
        korean=_korean(parts) if 2 * facts.korean > facts.questions else None,
        worst=worst,
        comparison=None if plan.baseline is None else compare(plan.baseline, parts, order, won, lost),
        config=plan.settings,
    )


def slice_order(parts: Parts, columns: Sequence[str]) -> list[Slice]:
    """Return the slices that have questions as they are shown, overall first."""
    names = {slice_by: [name for by, name in parts.sums if by == slice_by] for slice_by in (*DIMENSIONS, *columns)}
    return [(OVERALL, "")] + [(by, name) for by, found in names.items() for name in in_order(by, found)]


def sums_of(parts: Parts, one: Slice) -> Sums:
    """Return the sums of a slice."""
    return Sums(**dict(zip(SUMS, map(int, parts.sums[one]), strict=True)))


def mismatches_of(parts: Parts) -> Mismatches:
    """Return how many ids and rows do not pair up."""
    names = Mismatches.__dataclass_fields__
    return Mismatches(**{name: parts.counts[name] for name in names})


def _slice_score(one: Slice, sums: Sums, replicates: Ints) -> SliceScore:
    total, exact_match, f1 = replicates[:, 1:]
    return SliceScore(
        slice_by=one[0],
        slice=one[1],
        figures=sums.result(),
        exact_match_interval=interval(exact_match, total, 100),
        f1_interval=interval(f1, total, 100 / F1_UNIT),
    )


def _calibration(bins: Ints) -> Calibration | None:
    total = int(bins[:, 0].sum())
    if not total:
        return None
    found = tuple(
        CalibrationBin(
            low=at / len(bins),
            high=(at + 1) / len(bins),
            count=int(count),
            mean_probability=int(probability) / PROBABILITY_UNIT / int(count),
            exact_match=int(exact_match) / int(count),
        )
        for at, (count, probability, exact_match) in enumerate(bins)
        if count
    )
    error = sum(one.count * abs(one.mean_probability - one.exact_match) for one in found) / total
    return Calibration(bins=found, expected_error=error)


def _answerability(parts: Parts) -> Answerability | None:
    """Return how often answers were given and due, None where they always were."""
    found = Answerability(**{name: parts.counts[name] for name in Answerability.__dataclass_fields__})
    if not (found.unanswered_answerable + found.answered_unanswerable + found.unanswered_unanswerable):
        return None
    return found


def _thresholds(gains: NullGains | None, total: float) -> Thresholds | None:
    """Return what thresholds score, as percentages of all questions, those without a prediction with them."""
    if gains is None or not gains.total:
        return None

    def percent(exact_match: int, f1: int) -> tuple[float, float]:
        return 100 * exact_match / total, 100 * f1 / F1_UNIT / total

    (exact_thresh, exact), (f1_thresh, f1) = gains.best(0), gains.best(1)
    return Thresholds(
        best_exact=percent(exact, 0)[0],
        best_exact_thresh=exact_thresh,
        best_f1=percent(0, f1)[1],
        best_f1_thresh=f1_thresh,
        curve=tuple((threshold, *percent(*sums)) for threshold, *sums in gains.curve()),
    )


def _korean(parts: Parts) -> KoreanAnalysis:
    counts = parts.counts
    seen = counts["at_boundaries"]
    return KoreanAnalysis(
        misses=counts["misses"],
        only_particles=counts["only_particles"],
        best_exact_match=100 * counts["exact_at_boundaries"] / seen if seen else None,
    )


def interval_text(value: Interval | None) -> str:
    """Return an interval in words, "" where there is none."""
    return "" if value is None else f" ({value[0]:.2f} to {value[1]:.2f})"
