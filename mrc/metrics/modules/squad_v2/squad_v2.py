"""SQuAD 2.0 for `evaluate.load`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mrc.metrics import ExampleScore, Sums, get_scorer, score_example, tune_null_threshold
from mrc.metrics.modules import base


class SquadV2(base.ScorerModule):
    """Exact match and F1 of SQuAD 2.0, where "" is right for questions without an answer.

    A prediction may have a `no_answer_probability`, 0 where it has none; one above `no_answer_threshold` counts as "".
    The result has `exact_match` under the official script's name, `exact`, too. Where any prediction has a probability
    it also has `best_exact` and `best_f1`, the best that any threshold gives, and `best_exact_thresh` and
    `best_f1_thresh`, the lowest that do. Those are the official ones but for two rules of `tune_null_threshold`:
    predictions of equal probability are answered together or not at all, so that the threshold gives the score, and
    where it is best to answer nothing, the threshold lies just below all probabilities and is not 0.
    """

    scorer_name = "squad_v2"
    prediction_features = {**base.ScorerModule.prediction_features, "no_answer_probability": "float64"}  # noqa: RUF012

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """Add predictions and references, with or without the probability."""
        completed = [{"no_answer_probability": None, **row} for row in predictions]
        super().add_batch(predictions=completed, references=references, **kwargs)

    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: Any) -> None:
        """Add one prediction and reference, with or without the probability."""
        completed = {"no_answer_probability": None, **prediction}
        super().add(prediction=completed, reference=reference, **kwargs)

    def _compute(
        self,
        predictions: Sequence[Mapping[str, Any]],
        references: Sequence[Mapping[str, Any]],
        no_answer_threshold: float = 1.0,
    ) -> dict[str, float]:
        texts, scorer = base.texts_by_id(predictions), get_scorer(self.scorer_name)
        given = {row["id"]: row["no_answer_probability"] for row in predictions}
        examples = list(base.examples_of(references))
        # A prediction that is missing is not answered at any threshold.
        probabilities = [given.get(example.id, math.inf) or 0.0 for example in examples]
        answered = [score_example(texts.get(example.id), example, scorer) for example in examples]
        nulls = [_null(score) for score in answered]
        chosen = [
            null if probability > no_answer_threshold else score
            for score, null, probability in zip(answered, nulls, probabilities, strict=True)
        ]
        result = sum(map(Sums.of, chosen), Sums()).result()
        result = {"exact": result["exact_match"], **result}
        if all(probability is None for probability in given.values()):
            return result
        counted = [
            # Officially any text is wrong here, even one that normalises to nothing.
            replace(score, exact_match=0, f1=0.0) if texts.get(example.id) and not score.has_answer else score
            for example, score in zip(examples, answered, strict=True)
        ]
        return result | _best(probabilities, counted, nulls)


def _null(score: ExampleScore) -> ExampleScore:
    """Return what an example scores if it is not answered: nothing, too, if its prediction is missing."""
    right = int(not score.has_answer and not score.missing)
    return replace(score, exact_match=right, f1=float(right))


def _best(
    probabilities: Sequence[float], answered: Sequence[ExampleScore], nulls: Sequence[ExampleScore]
) -> dict[str, float]:
    """Return what the script's `find_all_best_thresh` does."""
    best: dict[str, float] = {}
    for name, field in (("exact", "exact_match"), ("f1", "f1")):
        scores, null_scores = ([getattr(score, field) for score in side] for side in (answered, nulls))
        found = tune_null_threshold(probabilities, scores, null_scores)
        best |= {f"best_{name}": found.score, f"best_{name}_thresh": found.threshold}
    return best
