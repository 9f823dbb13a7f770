"""Scores summed as integers, so that any order, sharding or number of workers gives the same sums to the bit.

Floating-point addition is not associative: F1 summed in another order differs in its last digits. So every F1 is
rounded once, to billionths, and integers are added. The price is an error of at most 5e-8 in a percentage. In 64 bits
there is room for nine billion examples; Python's own integers have no limit.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields

from mrc.errors import RunError
from mrc.examples import Example
from mrc.metrics.scorers import Scorer

F1_UNIT = 1_000_000_000
"""An F1 of 1 in the integers of `Sums`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleScore:
    """How one example was scored: the parts that sums, slices and thresholds are made of."""

    exact_match: int
    """0 or 1."""

    f1: float
    """0 to 1."""

    has_answer: bool
    """Whether the example has a gold answer, as opposed to the gold that there is none."""

    missing: bool
    """Whether nothing was predicted, which scores 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Exact partial sums over examples; `+` merges them, and `Sums()` is the sum of none."""

    total: int = 0
    """Number of examples scored, the missing ones with them."""

    missing: int = 0
    """Number of examples without a prediction."""

    exact_match: int = 0
    """Number of exact matches."""

    f1: int = 0
    """Sum of F1, in units of 1 / F1_UNIT."""

    has_answer_total: int = 0
    """Number of examples that have a gold answer."""

    has_answer_exact_match: int = 0
    """Exact matches among those."""

    has_answer_f1: int = 0
    """Sum of F1 over those, in units of 1 / F1_UNIT."""

    @classmethod
    def of(cls, score: ExampleScore) -> "Sums":
        """Return the sums over one example."""
        f1 = round(score.f1 * F1_UNIT)
        return cls(
            total=1,
            missing=int(score.missing),
            exact_match=score.exact_match,
            f1=f1,
            has_answer_total=int(score.has_answer),
            has_answer_exact_match=score.exact_match if score.has_answer else 0,
            has_answer_f1=f1 if score.has_answer else 0,
        )

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            total=self.total + other.total,
            missing=self.missing + other.missing,
            exact_match=self.exact_match + other.exact_match,
            f1=self.f1 + other.f1,
            has_answer_total=self.has_answer_total + other.has_answer_total,
            has_answer_exact_match=self.has_answer_exact_match + other.has_answer_exact_match,
            has_answer_f1=self.has_answer_f1 + other.has_answer_f1,
        )

    def to_dict(self) -> dict[str, int]:
        """Return the sums as a flat record of integers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, int]) -> "Sums":
        """Return the sums that `to_dict` gave.

        Raises:
            RunError: The record is not one of these sums.
        """
        names = {field.name for field in fields(cls)}
        if set(record) != names or any(type(value) is not int or value < 0 for value in record.values()):
            raise RunError(
                f"metric sums {dict(record)} are not whole numbers under {', '.join(sorted(names))}: "
                "the record is damaged or of another version, so score its predictions again"
            )
        return cls(**record)

    def result(self) -> dict[str, float]:
        """Return percentages and counts: `exact_match` and `f1` in 0 to 100, `total`, `missing` where there are any.

        Where some questions have no answer, `HasAns_` and `NoAns_` with `exact`, `f1` and `total` are as in SQuAD 2.0,
        each group only if it has examples. Over no examples the percentages are 0.
        """
        out = {
            "exact_match": _percent(self.exact_match, self.total),
            "f1": _percent(self.f1, self.total * F1_UNIT),
            "total": self.total,
        }
        no_answer_total = self.total - self.has_answer_total
        if no_answer_total:
            exact_match, f1 = self.exact_match - self.has_answer_exact_match, self.f1 - self.has_answer_f1
            out |= _group("HasAns", self.has_answer_exact_match, self.has_answer_f1, self.has_answer_total)
            out |= _group("NoAns", exact_match, f1, no_answer_total)
        return out | ({"missing": self.missing} if self.missing else {})


def _group(prefix: str, exact_match: int, f1: int, total: int) -> dict[str, float]:
    if not total:
        return {}
    return {
        f"{prefix}_exact": _percent(exact_match, total),
        f"{prefix}_f1": _percent(f1, total * F1_UNIT),
        f"{prefix}_total": total,
    }


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


def score_example(prediction: str | None, example: Example, scorer: Scorer) -> ExampleScore:
    """Score one prediction, which is None where there is none and then scores 0.

    Whether the example has an answer is read off its list of golds before normalisation, as SQuAD 2.0's script does: a
    gold "The" normalises to nothing, so that "" is right, and still counts among the answerable.

    Raises:
        ValueError: The example has no gold at all (`answers` is None).
    """
    if example.answers is None:
        raise ValueError(f"example {example.id!r} has no gold to score against")
    exact_match, f1 = 0, 0.0
    if prediction is not None:
        exact_match, f1 = scorer.score(prediction, [answer.text for answer in example.answers])
    return ExampleScore(exact_match=exact_match, f1=f1, has_answer=bool(example.answers), missing=prediction is None)


def score_predictions(predictions: Mapping[str, str], examples: Iterable[Example], scorer: Scorer) -> Sums:
    """Score predicted texts by id against the examples that have gold; the others (`answers` is None) do not count.

    An example without a prediction scores 0 and is counted, also by `squad_v2`, whose official script skips it and so
    scores a reader higher for leaving hard questions out. Predictions of other ids are not looked at.
    """
    scores = (score_example(predictions.get(e.id), e, scorer) for e in examples if e.answers is not None)
    return sum((Sums.of(score) for score in scores), Sums())
