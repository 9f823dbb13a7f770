"""The spans of all examples, as columns -> objects, where those are wanted."""

from collections.abc import Sequence

from mrc.examples import Example, Prediction, Span
from mrc.spans.merge import ExampleSpans


def make_predictions(examples: Sequence[Example], merged: ExampleSpans) -> list[Prediction]:
    """Return the prediction of each example, in order.

    Where nothing is answered, `score` is the null score and `probability` the null answer's: 0 outside SQuAD 2.0 mode,
    where null is no candidate.

    Args:
        examples: Those that `merged` numbers, in that order.
        merged: One row for each of them.
    """
    positions = zip(merged.start.tolist(), merged.end.tolist(), strict=True)
    spans = list(zip(positions, merged.score.tolist(), merged.probability.tolist(), strict=True))
    splits = merged.row_splits.tolist()
    n_best = (
        tuple(
            Span(text=example.context[start:end], start=start, end=end, score=score, probability=probability)
            for (start, end), score, probability in spans[first:last]
        )
        for example, first, last in zip(examples, splits[:-1], splits[1:], strict=True)
    )
    nulls = zip(merged.null_score.tolist(), merged.null_probability.tolist(), strict=True)
    decisions = zip(merged.has_answer.tolist(), merged.num_windows.tolist(), strict=True)
    return [
        _prediction(example.id, candidates, null, has_answer=has_answer, num_windows=num_windows)
        for example, candidates, null, (has_answer, num_windows) in zip(examples, n_best, nulls, decisions, strict=True)
    ]


def _prediction(
    example_id: str, n_best: tuple[Span, ...], null: tuple[float, float], *, has_answer: bool, num_windows: int
) -> Prediction:
    """Return the prediction of one example; `null` is the score and the probability of the null answer."""
    answer = n_best[0] if has_answer else Span(text="", start=-1, end=-1, score=null[0], probability=null[1])
    return Prediction(
        id=example_id,
        answer=answer.text,
        start=answer.start,
        end=answer.end,
        score=answer.score,
        probability=answer.probability,
        null_score=null[0],
        has_answer=has_answer,
        n_best=n_best,
        num_windows=num_windows,
    )
