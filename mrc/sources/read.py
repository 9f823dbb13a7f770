"""A unit -> its rows, each an Example or a Reject, in reading order."""

from collections.abc import Iterator
from functools import partial
from itertools import islice

from mrc.examples import Example, Reject
from mrc.sources.builtin import read_sample
from mrc.sources.config import SourceConfig, Unit
from mrc.sources.hub import read_dataset
from mrc.sources.parquet import read_parquet
from mrc.sources.records import Malformed, Record, peek, read_csv, read_json, read_jsonl
from mrc.sources.rows import check_columns, choose_columns, parse_row, row_id_of
from mrc.validation import RowError, reject_row

_PEEKED_ROWS = 1_000


def read_unit(unit: Unit, config: SourceConfig) -> Iterator[Example | Reject]:
    """Yield an Example or a Reject for each row of a unit, in reading order.

    Raises:
        UsageError: The file is not of its format, or all of its (first 1,000) rows lack a column that is needed.
    """
    seen_ids: set[str] = set()
    for row, record in _numbered(unit, config):
        yield record if isinstance(record, Example) else _examine(unit, row, record, seen_ids, config)


def count_rows(unit: Unit, at_most: int | None = None) -> int:
    """Return how many rows `read_unit` yields; a text file is read for that, until there are `at_most`."""
    if unit.rows is not None:
        return len(unit.rows)
    if unit.stop is not None:
        return unit.stop - unit.start
    return sum(1 for _ in islice(_file_records(unit), at_most))


def _examine(unit: Unit, row: int, record: Record, seen_ids: set[str], config: SourceConfig) -> Example | Reject:
    """Return a raw row as an Example, whose id is then added to those seen, or as a Reject."""
    row_id = None
    try:
        if isinstance(record, Malformed):
            raise record.error
        row_id = row_id_of(record, f"{unit.stem}#{row}", config)
        example = parse_row(record, row_id, config)
        if row_id in seen_ids:
            raise RowError("duplicate_id", f"id {row_id[:80]!r} stands in an earlier row of the unit too")
    except RowError as error:
        raw = record.text if isinstance(record, Malformed) else record
        return reject_row(unit.source, row, raw, row_id, error)
    seen_ids.add(row_id)
    return example


def _numbered(unit: Unit, config: SourceConfig) -> Iterator[tuple[int, Record | Example]]:
    """Yield the rows of a unit with their numbers in the source."""
    picked = None if unit.rows is None else frozenset(unit.rows)
    for row, record in enumerate(_range_records(unit, config), unit.start):
        if unit.stop is not None and row >= unit.stop:
            return
        if picked is None or row in picked:
            yield row, record


def _range_records(unit: Unit, config: SourceConfig) -> Iterator[Record | Example]:
    """Yield the raw rows of a unit's source from `start` on; those that can be cut stop at `stop`."""
    if unit.format in ("json", "jsonl", "csv", "tsv"):
        # Such a file is never cut: its only unit starts at row 0.
        return _checked(_file_records(unit), unit.source, config)
    assert unit.stop is not None, unit
    if unit.format == "sample":
        return read_sample(unit.source, unit.start, unit.stop)
    choose = partial(choose_columns, where=unit.source, config=config)
    if unit.format == "parquet":
        return read_parquet(unit.source, unit.start, unit.stop, choose)
    return read_dataset(unit.source, unit.start, unit.stop, choose)


def _file_records(unit: Unit) -> Iterator[Record]:
    """Yield the raw rows of a file that has no footer."""
    if unit.format == "json":
        return read_json(unit.source)
    if unit.format == "jsonl":
        return read_jsonl(unit.source)
    return read_csv(unit.source, "\t" if unit.format == "tsv" else ",")


def _checked(records: Iterator[Record], where: str, config: SourceConfig) -> Iterator[Record]:
    """Pass records on after a look at the columns of the first ones, where any could be parsed."""
    first, records = peek(records, _PEEKED_ROWS)
    rows = [record for record in first if not isinstance(record, Malformed)]
    if rows:
        check_columns(dict.fromkeys(name for row in rows for name in row), where, config)
    return records
