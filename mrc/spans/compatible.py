"""Answers as Hugging Face's run_qa finds them, for people who must reproduce old numbers.

The rules are those of `postprocess_qa_predictions` (transformers, examples/pytorch/question-answering/utils_qa.py), to
the character of every answer, its quirks included. `window_spans` and `merge_windows` have none of these:

- Spans are made of the `n_best_size` best starts and ends of all tokens, padding and question among them, and only then
  filtered, so the best legal span can be lost. Ties fall as `numpy.argsort` leaves them.
- The null score is read at the first position of the row, whatever token stands there.
- A span that two windows find is listed twice, and takes two shares of probability.
- Where nothing is found the answer is the literal text "empty".
- Spans are not trimmed, and one without text can win outside SQuAD 2.0 mode.

Two differences: logits are cast to float32 first, and where every candidate is without text in SQuAD 2.0 mode the
answer is "", which the original meets with an IndexError. All windows' logits have to be on the host, and examples are
handled one by one: this is slower than `window_spans` and needs far more memory.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mrc.examples import Example, Prediction, Span
from mrc.spans.merge import SpanConfig

Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.integer]


class _Candidates(NamedTuple):
    """Possible answers of one example, shape (n,) each but `offsets`, which is (n, 2)."""

    offsets: Offsets
    start_logit: Floats
    end_logit: Floats
    is_null: npt.NDArray[np.bool_]

    @property
    def score(self) -> Floats:
        return self.start_logit + self.end_logit

    def best(self, count: int) -> "_Candidates":
        """Return the highest-scoring ones; of equal ones those that come first."""
        order = np.argsort(-self.score, kind="stable")[:count]
        return _Candidates(self.offsets[order], self.start_logit[order], self.end_logit[order], self.is_null[order])

    @classmethod
    def concatenate(cls, parts: Sequence["_Candidates"]) -> "_Candidates":
        return cls(
            np.concatenate([part.offsets for part in parts]),
            np.concatenate([part.start_logit for part in parts]),
            np.concatenate([part.end_logit for part in parts]),
            np.concatenate([part.is_null for part in parts]),
        )


_EMPTY = _Candidates(
    np.full((1, 2), -1), np.zeros(1, dtype=np.float32), np.zeros(1, dtype=np.float32), np.zeros(1, dtype=bool)
)
"""What run_qa lists first, under the text "empty", where it has at most one answer and that without text."""


def compatible_predictions(
    examples: Sequence[Example],
    window_example: npt.NDArray[np.integer],
    start_logits: npt.NDArray[np.floating],
    end_logits: npt.NDArray[np.floating],
    offsets: Offsets,
    *,
    config: SpanConfig,
) -> list[Prediction]:
    """Return the predictions that run_qa makes of these logits.

    `answer` is "empty", and `has_answer` False, where nothing was found. `n_best` leaves out the null answer and
    "empty"; `probability` is a share of the list with them.

    Args:
        examples: The examples that windows were made of.
        window_example: Shape (num_windows,): index of each window's example.
        start_logits: Shape (num_windows, seq_len). run_qa pads to `max_seq_length`; logits of padding take part.
        end_logits: Shape (num_windows, seq_len).
        offsets: Shape (num_windows, seq_len, 2): characters of the context, (-1, -1) outside it and on padding.
        config: `n_best_size` is also the number of starts and of ends that are tried; run_qa knows no temperature,
            so it is passed over.
    """
    start_logits, end_logits = start_logits.astype(np.float32), end_logits.astype(np.float32)
    order = np.argsort(window_example, kind="stable")
    splits = np.searchsorted(window_example[order], np.arange(len(examples) + 1))
    predictions = []
    for i, example in enumerate(examples):
        rows = order[splits[i] : splits[i + 1]]
        windows = [_window_candidates(start_logits[row], end_logits[row], offsets[row], config) for row in rows]
        predictions.append(_predict(example, windows, _null_candidate(start_logits[rows], end_logits[rows]), config))
    return predictions


def _window_candidates(start_logits: Floats, end_logits: Floats, offsets: Offsets, config: SpanConfig) -> _Candidates:
    """Return the spans of one window that survive the filters: by rank of their start, then of their end."""
    top = slice(-1, -config.n_best_size - 1, -1)
    starts, ends = np.argsort(start_logits)[top], np.argsort(end_logits)[top]
    start, end = np.repeat(starts, len(ends)), np.tile(ends, len(starts))
    in_context = (offsets[start, 0] >= 0) & (offsets[end, 0] >= 0)
    kept = in_context & (start <= end) & (end < start + config.max_answer_length)
    start, end = start[kept], end[kept]
    characters = np.stack([offsets[start, 0], offsets[end, 1]], axis=1)
    return _Candidates(characters, start_logits[start], end_logits[end], np.zeros(len(start), dtype=bool))


def _null_candidate(start_logits: Floats, end_logits: Floats) -> _Candidates:
    """Return the null answer of an example, that of the window which scores it lowest; none without windows."""
    row = np.argsort(start_logits[:, 0] + end_logits[:, 0], kind="stable")[:1]
    nowhere = np.zeros((len(row), 2), dtype=np.int64)
    return _Candidates(nowhere, start_logits[row, 0], end_logits[row, 0], np.ones(len(row), dtype=bool))


def _n_best(windows: list[_Candidates], null: _Candidates, config: SpanConfig) -> _Candidates:
    """Return the list of run_qa, highest score first, with the null answer in it in SQuAD 2.0 mode."""
    candidates = _Candidates.concatenate([_EMPTY.best(0), *windows])
    if not config.version_2_with_negative:
        return candidates.best(config.n_best_size)
    best = _Candidates.concatenate([candidates, null]).best(config.n_best_size)
    has_null = (best.offsets == 0).all(axis=1).any()
    return best if has_null else _Candidates.concatenate([best, null])


def _predict(example: Example, windows: list[_Candidates], null: _Candidates, config: SpanConfig) -> Prediction:
    best = _n_best(windows, null, config)
    if len(best.score) == 0 or (len(best.score) == 1 and best.offsets[0, 0] == best.offsets[0, 1]):
        best = _Candidates.concatenate([_EMPTY, best])
    spans = _spans(example.context, best)
    null_score = float(null.score[0]) if len(null.score) else float("inf")
    answer = spans[0]
    if config.version_2_with_negative:
        chosen = _choose(spans, best, null_score, config.null_score_diff_threshold)
        null_probability = sum(span.probability for span, is_null in zip(spans, best.is_null, strict=True) if is_null)
        nothing = Span(text="", start=-1, end=-1, score=null_score, probability=null_probability)
        answer = nothing if chosen is None else spans[chosen]
    has_answer = answer.start >= 0 and answer.text != ""
    return Prediction(
        id=example.id,
        answer=answer.text,
        start=answer.start if has_answer else -1,
        end=answer.end if has_answer else -1,
        score=answer.score,
        probability=answer.probability,
        null_score=null_score,
        has_answer=has_answer,
        n_best=tuple(
            span for span, is_null in zip(spans, best.is_null, strict=True) if not is_null and span.start >= 0
        ),
        num_windows=len(windows),
    )


def _spans(context: str, best: _Candidates) -> list[Span]:
    scores = best.score.astype(np.float64)
    with np.errstate(invalid="ignore"):  # Infinite logits give NaN, as they do in run_qa.
        weights = np.exp(scores - scores.max())
    columns = (best.offsets.tolist(), scores.tolist(), (weights / weights.sum()).tolist())
    return [
        Span(
            text="empty" if start < 0 else context[start:end],
            start=start,
            end=end,
            score=score,
            probability=probability,
        )
        for (start, end), score, probability in zip(*columns, strict=True)
    ]


def _choose(spans: list[Span], best: _Candidates, null_score: float, threshold: float) -> int | None:
    """Return the index of the first span with text, None where the null answer beats it or there is none."""
    index = next((i for i, span in enumerate(spans) if span.text), None)
    if index is None:
        return None
    # One logit after the other, in float32: their sum taken first could round to another side of the threshold.
    null_score_diff = np.float32(null_score) - best.start_logit[index] - best.end_logit[index]
    return None if null_score_diff > threshold else index
