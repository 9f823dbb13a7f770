"""Charts with a row for each slice or case, each a function from figures to an `svg` element.

F1 is blue with its interval as a whisker, exact match orange with diamonds, what is compared with is a dashed line, and
better and worse are green and red, which nothing else is. Labels, rows and columns stand in the same places in every
chart, so that one can be read against the next.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mrc.evaluation.outcome import Interval, SliceChange, SliceScore
from mrc.report.drawing import COLOURS, WIDTH, Chart, fit, house_style
from mrc.report.wording import count, excludes_zero, figure, interval, number_of, signed, title

_ROW = 24
"""Height of a row."""

_TOP, _BOTTOM = 30, 24
"""Room for the heads of the columns, and for the ticks."""

_LEFT, _RIGHT = 150, 124
"""Room for the labels, and for the two columns of numbers, also where a phone shows texts larger than their chart."""

_LABEL = 20
"""Letters of a label."""

_F1_COLUMN = WIDTH - 74
"""Right edge of the first column of numbers; the second ends with the chart."""

_F1, _SOFT, _EM = COLOURS["f1"], COLOURS["f1-soft"], COLOURS["em"]
_MUTED, _BAR, _GROUND = COLOURS["muted"], COLOURS["bar"], COLOURS["ground"]


@house_style()
def slice_bars(name: str, scores: Sequence[SliceScore], overall: SliceScore) -> str:
    """Draw a bar of F1 with interval, and a diamond of exact match, for each slice of a dimension."""
    chart = Chart(name, _TOP + _BOTTOM + _ROW * len(scores))
    axes = _rows(chart, len(scores), bottom=_BOTTOM)
    _percent_axis(axes)
    mean = overall.figures["f1"]
    is_high = mean > 50
    f1 = [score.figures["f1"] for score in scores]
    exact_match = [score.figures["exact_match"] for score in scores]
    bars = axes.barh(range(len(scores)), f1, height=0.56, color=_SOFT)
    axes.axvline(mean, color=_MUTED, linewidth=1, dashes=(3, 2.5))
    for values, colour, marker in ((f1, _F1, "o"), (exact_match, _EM, "D")):
        axes.scatter(
            values,
            range(len(scores)),
            s=34,
            color=colour,
            marker=marker,
            edgecolors=_GROUND,
            linewidths=0.8,
            clip_on=False,
            zorder=3,
        )
    place = _LEFT + (WIDTH - _RIGHT - _LEFT) * mean / 100
    chart.write(place + (3 if is_high else -3), 12, f"all {figure(mean, 1)}", align="right" if is_high else "left")
    _heads(chart)
    for row, (score, bar) in enumerate(zip(scores, bars, strict=True)):
        _whisker(axes, row, score.f1_interval, _F1)
        chart.tip(bar, f"{score.slice}: {_in_words(score)}")
        _row(chart, row, score.slice, figure(score.figures["f1"], 1), score.figures["total"], colour="ink", bold=True)
    lowest, highest = (pick(scores, key=lambda score: score.figures["f1"]) for pick in (min, max))
    return chart.svg(
        f"F1 and exact match by {title(scores[0].slice_by)}",
        f"{number_of(len(scores), 'slice', 'slices')}; of all questions F1 is {figure(mean)}. "
        f"Lowest is {lowest.slice}: {_in_words(lowest)}. Highest is {highest.slice}: {_in_words(highest)}.",
    )


@house_style()
def exact_match_bars(rows: Sequence[tuple[str, float]]) -> str:
    """Draw a bar of exact match for each of some cases, the first of which is what was reached."""
    chart = Chart("korean", 30 * len(rows) + _BOTTOM)
    axes = chart.axes(left=216, top=0, right=58, bottom=_BOTTOM)
    axes.set(ylim=(len(rows) - 0.5, -0.5), yticks=[])
    axes.grid(axis="x", visible=True)
    _percent_axis(axes)
    axes.barh(range(len(rows)), [value for _, value in rows], height=0.5, color=[_EM, *[_BAR] * (len(rows) - 1)])
    axes.axvline(rows[0][1], color=_MUTED, linewidth=1, dashes=(3, 2.5))
    for row, (label, value) in enumerate(rows):
        chart.write(0, 30 * (row + 0.5), label, colour="ink")
        chart.write(WIDTH, 30 * (row + 0.5), figure(value), align="right", colour="ink", bold=True)
    numbers = "; ".join(f"{label}: {figure(value)}" for label, value in rows)
    return chart.svg("Exact match, reached and possible", f"{numbers}.")


@house_style()
def changes(groups: Sequence[tuple[str, Sequence[SliceChange]]]) -> str:
    """Draw the difference in F1 of each slice with its interval against zero, under the name of its dimension.

    Args:
        groups: Dimension and its slices; the one named "" is all questions.
    """
    rows: list[tuple[str, SliceChange | None]] = []
    for name, group in groups:
        rows += [(title(name), None)] * bool(name)
        rows += [(change.slice if name else "All questions", change) for change in group]
    drawn = [change for _, change in rows if change]
    bottom = 44
    chart = Chart("changes", _TOP + bottom + _ROW * len(rows))
    axes = _rows(chart, len(rows), bottom=bottom)
    # A point at least, lest noise should look like news.
    reach = max(1.0, *(abs(edge) for change in drawn for edge in (change.f1, *(change.f1_interval or ()))))
    axes.set_xlim(-1.08 * reach, 1.08 * reach)
    axes.xaxis.set_major_locator(MaxNLocator(5, symmetric=True, steps=[1, 2, 4, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:+g}".replace("-", "−") if number else "0"))
    axes.axvline(0, color=_MUTED, linewidth=1)
    _heads(chart)
    for row, (label, change) in enumerate(rows):
        if change is None:
            chart.write(0, _TOP + (row + 0.5) * _ROW, fit(label, 2 * _LABEL), bold=True)
        else:
            _change(chart, axes, row, label, change)
    middle = _LEFT + (WIDTH - _LEFT - _RIGHT) / 2
    chart.write(middle, chart.height - 10, "← worse    better →", align="center")
    better, worse = (
        sum(excludes_zero(change.f1_interval) and sign * change.f1 > 0 for change in drawn) for sign in (1, -1)
    )
    return chart.svg(
        "Differences in F1 from the baseline",
        f"Of {number_of(len(drawn), 'row', 'rows')}, {better} clearly better and {worse} clearly worse.",
    )


def _change(chart: Chart, axes: Axes, row: int, label: str, change: SliceChange) -> None:
    """Draw one row of the differences: in colour if chance does not explain it, hollow if nobody can tell."""
    moved = excludes_zero(change.f1_interval)
    name = ("good" if change.f1 > 0 else "bad") if moved else "muted"
    colour = COLOURS[name]
    fill, edge = (_GROUND, colour) if change.f1_interval is None else (colour, _GROUND)
    _whisker(axes, row, change.f1_interval, colour, width=2 if moved else 1.2)
    dot = axes.scatter([change.f1], [row], s=46 if moved else 30, color=fill, edgecolors=edge, linewidths=1, zorder=3)
    chart.tip(
        dot,
        f"{label}: F1 {signed(change.f1)} ({interval(change.f1_interval, sign=True)}), "
        f"exact match {signed(change.exact_match)}, {number_of(change.total, 'question', 'questions')}",
    )
    _row(chart, row, label, signed(change.f1), change.total, colour=name if moved else "ink", bold=moved)


def _row(chart: Chart, row: int, label: str, number: str, total: float, *, colour: str, bold: bool) -> None:
    """Write a row's label, its number and how many questions it has."""
    y = _TOP + (row + 0.5) * _ROW
    chart.write(0, y, fit(label, _LABEL) or "(empty)", colour="ink")
    chart.write(_F1_COLUMN, y, number, align="right", colour=colour, bold=bold)
    chart.write(WIDTH, y, count(total), align="right")


