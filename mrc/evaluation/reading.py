"""Units of references, and files of earlier runs -> tables of what scoring needs; contexts stay behind.

References are read as scorers see them: a text is gold wherever it stands. (Training and answering check offsets.) Rows
without an id or gold come back as rejects; rows of a repeated id are all there: whoever joins them counts them.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from mrc import storage
from mrc.examples import Reject
from mrc.sources import Malformed, Record, ReferenceSource, Unit, gold_pairs, kept_values, read_records, row_id_of
from mrc.validation import RowError, check_integer, check_text, reject_row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLACE = [pa.field("unit", pa.int32()), pa.field("row", pa.int64())]
REFERENCES = pa.schema(
    [
        pa.field("id", pa.string()),
        *PLACE,
        pa.field("question", pa.string()),
        pa.field("golds", pa.list_(pa.string())),
        pa.field("start", pa.int32()),
        pa.field("context_chars", pa.int32()),
        pa.field("context_key", pa.uint64()),
        pa.field("at_boundaries", pa.list_(pa.string())),
        pa.field("extra", pa.list_(pa.string())),
    ]
)
BASELINE = pa.schema([pa.field("id", pa.string()), pa.field("answer", pa.string())])


NO_VALUE = "(none)"
"""The slice of a null in a column of the user's."""


class Rows(NamedTuple):
    """The rows of a unit that can be scored, and those that cannot."""

    table: pa.Table
    bad: list[Reject]


def key_of(text: str) -> int:
    """Return 64 bits that stand for a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def read_references(
    unit: Unit, number: int, config: ReferenceSource, keep: Sequence[str], tokenizer: "PreTrainedTokenizerBase | None"
) -> Rows:
    """Return the references of a unit as a table of REFERENCES.

    Args:
        unit: Some rows of the references.
        number: The unit's place among all of them.
        config: Names the columns.
        keep: Columns to score by, whose values become texts.
        tokenizer: Whose boundaries the golds are widened to.
    """
    rows, bad = collect(
        unit,
        number,
        read_records(unit, config, keep),
        id_of=lambda row, record: row_id_of(record, f"{unit.stem}#{row}", config),
        parse=lambda record, row_id: _reference(record, row_id, config, keep, tokenizer),
    )
    return Rows(pa.Table.from_pylist(rows, schema=REFERENCES), bad)


def collect(
    unit: Unit,
    number: int,
    records: Iterable[tuple[int, Record]],
    *,
    id_of: Callable[[int, Mapping[str, Any]], str],
    parse: Callable[[Mapping[str, Any], str], dict[str, Any]],
) -> tuple[list[dict[str, Any]], list[Reject]]:
    """Return the rows of a unit with their ids and places, and those for which `id_of` or `parse` raises RowError.

    Args:
        unit: Where the records stand.
        number: The unit's place among all of its side.
        records: Raw rows with their numbers.
        id_of: From a row's number and what it holds to its id.
        parse: From what it holds and its id to its other columns.
    """
    rows: list[dict[str, Any]] = []
    bad: list[Reject] = []
    for row, record in records:
        row_id: str | None = None
        try:
            if isinstance(record, Malformed):
                raise record.error
            row_id = id_of(row, record)
            rows.append({"id": row_id, "unit": number, "row": row, **parse(record, row_id)})
        except RowError as error:
            raw = record.text if isinstance(record, Malformed) else record
            bad.append(reject_row(unit.source, row, raw, row_id, error))
    return rows, bad


def _reference(
    record: Mapping[str, Any],
    row_id: str,
    config: ReferenceSource,
    keep: Sequence[str],
    tokenizer: "PreTrainedTokenizerBase | None",
) -> dict[str, Any]:
    pairs = gold_pairs(record, config)
    if pairs is None:
        raise RowError("no_answer", "the row has no gold answers")
    golds = [check_text(text, "an answer's text") for text, _ in pairs]
    context = optional_text(record, config.context_column)
    start = -1
    if pairs and pairs[0][1] is not None:
        start = check_integer(pairs[0][1], "an answer's offset")
    extra = kept_values(record, keep, as_text=True)
    return {
        "question": optional_text(record, config.question_column),
        "golds": golds,
        "start": start if context.startswith(golds[0] if golds else "", max(start, 0)) else -1,
        "context_chars": len(context) if context else -1,
        # Without contexts each question counts as independent of the others.
        "context_key": key_of(context or row_id),
        "at_boundaries": None if tokenizer is None else _at_boundaries(context, standing(pairs, context), tokenizer),
        "extra": [NO_VALUE if value is None else value for value in extra],
    }


def standing(pairs: Sequence[tuple[Any, Any]], context: str) -> list[tuple[int, int]]:
    """Return the (text, offset) of golds as half-open characters, of those that stand at their offset."""
    return [
        (start, start + len(text))
        for text, start in pairs
        # A negative start would count from the end.
        if isinstance(start, int) and start >= 0 and text and context.startswith(text, start)
    ]


def optional_text(record: Mapping[str, Any], column: str) -> str:
    """Return a text that a row may lack, "" then; raises RowError where it is none."""
    value = record.get(column)
    return "" if value is None else check_text(value, column)


def _at_boundaries(context: str, spans: Sequence[tuple[int, int]], tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """Return each gold span widened to the nearest tokens that hold all of it, as text."""
    offsets = _token_offsets(context, tokenizer)
    texts = []
    for start, end in spans:
        first = int(np.searchsorted(offsets[:, 1], start, side="right"))
        behind = int(np.searchsorted(offsets[:, 0], end, side="left"))
        if first < behind:
            texts.append(context[min(start, offsets[first, 0]) : max(end, offsets[behind - 1, 1])])
    return texts


# The questions of a context mostly follow each other.
@lru_cache(maxsize=4)
def _token_offsets(context: str, tokenizer: "PreTrainedTokenizerBase") -> Any:
    """Return the characters of each token, half open, shape (num_tokens, 2); those of no text are left out."""
    found = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    offsets = np.array(found["offset_mapping"], dtype=np.int64).reshape(-1, 2)
    return offsets[offsets[:, 0] < offsets[:, 1]]


def read_baseline(url: str) -> pa.Table:
    """Return what an earlier run answered, as a table of BASELINE; the answer is null where it had none."""
    return storage.read_table(url, BASELINE.names).cast(BASELINE)
