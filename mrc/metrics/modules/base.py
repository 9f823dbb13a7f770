"""What the modules share: SQuAD's inputs for Hugging Face `evaluate`, scored by `mrc.metrics`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import datasets
import evaluate

from mrc.errors import UsageError
from mrc.examples import Answer, Example
from mrc.metrics import Sums, get_scorer, score_predictions

_INPUTS = """
Args:
    predictions: One `{"id": ..., "prediction_text": ...}` for each question.
    references: One `{"id": ..., "answers": {"text": [...], "answer_start": [...]}}` for each question.
Returns:
    exact_match, f1: Best over the golds, mean over the questions, in 0 to 100.
    total: Number of questions. `missing`: how many of them had no prediction of their id, which scores 0.
"""


class ScorerModule(evaluate.Metric):  # type: ignore[misc]
    """A scorer that takes SQuAD's predictions and references."""

    scorer_name: str
    prediction_features: ClassVar[Mapping[str, str]] = {"id": "string", "prediction_text": "string"}

    def _info(self) -> evaluate.MetricInfo:
        gold = {"text": datasets.Value("string"), "answer_start": datasets.Value("int32")}
        features = {
            "predictions": {name: datasets.Value(dtype) for name, dtype in self.prediction_features.items()},
            "references": {"id": datasets.Value("string"), "answers": datasets.Sequence(gold)},
        }
        return evaluate.MetricInfo(
            description=self.__doc__, citation="", inputs_description=_INPUTS, features=datasets.Features(features)
        )

    def _compute(
        self, predictions: Sequence[Mapping[str, Any]], references: Sequence[Mapping[str, Any]]
    ) -> dict[str, float]:
        return self.sums(predictions, references).result()

    def sums(self, predictions: Sequence[Mapping[str, Any]], references: Sequence[Mapping[str, Any]]) -> Sums:
        """Score predictions against references, joined by id."""
        return score_predictions(texts_by_id(predictions), examples_of(references), get_scorer(self.scorer_name))


def texts_by_id(predictions: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return predicted texts by id.

    Raises:
        UsageError: Two predictions have the same id.
    """
    texts = {row["id"]: row["prediction_text"] for row in predictions}
    if len(texts) < len(predictions):
        raise UsageError(f"{len(predictions)} predictions have only {len(texts)} ids between them: make each id unique")
    return texts


def examples_of(references: Sequence[Mapping[str, Any]]) -> Iterator[Example]:
    """Yield references as examples without question and context, which scoring does not read."""
    for row in references:
        golds = zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
        answers = tuple(Answer(text=text, start=start) for text, start in golds)
        yield Example(id=row["id"], question="", context="", answers=answers)