def _heads(chart: Chart) -> None:
    chart.write(_F1_COLUMN, 12, "F1", align="right")
    chart.write(WIDTH, 12, "questions", align="right")


def _in_words(score: SliceScore) -> str:
    figures = score.figures
    return (
        f"F1 {figure(figures['f1'])} ({interval(score.f1_interval)}), exact match {figure(figures['exact_match'])}, "
        f"{number_of(round(figures['total']), 'question', 'questions')}"
    )


def _rows(chart: Chart, number: int, *, bottom: float) -> Axes:
    """Add axes with a row for each slice, the first on top."""
    axes = chart.axes(left=_LEFT, top=_TOP, right=_RIGHT, bottom=bottom)
    axes.set(ylim=(number - 0.5, -0.5), yticks=[])
    axes.grid(axis="x", visible=True)
    return axes


def _percent_axis(axes: Axes) -> None:
    axes.set(xlim=(0, 100), xticks=[0, 25, 50, 75, 100])


def _whisker(axes: Axes, row: int, limits: Interval | None, colour: str, width: float = 1.4) -> None:
    if limits is not None:
        axes.hlines(row, *limits, color=colour, linewidth=width, zorder=2)
        axes.vlines(limits, row - 0.15, row + 0.15, color=colour, linewidth=width, zorder=2)
