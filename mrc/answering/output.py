"""Examples, spans and rejects of a unit -> the tables of the output, in a schema that does not depend on the rows."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from mrc.batching import ragged_ranges
from mrc.errors import UsageError
from mrc.examples import Example
from mrc.metrics import ExampleScore, Scorer, Sums, score_example
from mrc.spans import ExampleSpans, join_contexts

_SPAN = pa.struct(
    [
        ("text", pa.string()),
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("score", pa.float32()),
        ("probability", pa.float32()),
    ]
)
_FIELDS = [
    pa.field("id", pa.string(), nullable=False),
    pa.field("answer", pa.string(), nullable=False),
    pa.field("start", pa.int32(), nullable=False),
    pa.field("end", pa.int32(), nullable=False),
    pa.field("score", pa.float32()),
    pa.field("probability", pa.float32(), nullable=False),
    pa.field("null_score", pa.float32()),
    pa.field("has_answer", pa.bool_(), nullable=False),
    pa.field("num_windows", pa.int32(), nullable=False),
    pa.field("exact_match", pa.int8()),
    pa.field("f1", pa.float64()),
]
_N_BEST = pa.field("n_best", pa.list_(_SPAN), nullable=False)


def output_schema(extra: Sequence[pa.Field], *, with_n_best: bool) -> pa.Schema:
    """Return the schema of predictions: mrc's own columns, then those that are carried through.

    Raises:
        UsageError: A column that is carried through has the name of one of mrc's own.
    """
    own = [*_FIELDS, *([_N_BEST] if with_n_best else [])]
    taken = {field.name for field in own}
    for field in extra:
        if field.name in taken:
            raise UsageError(
                f"--keep_columns {field.name}: the predictions have a column of that name; rename the input's"
            )
        taken.add(field.name)
    return pa.schema([*own, *extra])


def check_kept(schema: pa.Schema, best_per: str | None) -> None:
    """Refuse a `--best_per` that is no column of the predictions which came with the rows. Raises UsageError."""
    own = {field.name for field in (*_FIELDS, _N_BEST)}
    if best_per is not None and (best_per in own or best_per not in schema.names):
        known = ", ".join(name for name in schema.names if name not in own) or "none are carried through"
        raise UsageError(f"--best_per {best_per}: name a column of --keep_columns ({known})")


class Answered(NamedTuple):
    """The predictions of a unit, and the sums of their scores where gold is known."""

    table: pa.Table
    sums: Sums


def predictions_table(
    examples: Sequence[Example],
    spans: ExampleSpans,
    *,
    schema: pa.Schema,
    scorer: Scorer,
    n_best_size: int,
    min_probability: float,
) -> Answered:
    """Return one row an example, in order.

    Where nothing is answered, `answer` is "" and `start` and `end` are -1. `score` and `probability` are then those of
    the null answer, or, where only `min_probability` forbade an answer, of the best span. A score that is not finite,
    as where no window tells of a null answer, is null.

    Args:
        examples: Those that `spans` numbers.
        spans: One row for each of them.
        schema: See `output_schema`.
        scorer: Of the examples that have gold.
        n_best_size: Spans in the column `n_best`.
        min_probability: Least probability of an answer.
    """
    found = np.diff(spans.row_splits) > 0
    first = np.minimum(spans.row_splits[:-1], max(len(spans.start) - 1, 0))
    best = {name: _at(getattr(spans, name), first, found) for name in ("start", "end", "score", "probability")}
    answers = spans.has_answer & (best["probability"].astype(np.float32) >= np.float32(min_probability))
    start, end = (np.where(answers, best[name], -1) for name in ("start", "end"))
    contexts = _Contexts([example.context for example in examples])
    # "" is the characters from 0 to 0.
    texts = contexts.cut(np.arange(len(examples)), np.maximum(start, 0), np.maximum(end, 0))
    scores = [
        None if example.answers is None else score_example(texts[at].as_py(), example, scorer)
        for at, example in enumerate(examples)
    ]
    columns = {
        "id": [example.id for example in examples],
        "answer": texts,
        "start": start,
        "end": end,
        "score": _finite(np.where(spans.has_answer, best["score"], spans.null_score)),
        "probability": np.where(spans.has_answer, best["probability"], spans.null_probability),
        "null_score": _finite(spans.null_score),
        "has_answer": answers,
        "num_windows": spans.num_windows,
        "exact_match": [None if score is None else score.exact_match for score in scores],
        "f1": [None if score is None else score.f1 for score in scores],
        "n_best": _n_best(contexts, spans, n_best_size) if "n_best" in schema.names else None,
    }
    own = [name for name in columns if name in schema.names]
    arrays = [_array(columns[name], schema.field(name)) for name in own]
    kept = (
        zip(*(example.kept for example in examples), strict=True)
        if examples
        else [() for _ in schema.names[len(own) :]]
    )
    arrays += [pa.array(list(values), field.type) for values, field in zip(kept, list(schema)[len(own) :], strict=True)]
    return Answered(pa.Table.from_arrays(arrays, schema=schema), _sum(scores))


def _sum(scores: Sequence[ExampleScore | None]) -> Sums:
    return sum((Sums.of(score) for score in scores if score is not None), Sums())


def _at(values: np.ndarray, first: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return the first value of each example, -1 where it has none; shape (num_examples,)."""
    return np.where(found, values[first], -1) if len(values) else np.full(len(first), -1, dtype=values.dtype)


