"""A run against its baseline: what changed by how much, and whether that is a reason to wake somebody."""

from collections.abc import Sequence

from mrc.errors import GateError
from mrc.evaluation.outcome import OVERALL, Comparison, Evaluation, QuestionView, SliceChange
from mrc.evaluation.parts import Ints, Parts, Slice
from mrc.metrics.bootstrap import interval
from mrc.metrics.sums import F1_UNIT


def compare(
    baseline: str, parts: Parts, order: Sequence[Slice], won: Sequence[QuestionView], lost: Sequence[QuestionView]
) -> Comparison:
    """Return the comparison that the parts of a run hold.

    Args:
        baseline: Its run id.
        parts: All of the run's.
        order: The slices as they are shown, overall first.
        won: The questions that gained most.
        lost: Those that lost most.
    """
    changes = [_change(one, parts.changes[one]) for one in order if one in parts.changes]
    return Comparison(
        baseline=baseline,
        only_here=parts.counts["only_here"],
        only_there=parts.counts["only_there"],
        changes=tuple(change for change in changes if change.total),
        won=parts.counts["won"],
        lost=parts.counts["lost"],
        won_examples=tuple(won),
        lost_examples=tuple(lost),
    )


def _change(named: Slice, sums: Ints) -> SliceChange:
    total, exact_match, f1 = sums
    return SliceChange(
        slice_by=named[0],
        slice=named[1],
        total=int(total[0]),
        exact_match=100 * int(exact_match[0]) / max(1, int(total[0])),
        exact_match_interval=interval(exact_match[1:], total[1:], 100),
        f1=100 * int(f1[0]) / F1_UNIT / max(1, int(total[0])),
        f1_interval=interval(f1[1:], total[1:], 100 / F1_UNIT),
    )


def check_gate(evaluation: Evaluation, metric: str, fail_if_drop: float | None) -> None:
    """Hold a run against its baseline.

    Args:
        evaluation: With a comparison, or without one where there was no run to compare with.
        metric: "f1" or "exact_match".
        fail_if_drop: Percentage points; None for no gate.

    Raises:
        GateError: The metric is lower by more than that, and the interval of the difference is below 0.
    """
    comparison = evaluation.comparison
    if fail_if_drop is None or comparison is None:
        return
    change = next((one for one in comparison.changes if one.slice_by == OVERALL), None)
    if change is None:
        raise GateError(f"--baseline {comparison.baseline} has none of the questions of run {evaluation.run_id}")
    difference, between = getattr(change, metric), getattr(change, f"{metric}_interval")
    if between is not None and between[1] < 0 and -difference > fail_if_drop:
        raise GateError(
            f"{metric} fell by {-difference:.2f} points against {comparison.baseline} (95 % interval {between[0]:.2f} "
            f"to {between[1]:.2f}, {change.total:,} questions), more than --fail_if_drop {fail_if_drop:g}"
        )
