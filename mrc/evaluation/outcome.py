"""What an evaluation found, as plain data: it is written as manifest.json, and the report is drawn from it.

Percentages are 0 to 100 and probabilities 0 to 1. An interval is (low, high), a 95 % bootstrap interval over contexts;
None where the slice has too few contexts for one.
"""

from dataclasses import dataclass
from typing import Any

Interval = tuple[float, float]

OVERALL = "overall"


@dataclass(frozen=True, kw_only=True)
class SliceScore:
    """The scores of one slice of the questions; ("overall", "") is all of them."""

    slice_by: str
    slice: str
    figures: dict[str, float]
    """What `mrc.metrics.Sums.result` gives: exact_match, f1, total, HasAns_*, NoAns_*, missing."""
    exact_match_interval: Interval | None
    f1_interval: Interval | None


@dataclass(frozen=True, kw_only=True)
class PastRun:
    """The overall scores of a run in the table, this one among them; oldest first."""

    run_id: str
    created_at: str
    exact_match: float
    f1: float
    f1_interval: Interval | None


@dataclass(frozen=True, kw_only=True)
class CalibrationBin:
    """Answers whose probability is in (low, high]."""

    low: float
    high: float
    count: int
    mean_probability: float
    exact_match: float
    """Share of exact matches, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How far probabilities can be believed."""

    bins: tuple[CalibrationBin, ...]
    """Those with answers in them, ascending."""
    expected_error: float
    """Expected calibration error, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Answerability:
    """Which questions were answered, of those that have an answer and of those that have none."""

    answered_answerable: int
    unanswered_answerable: int
    answered_unanswerable: int
    unanswered_unanswerable: int


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What other thresholds of the null answer would score: "" where null score minus best score is greater."""

    best_exact: float
    best_exact_thresh: float
    best_f1: float
    best_f1_thresh: float
    curve: tuple[tuple[float, float, float], ...]
    """(threshold, exact match, F1), ascending, at most some hundred points."""


@dataclass(frozen=True, kw_only=True)
class KoreanAnalysis:
    """Misses of Korean answers that are no misunderstanding."""

    misses: int
    """Answered questions without an exact match."""
    only_particles: int
    """Those of them where answer and gold differ by particles at the end alone."""
    best_exact_match: float | None
    """Exact match if every answer were cut at the tokenizer's nearest boundaries around the gold one; None without a
    tokenizer."""


@dataclass(frozen=True, kw_only=True)
class QuestionView:
    """A question to look at, with its passage. Spans are half-open characters of `passage`."""

    id: str
    question: str
    golds: tuple[str, ...]
    answer: str | None
    """None where nothing was predicted."""
    exact_match: int
    f1: float
    """0 to 1."""
    probability: float | None
    passage: str
    """"" where the references have no contexts."""
    gold_spans: tuple[tuple[int, int], ...]
    answer_span: tuple[int, int] | None
    baseline_answer: str | None = None
    """Of a comparison."""
    baseline_f1: float | None = None


@dataclass(frozen=True, kw_only=True)
class SliceChange:
    """How a slice's scores differ from the baseline's on the same questions, in percentage points, new minus old."""

    slice_by: str
    slice: str
    total: int
    """Questions that both runs have."""
    exact_match: float
    exact_match_interval: Interval | None
    f1: float
    f1_interval: Interval | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """This run against a baseline, on the questions that both have."""

    baseline: str
    """Its run id."""
    only_here: int
    """Questions that the baseline did not have."""
    only_there: int
    """Questions of the baseline that this run does not have."""
    changes: tuple[SliceChange, ...]
    """Overall first."""
    won: int
    """Questions whose F1 is higher than in the baseline."""
    lost: int
    won_examples: tuple[QuestionView, ...]
    lost_examples: tuple[QuestionView, ...]


@dataclass(frozen=True, kw_only=True)
class Mismatches:
    """Ids that do not pair up, and rows that could not be read."""

    missing: int
    """References without a prediction."""
    extra: int
    """Predictions without a reference."""
    duplicate_references: int
    """Reference rows whose id an earlier one has."""
    duplicate_predictions: int
    bad_references: int
    """Rows without an id or gold."""
    bad_predictions: int

    @property
    def total(self) -> int:
        """All of them."""
        return (
            self.missing + self.extra + self.duplicate_references + self.duplicate_predictions
            + self.bad_references + self.bad_predictions
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All that one run of an evaluation found."""

    run_id: str
    created_at: str
    """ISO 8601, UTC."""
    scorer: str
    predictions: str
    """What was scored, as the user named it."""
    references: str
    model_fingerprint: str | None
    data_fingerprint: str
    seconds: float
    slices: tuple[SliceScore, ...]
    """Overall first, then by dimension; see mrc.evaluation.slices."""
    mismatches: Mismatches
    history: tuple[PastRun, ...]
    calibration: Calibration | None
    """None where predictions have no probabilities."""
    answerability: Answerability | None
    """None where every question has an answer and was answered."""
    thresholds: Thresholds | None
    """None where predictions have no null scores, or `answerability` is None."""
    korean: KoreanAnalysis | None
    """None where questions are not mostly Korean."""
    worst: tuple[QuestionView, ...]
    """Answers that are wrong, those that the reader was surest of first."""
    comparison: Comparison | None
    config: dict[str, Any]

    @property
    def overall(self) -> SliceScore:
        """The scores of all questions."""
        return self.slices[0]
