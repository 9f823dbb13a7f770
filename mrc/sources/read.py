"""A unit -> its rows, each what it holds or a Reject, in reading order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from mrc.examples import Example, Reject
from mrc.sources.builtin import read_sample
from mrc.sources.config import SourceConfig, Unit
from mrc.sources.hub import read_dataset
from mrc.sources.parquet import read_parquet
from mrc.sources.records import Malformed, Record, peek, read_csv, read_json, read_jsonl
from mrc.sources.rows import check_columns, choose_columns, kept_values, parse_row, row_id_of
from mrc.validation import RowError, reject_row

_PEEKED_ROWS = 1_000
_TEXT_FORMATS = ("json", "jsonl", "csv", "tsv")

T = TypeVar("T")


def read_unit(unit: Unit, config: SourceConfig, keep: Sequence[str] = ()) -> Iterator[Example | Reject]:
    """Yield an Example or a Reject for each row of a unit, in reading order.

    Args:
        unit: See `plan_units`.
        config: Names the columns.
        keep: Further columns, whose values the examples carry along.

    Raises:
        UsageError: The file is not of its format, or all of its (first 1,000) rows lack a column that is needed.
    """
    as_text = unit.format in _TEXT_FORMATS

    def parse(record: Mapping[str, Any], row_id: str) -> Example:
        example = parse_row(record, row_id, config)
        return replace(example, kept=kept_values(record, keep, as_text=as_text)) if keep else example

    return read_rows(unit, config, parse, keep)


def read_rows(
    unit: Unit, config: SourceConfig, parse: Callable[[Mapping[str, Any], str], T], keep: Sequence[str] = ()
) -> Iterator[T | Reject]:
    """Yield what `parse` makes of each row of a unit and its id, or the Reject of what it raises RowError for."""
    seen_ids: set[str] = set()
    for row, record in read_records(unit, config, keep):
        yield _examine(unit, row, record, seen_ids, config, parse)


def _examine(
    unit: Unit,
    row: int,
    record: Record,
    seen_ids: set[str],
    config: SourceConfig,
    parse: Callable[[Mapping[str, Any], str], T],
) -> T | Reject:
    """Return a raw row parsed, and add its id to those seen, or as a Reject."""
    row_id = None
    try:
        if isinstance(record, Malformed):
            raise record.error
        row_id = row_id_of(record, f"{unit.stem}#{row}", config)
        parsed = parse(record, row_id)
        if row_id in seen_ids:
            raise RowError("duplicate_id", f"id {row_id[:80]!r} stands in an earlier row of the unit too")
    except RowError as error:
        raw = record.text if isinstance(record, Malformed) else record
        return reject_row(unit.source, row, raw, row_id, error)
    seen_ids.add(row_id)
    return parsed


def read_records(unit: Unit, config: SourceConfig, keep: Sequence[str] = ()) -> Iterator[tuple[int, Record]]:
    """Yield the raw rows of a unit with their numbers in the source, unchecked."""
    picked = None if unit.rows is None else frozenset(unit.rows)
    # Without the place of its first row, a text file is read from its beginning.
    first = 0 if unit.format in _TEXT_FORMATS and not unit.offset else unit.start
    for row, record in enumerate(_records(unit, config, keep), first):
        if row >= unit.stop:
            return
        if row >= unit.start and (picked is None or row in picked):
            yield row, record


def _records(unit: Unit, config: SourceConfig, keep: Sequence[str]) -> Iterator[Record]:
    """Yield the raw rows of a unit's source, from `start` on but for text files whose place is not known."""
    if unit.format in _TEXT_FORMATS:
        records = _file_records(unit)
        return records if unit.start else _checked(records, unit.source, config, keep)
    if unit.format == "sample":
        return (_as_record(example, config) for example in read_sample(unit.source, unit.start, unit.stop))
    choose = partial(choose_columns, where=unit.source, config=config, keep=keep)
    if unit.format == "parquet":
        return read_parquet(unit.source, unit.start, unit.stop, choose)
    return read_dataset(unit.source, unit.start, unit.stop, choose)


def _file_records(unit: Unit) -> Iterator[Record]:
    """Yield the raw rows of a file that has no footer."""
    if unit.format == "json":
        return read_json(unit.source)
    if unit.format == "jsonl":
        return read_jsonl(unit.source, unit.offset)
    return read_csv(unit.source, "\t" if unit.format == "tsv" else ",", unit.offset)


def _as_record(example: Example, config: SourceConfig) -> Record:
    """Return an example of the sample as a row, under the names that the config gives its columns."""
    answers = [{"text": answer.text, "answer_start": answer.start} for answer in example.answers or ()]
    return {
        config.id_column: example.id,
        config.question_column: example.question,
        config.context_column: example.context,
        config.title_column: example.title,
        config.answers_column: answers,
    }


def _checked(records: Iterator[Record], where: str, config: SourceConfig, keep: Sequence[str]) -> Iterator[Record]:
    """Pass records on after a look at the columns of the first ones, where any could be parsed."""
    first, records = peek(records, _PEEKED_ROWS)
    rows = [record for record in first if not isinstance(record, Malformed)]
    if rows:
        check_columns(dict.fromkeys(name for row in rows for name in row), where, config, keep)
    return records
