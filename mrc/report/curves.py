"""Charts of one thing over another, each a function from figures to an `svg` element.

F1 is blue with its interval as a band, exact match orange with diamonds, and what is compared with is a dashed line.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mrc.evaluation.outcome import Calibration, CalibrationBin, PastRun, Thresholds
from mrc.report.drawing import COLOURS, WIDTH, Chart, house_style
from mrc.report.wording import count, day, figure, interval, moment, number_of

_F1, _SOFT, _EM = COLOURS["f1"], COLOURS["f1-soft"], COLOURS["em"]
_MUTED, _BAR, _GROUND = COLOURS["muted"], COLOURS["bar"], COLOURS["ground"]

_SHARES = [0, 0.2, 0.4, 0.6, 0.8, 1]
_STEPS = [1, 2, 2.5, 5, 10]


@house_style()
def history(runs: Sequence[PastRun], run_id: str) -> str:
    """Draw F1 with its interval, and exact match, of runs, oldest first; the one of this id stands out."""
    left, right = 34, 76
    chart = Chart("history", 230)
    axes = chart.axes(left=left, top=12, right=right, bottom=30)
    f1, exact_match = [run.f1 for run in runs], [run.exact_match for run in runs]
    bands = [run.f1_interval or (np.nan, np.nan) for run in runs]
    low, high = np.asarray(bands).T
    axes.fill_between(range(len(runs)), low, high, color=_SOFT, linewidth=0)
    axes.plot(exact_match, color=_EM, linewidth=1.5)
    axes.plot(f1, color=_F1, linewidth=2)
    for place, run in enumerate(runs):
        size = 9 if run.run_id == run_id else 5
        for dot in (_dot(axes, place, run.exact_match, _EM, size), _dot(axes, place, run.f1, _F1, size)):
            chart.tip(dot, f"{run.run_id}, {moment(run.created_at)}: {_in_words(run)}")
    _y_range(axes, [*f1, *exact_match, *(limit for band in bands for limit in band if np.isfinite(limit))])
    edge = 0.03 * (len(runs) - 1)
    axes.set(xlim=(-edge, len(runs) - 1 + edge), xticks=[])
    dates: dict[int, Literal["left", "center", "right"]] = {0: "left", len(runs) - 1: "right"}
    if len(runs) > 4:
        dates[(len(runs) - 1) // 2] = "center"
    for place, align in dates.items():
        x = left + (WIDTH - left - right) * (place + edge) / (len(runs) - 1 + 2 * edge)
        chart.write(x, 216, day(runs[place].created_at), align=align)
    ends = f"F1 {figure(f1[-1], 1)}", f"EM {figure(exact_match[-1], 1)}"
    _name_ends(chart, axes, ends, (f1[-1], exact_match[-1]), x=WIDTH - right + 8)
    return chart.svg(
        "Scores of past runs",
        f"{number_of(len(runs), 'run', 'runs')}. First, {day(runs[0].created_at)}: {_in_words(runs[0])}. "
        f"Last, {day(runs[-1].created_at)}: {_in_words(runs[-1])}.",
    )


@house_style()
def reliability(calibration: Calibration) -> str:
    """Draw the share of exact matches over the probability, against the diagonal, and how many answers there are."""
    left, right = 44, 14
    chart = Chart("calibration", 372)
    axes = chart.axes(left=left, top=28, right=right, bottom=132)
    counts = chart.axes(left=left, top=274, right=right, bottom=48)
    bins = calibration.bins
    axes.plot([0, 1], [0, 1], color=_MUTED, linewidth=1, dashes=(3, 2.5))
    believed, right_share = [one.mean_probability for one in bins], [one.exact_match for one in bins]
    axes.vlines(believed, believed, right_share, color=_BAR, linewidth=5)
    axes.plot(believed, right_share, color=_EM, linewidth=1.5)
    edges, widths = [one.low for one in bins], [one.high - one.low for one in bins]
    bars = counts.bar(edges, [one.count for one in bins], widths, align="edge", color=_BAR, edgecolor=_GROUND)
    for one, bar in zip(bins, bars, strict=True):
        chart.tip(_dot(axes, one.mean_probability, one.exact_match, _EM, 9), _bin_in_words(one))
        chart.tip(bar, _bin_in_words(one))
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=_SHARES, yticks=_SHARES)
    axes.tick_params(labelbottom=False)
    axes.grid(axis="x", visible=True)
    counts.set(xlim=(0, 1), xticks=_SHARES)
    counts.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    counts.yaxis.set_major_formatter(FuncFormatter(lambda number, _: count(number)))
    chart.write(0, 10, "share of exact matches")
    chart.write(0, 258, "answers")
    chart.write(WIDTH - right, 360, "probability of the answer", align="right")
    return chart.svg(
        "Calibration: share of exact matches over the probability of answers",
        " ".join([f"Expected calibration error {figure(calibration.expected_error, 3)}.", *map(_bin_in_words, bins)]),
    )


@house_style()
def threshold_curve(thresholds: Thresholds) -> str:
    """Draw exact match and F1 over the threshold of the null answer, the best of each marked."""
    right = 44
    chart = Chart("thresholds", 260)
    axes = chart.axes(left=34, top=28, right=right, bottom=52)
    # A difference is infinite where a question has no span at all; no axis reaches that.
    curve = np.asarray([point for point in thresholds.curve if np.isfinite(point).all()]).reshape(-1, 3)
    axes.plot(curve[:, 0], curve[:, 1], color=_EM, linewidth=1.5)
    axes.plot(curve[:, 0], curve[:, 2], color=_F1, linewidth=2)
    best = (
        ("exact match", thresholds.best_exact_thresh, thresholds.best_exact, _EM),
        ("F1", thresholds.best_f1_thresh, thresholds.best_f1, _F1),
    )
    for name, place, value, colour in best:
        axes.axvline(place, color=_MUTED, linewidth=1, dashes=(3, 2.5))
        chart.tip(_dot(axes, place, value, colour, 9), f"Best {name}: {figure(value)} at {figure(place)}")
    _y_range(axes, [*curve[:, 1], *curve[:, 2], thresholds.best_exact, thresholds.best_f1])
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=_STEPS))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}".replace("-", "−")))
    chart.write(0, 10, "score")
    chart.write(WIDTH - right, 248, "threshold: null score minus best score", align="right")
    if len(curve):
        _name_ends(chart, axes, ("F1", "EM"), (curve[-1, 2], curve[-1, 1]), x=WIDTH - right + 8)
    return chart.svg(
        "Exact match and F1 over the threshold of the null answer",
        " ".join(f"Best {name}: {figure(value)} at {figure(place)}." for name, place, value, _ in best),
    )


def _in_words(run: PastRun) -> str:
    return f"F1 {figure(run.f1)} ({interval(run.f1_interval)}), exact match {figure(run.exact_match)}"


def _bin_in_words(one: CalibrationBin) -> str:
    return (
        f"Probability {figure(one.low)} to {figure(one.high)}: {number_of(one.count, 'answer', 'answers')}, mean "
        f"probability {figure(one.mean_probability)}, share of exact matches {figure(one.exact_match)}."
    )


def _dot(axes: Axes, x: float, y: float, colour: str, size: float) -> Line2D:
    """Draw a point, a diamond for exact match, with a rim that sets it off from lines below."""
    marker, size = ("D", 0.76 * size) if colour == _EM else ("o", size)
    (dot,) = axes.plot(
        [x], [y], marker, color=colour, markersize=size, markeredgecolor=_GROUND, clip_on=False, zorder=3
    )
    return dot


def _y_range(axes: Axes, values: Sequence[float]) -> None:
    """Show a little more than the values, and ten points at least, lest noise should look like news."""
    low, high = min(values), max(values)
    room = max((high - low) * 0.1, (10 - (high - low)) / 2)
    axes.set_ylim(max(low - room, -1), min(high + room, 101))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=_STEPS))


def _name_ends(chart: Chart, axes: Axes, names: tuple[str, str], values: tuple[float, float], *, x: float) -> None:
    """Write the names of F1 and of exact match where their lines end, apart from each other."""
    f1_y, exact_y = (chart.height - axes.transData.transform((0, value))[1] for value in values)
    apart = max((16 - abs(exact_y - f1_y)) / 2, 0)
    if f1_y > exact_y:
        apart = -apart
    chart.write(x, f1_y - apart, names[0], colour="f1", bold=True)
    chart.write(x, exact_y + apart, names[1], colour="em", bold=True)