def _finite(scores: np.ndarray) -> pa.Array:
    return pa.array(scores.astype(np.float32), pa.float32(), mask=~np.isfinite(scores))


def _array(values: object, field: pa.Field) -> pa.Array:
    array = pa.array(values) if isinstance(values, np.ndarray) else values
    return array.cast(field.type) if isinstance(array, pa.Array) else pa.array(array, field.type)


def _n_best(contexts: "_Contexts", spans: ExampleSpans, n_best_size: int) -> pa.Array:
    """Return the column of the best spans: lists of `_SPAN`, highest score first."""
    counts = np.diff(spans.row_splits)
    example = np.repeat(np.arange(len(counts)), counts)
    rank = np.arange(len(example)) - spans.row_splits[:-1][example]
    kept = rank < n_best_size
    start, end = spans.start[kept], spans.end[kept]
    columns = (contexts.cut(example[kept], start, end), start, end, spans.score[kept], spans.probability[kept])
    arrays = [_array(values, field) for values, field in zip(columns, _SPAN, strict=True)]
    splits = np.concatenate([[0], np.cumsum(np.minimum(counts, n_best_size))])
    return pa.ListArray.from_arrays(
        pa.array(splits, pa.int32()), pa.StructArray.from_arrays(arrays, fields=list(_SPAN))
    )


class _Contexts:
    """The contexts of examples, to cut many texts out of them at once."""

    def __init__(self, contexts: Sequence[str]) -> None:
        joined = join_contexts(contexts)
        self._start = joined.start_of
        self._utf8 = np.frombuffer(joined.text.encode(), dtype=np.uint8)
        # Where each character begins, and where all end: bytes from 0x80 to 0xBF go on with one.
        self._byte = np.append(np.flatnonzero((self._utf8 & 0xC0) != 0x80), len(self._utf8))

    def cut(self, example: np.ndarray, start: np.ndarray, end: np.ndarray) -> pa.Array:
        """Return the characters from `start` to `end` of the contexts of some examples; shape (n,) each."""
        begin, stop = (self._byte[self._start[example] + edge] for edge in (start, end))
        splits = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(stop - begin)])
        text = self._utf8[ragged_ranges(begin, stop - begin)]
        cut = pa.LargeStringArray.from_buffers(len(example), pa.py_buffer(splits), pa.py_buffer(text))
        return cut.cast(pa.string())
