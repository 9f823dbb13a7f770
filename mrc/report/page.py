"""What the page is filled with: every figure, chart and passage in the order in which the template puts them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import jinja2
import yaml
from markupsafe import Markup

from mrc.evaluation.outcome import Calibration, Comparison, Evaluation, QuestionView, SliceChange, SliceScore
from mrc.report import bars, curves, wording
from mrc.report.passages import Piece, excerpt

MOST_RUNS = 60
"""Past runs that are shown, the latest."""

MOST_BARS = 30
"""Slices of a dimension, and of the comparison, that are drawn; those with the most questions."""

MOST_ROWS = 500
"""Slices of a dimension that the table has."""

OPEN_QUESTIONS = 8
"""Questions of a list that are seen at once; the rest open on a click."""

T = TypeVar("T", SliceScore, SliceChange)

_FILTERS = {
    "count": wording.count,
    "figure": wording.figure,
    "signed": wording.signed,
    "interval": wording.interval,
    "moment": wording.moment,
    "duration": wording.duration,
    "language": wording.language,
    "titled": wording.title,
}


def render(evaluation: Evaluation) -> str:
    """Return the report of an evaluation: one HTML page, the same to the byte for the same evaluation."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mrc.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= _FILTERS
    page = environment.get_template("report.html.j2").render(context(evaluation))
    # JSON may hold halves of surrogate pairs, which no file can.
    return page.encode("utf-8", "replace").decode("utf-8")


def context(evaluation: Evaluation) -> dict[str, Any]:
    """Return the template's variables; a section whose variable is None is left out."""
    comparison = evaluation.comparison
    return {
        "run": evaluation,
        "overall": evaluation.overall,
        "warnings": wording.warnings(evaluation.mismatches),
        "history": history(evaluation),
        "dimensions": dimensions(evaluation.slices),
        "calibration": evaluation.calibration and calibration(evaluation.calibration),
        "answerability": evaluation.answerability and answerability(evaluation),
        "thresholds": evaluation.thresholds and Markup(curves.threshold_curve(evaluation.thresholds)),
        "korean": evaluation.korean and korean(evaluation),
        "comparison": comparison and compared(comparison),
        "worst": questions(evaluation.worst),
        "shown": OPEN_QUESTIONS,
        "config": yaml.safe_dump(evaluation.config, sort_keys=False, allow_unicode=True).rstrip(),
    }


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question to look at, and its passage in pieces."""

    view: QuestionView
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """The slices of one dimension."""

    name: str
    drawn: int
    """Slices in the chart."""
    total: int
    rows: tuple[SliceScore, ...]
    """Those in the table."""
    chart: Markup


def questions(views: Iterable[QuestionView]) -> list[Question]:
    """Return questions with their passages cut and marked."""
    return [Question(view=view, pieces=excerpt(view.passage, view.gold_spans, view.answer_span)) for view in views]


def history(evaluation: Evaluation) -> dict[str, Any] | None:
    """Return the past runs, latest first, and their chart; None where this run is the first."""
    runs = evaluation.history[-MOST_RUNS:]
    if len(runs) < 2:
        return None
    return {
        "chart": Markup(curves.history(runs, evaluation.run_id)),
        "runs": runs[::-1],
        "total": len(evaluation.history),
    }


def dimensions(slices: Sequence[SliceScore]) -> list[Dimension]:
    """Return the dimensions in their order, each with its slices in theirs."""
    out = []
    for number, (name, scores) in enumerate(by_dimension(slices[1:])):
        drawn = largest(scores, MOST_BARS)
        chart = Markup(bars.slice_bars(f"slices-{number}", drawn, slices[0]))
        rows = tuple(largest(scores, MOST_ROWS))
        out.append(Dimension(name=name, drawn=len(drawn), total=len(scores), rows=rows, chart=chart))
    return out


def by_dimension(slices: Iterable[T]) -> list[tuple[str, list[T]]]:
    """Return slices by dimension, both in the order in which they come."""
    groups: dict[str, list[T]] = {}
    for one in slices:
        groups.setdefault(one.slice_by, []).append(one)
    return list(groups.items())


def largest(scores: Sequence[SliceScore], most: int) -> list[SliceScore]:
    """Return the slices with the most questions, in the order in which they stand."""
    by_size = sorted(range(len(scores)), key=lambda place: (-scores[place].figures["total"], place))
    return [scores[place] for place in sorted(by_size[:most])]


def calibration(found: Calibration) -> dict[str, Any]:
    """Return the chart, and how far answers are surer than they are right on the whole."""
    total = sum(one.count for one in found.bins) or 1
    return {
        "chart": Markup(curves.reliability(found)),
        "probability": sum(one.count * one.mean_probability for one in found.bins) / total,
        "exact_match": sum(one.count * one.exact_match for one in found.bins) / total,
    }


def answerability(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return the rows of the confusion table."""
    found, figures = evaluation.answerability, evaluation.overall.figures
    assert found is not None
    rows = (
        ("an answer", "HasAns", found.answered_answerable, found.unanswered_answerable),
        ("no answer", "NoAns", found.answered_unanswerable, found.unanswered_unanswerable),
    )
    return [
        {
            "gold": gold,
            "answered": answered,
            "unanswered": unanswered,
            "shares": [wording.share(part, answered + unanswered) for part in (answered, unanswered)],
            "exact_match": figures.get(f"{prefix}_exact"),
            "f1": figures.get(f"{prefix}_f1"),
        }
        for gold, prefix, answered, unanswered in rows
    ]


def korean(evaluation: Evaluation) -> dict[str, Any]:
    """Return the share of misses that are only particles, and exact match as it is and as it might be."""
    found, figures = evaluation.korean, evaluation.overall.figures
    assert found is not None
    reached, total = figures["exact_match"], figures["total"]
    rows = [("Reached", reached)]
    if found.only_particles:
        rows.append(("Were particles forgiven", reached + 100 * found.only_particles / max(total, 1)))
    if found.best_exact_match is not None:
        rows.append(("The most the tokenizer allows", found.best_exact_match))
    return {
        "share": wording.share(found.only_particles, found.misses),
        "chart": Markup(bars.exact_match_bars(rows)) if len(rows) > 1 else None,
    }


def compared(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison's verdict, chart and examples."""
    changes = comparison.changes
    drawn = moved_first(changes[1:], MOST_BARS)
    return {
        "overall": changes[0] if changes else None,
        "verdict": wording.verdict(changes[0]) if changes else None,
        "chart": Markup(bars.changes([("", changes[:1]), *by_dimension(drawn)])) if changes else None,
        "drawn": len(drawn),
        "total": len(changes) - 1,
        "groups": by_dimension(moved_first(changes, MOST_ROWS)),
        "won": questions(comparison.won_examples),
        "lost": questions(comparison.lost_examples),
    }


def moved_first(changes: Sequence[SliceChange], most: int) -> list[SliceChange]:
    """Return the slices whose interval excludes 0, then those with the most questions, in the order they stand in."""

    def rank(place: int) -> tuple[bool, int]:
        return not wording.excludes_zero(changes[place].f1_interval), -changes[place].total

    return [changes[place] for place in sorted(sorted(range(len(changes)), key=rank)[:most])]
