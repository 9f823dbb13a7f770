"""Examples and predictions -> the pipeline's results, lazily: one batch of questions is held at a time."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypedDict

from mrc.examples import Example, Prediction
from mrc.pipeline.options import BATCH_SIZE, Options, pipeline_errors
from mrc.pipeline.questions import Questions


class AnswerDict(TypedDict):
    """An answer as the pipeline gave it: `context[start:end] == answer`, in characters; the null answer is "", 0, 0."""

    score: float
    start: int
    end: int
    answer: str


def respond(
    questions: Questions,
    options: Options,
    answer: Callable[[Sequence[Example]], list[Prediction]],
    *,
    null_competes: bool,
) -> Any:
    """Answer what a call asks.

    Args:
        questions: What it asks.
        options: Of the call; `answer` knows the settings among them already.
        answer: Examples to predictions, in order.
        null_competes: Whether "no answer" was a candidate.

    Returns:
        For one question its result, for a list a list, for an iterator a generator. A result is an AnswerDict, or a
        list of them, best first, where `top_k` is over 1.

    Raises:
        ValueError: An example cannot be read, such as one with too long a question.
    """
    results = _results(questions.examples, options, answer, null_competes)
    if questions.form == "stream":
        return results
    return next(results) if questions.form == "one" else list(results)


def _results(
    examples: Iterator[Example],
    options: Options,
    answer: Callable[[Sequence[Example]], list[Prediction]],
    null_competes: bool,
) -> Iterator[AnswerDict | list[AnswerDict]]:
    while batch := list(itertools.islice(examples, options.batch_size or BATCH_SIZE)):
        with pipeline_errors():
            predictions = answer(batch)
        for prediction in predictions:
            answers = rank(prediction, null_competes=null_competes)
            yield answers[0] if options.num_answers == 1 else answers[: options.num_answers]


def rank(prediction: Prediction, *, null_competes: bool) -> list[AnswerDict]:
    """Return the answers to a question, at least one: first what was answered, then by falling score.

    The first is the reader's decision, so `null_score_diff_threshold` may put it over one of a higher score.
    """
    spans = [
        AnswerDict(score=span.probability, start=span.start, end=span.end, answer=span.text)
        for span in prediction.n_best
    ]
    null = AnswerDict(score=_null_probability(prediction), start=0, end=0, answer="")
    if not prediction.has_answer:
        return [null, *spans]
    rest = [*spans[1:], null] if null_competes else spans[1:]
    return [spans[0], *sorted(rest, key=lambda answer: -answer["score"])]


def _null_probability(prediction: Prediction) -> float:
    """Return the null answer's share of the softmax in which it competes: what the spans leave."""
    if not prediction.has_answer:
        return prediction.probability
    return max(0.0, 1.0 - math.fsum(span.probability for span in prediction.n_best))
