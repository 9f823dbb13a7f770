"""SQuAD 2.0 for `evaluate.load`."""

from collections.abc import Mapping, Sequence
from typing import Any

from mrc.metrics.modules import base


class SquadV2(base.ScorerModule):
    """Exact match and F1 of SQuAD 2.0, where "" is right for questions without an answer.

    A prediction may have a `no_answer_probability`, 0 where it has none; one above `no_answer_threshold` counts as "".
    The result has `exact_match` under the official script's name, `exact`, too.
    """

    scorer_name = "squad_v2"
    prediction_features = {**base.ScorerModule.prediction_features, "no_answer_probability": "float32"}  # noqa: RUF012

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """Add predictions and references, with or without the probability."""
        completed = [{"no_answer_probability": 0.0, **row} for row in predictions]
        super().add_batch(predictions=completed, references=references, **kwargs)

    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: Any) -> None:
        """Add one prediction and reference, with or without the probability."""
        completed = {"no_answer_probability": 0.0, **prediction}
        super().add(prediction=completed, reference=reference, **kwargs)

    def _compute(
        self,
        predictions: Sequence[Mapping[str, Any]],
        references: Sequence[Mapping[str, Any]],
        no_answer_threshold: float = 1.0,
    ) -> dict[str, float]:
        answered = [
            {**row, "prediction_text": ""} if row["no_answer_probability"] > no_answer_threshold else row
            for row in predictions
        ]
        result = self.sums(answered, references).result()
        return {"exact": result["exact_match"], **result}
