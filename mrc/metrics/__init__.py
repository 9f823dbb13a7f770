"""Exact match and F1 by the rules of each data set's official script, and sums of them that merge exactly.

    normalise.py    what counts as the same text
    scorers.py      one prediction against its golds, by name
    sums.py         partial sums of scores, merged in any order; predictions against examples
    table.py        sums as rows of the table of scores
    threshold.py    where the null answer should win
    calibration.py  how far probabilities can be believed, and the temperature that makes them so
    modules/        each scorer as a module for `evaluate.load(module_path(name))`, offline

Nothing here imports torch or Ray, and only modules/ imports `evaluate`.
"""

import pathlib

from mrc.metrics.calibration import answer_probability, expected_calibration_error, fit_temperature
from mrc.metrics.scorers import SCORERS, Scorer, ScorerChoice, ScorerName, fitting_scorer, get_scorer, is_korean
from mrc.metrics.sums import ExampleScore, Sums, score_example, score_predictions
from mrc.metrics.table import METRICS_SCHEMA, metrics_row
from mrc.metrics.threshold import NullThreshold, centred_threshold, tune_null_threshold

__all__ = [
    "METRICS_SCHEMA",
    "SCORERS",
    "ExampleScore",
    "NullThreshold",
    "Scorer",
    "ScorerChoice",
    "ScorerName",
    "Sums",
    "answer_probability",
    "centred_threshold",
    "expected_calibration_error",
    "fit_temperature",
    "fitting_scorer",
    "get_scorer",
    "is_korean",
    "metrics_row",
    "module_path",
    "score_example",
    "score_predictions",
    "tune_null_threshold",
]


def module_path(name: str) -> str:
    """Return the folder that `evaluate.load` takes for a scorer.

    MLQA's scorers share one, which takes the language as config name: `evaluate.load(module_path("mlqa_de"), "de")`.

    Raises:
        UsageError: There is no such scorer.
    """
    folder = "mlqa" if get_scorer(name).name.startswith("mlqa_") else name
    return str(pathlib.Path(__file__).parent / "modules" / folder)
