"""The words of extractive question answering as types: Example, Answer, Prediction, Span, Reject.

All positions are half-open intervals in characters (Python code points) of the original context, never of a stripped,
normalised or tokenized one, so that `context[start:end]` is always the text.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A gold answer: `context[start:start + len(text)] == text`, in characters of the original context."""

    text: str
    start: int

    @property
    def end(self) -> int:
        """The first character after the answer."""
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A question about a context.

    `answers` is None where no gold is known, and empty where the gold is that the context has no answer.
    `title` names the article that the context comes from, where the source tells. `kept` holds the values of columns
    that are carried through to the output, in the order in which they were asked for.
    """

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...] | None = None
    title: str | None = None
    kept: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A candidate answer, `context[start:end] == text`.

    `score` is the start logit plus the end logit, summed in float32. `probability` is a softmax of
    score / temperature over the n-best list (with the null answer in it in SQuAD 2.0 mode): it is conditional on that
    list, and calibrated where the reader has the temperature that training fitted on validation data.
    """

    text: str
    start: int
    end: int
    score: float
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a reader answers to one example.

    `answer` is "" and `start` and `end` are -1 where `has_answer` is False: nothing legal was found, or in SQuAD 2.0
    mode the null answer won. `score` and `probability` are those of what was answered. `null_score` is the lowest, over
    the windows, of start plus end logit at the null position. `n_best` holds spans only, highest score first.
    """

    id: str
    answer: str
    start: int
    end: int
    score: float
    probability: float
    null_score: float
    has_answer: bool
    n_best: tuple[Span, ...]
    num_windows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """A row that is no example: where it stood, why, and its own text.

    `source` is the file and `row` the row's number in it, counted from 0 in reading order. `reason` is one of REASONS,
    `detail` says what was seen, `text` is the row as JSON, cut at 10,000 characters.
    """

    source: str
    row: int
    id: str | None
    reason: str
    detail: str
    text: str


EXAMPLE_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("question", pa.string(), nullable=False),
        pa.field("context", pa.string(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("answers", pa.list_(pa.struct([("text", pa.string()), ("start", pa.int32())]))),
    ]
)

REJECT_SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("id", pa.string()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
    ]
)


def examples_to_table(examples: Sequence[Example]) -> pa.Table:
    """Return examples as a table of EXAMPLE_SCHEMA; what they keep of other columns stays behind."""
    columns = {
        name: [getattr(example, name) for example in examples] for name in ("id", "question", "context", "title")
    }
    answers = [None if example.answers is None else list(map(asdict, example.answers)) for example in examples]
    return pa.table({**columns, "answers": answers}, schema=EXAMPLE_SCHEMA)


def examples_from_table(table: pa.Table) -> list[Example]:
    """Return the examples of a table that `examples_to_table` made; they are not validated again."""
    return [Example(**{**row, "answers": _answers(row["answers"])}) for row in table.to_pylist()]


def _answers(rows: list[dict[str, Any]] | None) -> tuple[Answer, ...] | None:
    return None if rows is None else tuple(Answer(**row) for row in rows)


def rejects_to_table(rejects: Sequence[Reject]) -> pa.Table:
    """Return rejects as a table of REJECT_SCHEMA."""
    return pa.Table.from_pylist([asdict(reject) for reject in rejects], schema=REJECT_SCHEMA)
