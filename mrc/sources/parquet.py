"""Parquet files: what their footers tell, and their rows by range."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mrc import storage
from mrc.errors import BadFileError, UsageError
from mrc.sources.records import ChooseColumns, Record, table_rows

_BATCH_ROWS = 1_024


class _WatchedFile:
    """A file whose reads are passed on, and which remembers whether the store failed one.

    Arrow raises OSError for a page that does not decompress, and a store for an answer that did not come.
    """

    def __init__(self, file: Any) -> None:
        self.store_failed = False
        self._file = file

    def read(self, size: int = -1) -> Any:
        try:
            return self._file.read(size)
        except Exception:
            self.store_failed = True
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def _open(url: str) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file; one that is torn or something else raises BadFileError."""
    filesystem, path = storage.resolve(url)
    try:
        with storage.located(url), filesystem.open(path, "rb") as file:
            watched = _WatchedFile(file)
            try:
                with pq.ParquetFile(watched) as parquet:
                    yield parquet
            except (ValueError, OSError) as error:  # Arrow's are ValueErrors, and so is Ray's of a type's metadata
                if watched.store_failed:
                    raise
                cause = " ".join(str(error).split())  # Arrow's may have several lines
                raise BadFileError(
                    f"{url}: not a whole Parquet file ({cause}); write it again or leave it out"
                ) from error
    except FileNotFoundError as error:
        raise UsageError(f"{url} is gone: it was there when the input was listed") from error


def read_footer(url: str) -> tuple[pa.Schema, list[int]]:
    """Return a Parquet file's columns and the rows of each of its row groups."""
    with _open(url) as parquet:
        groups = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
        return parquet.schema_arrow, groups


def cut_row_groups(group_rows: Sequence[int], unit_rows: int) -> list[tuple[int, int]]:
    """Cut a file into half-open row ranges of about `unit_rows` rows, along row groups where that is possible.

    Small groups are merged until they have `unit_rows`; a group of several times that is cut into equal parts. (Each
    part of a cut group decodes the group from its start: groups near `unit_rows` are the cheapest to read.)

    >>> cut_row_groups([3, 3, 3, 20], 6)
    [(0, 6), (6, 9), (9, 16), (16, 22), (22, 29)]
    """
    ranges: list[tuple[int, int]] = []
    start = stop = 0
    for rows in group_rows:
        if start < stop and stop - start + rows > unit_rows:
            ranges.append((start, stop))
            start = stop
        stop += rows
        if stop - start >= unit_rows:
            ranges += _equal_parts(start, stop, unit_rows)
            start = stop
    return [*ranges, (start, stop)] if start < stop else ranges


def _equal_parts(start: int, stop: int, unit_rows: int) -> list[tuple[int, int]]:
    """Cut a range into parts of nearly equal size, as near to `unit_rows` as whole parts allow.

    >>> _equal_parts(9, 29, 6)
    [(9, 16), (16, 22), (22, 29)]
    """
    parts = max(1, round((stop - start) / unit_rows))
    edges = [start + round((stop - start) * part / parts) for part in range(parts + 1)]
    return list(pairwise(edges))


def read_parquet(url: str, start: int, stop: int, choose: ChooseColumns) -> Iterator[Record]:
    """Yield the rows `[start, stop)` of a Parquet file, see `read_batches`."""
    for batch in read_batches(url, start, stop, choose):
        yield from table_rows(batch)


def read_batches(url: str, start: int, stop: int, choose: ChooseColumns) -> Iterator[pa.RecordBatch]:
    """Yield the rows `[start, stop)` of a Parquet file, decoding only the row groups needed and the columns chosen."""
    with _open(url) as parquet:
        schema = parquet.schema_arrow
        columns = choose(list(schema.names))
        storage.check_inert(pa.schema([column for column in schema if column.name in columns]), url)
        groups, first_row = _groups_between(parquet, start, stop)
        for batch in parquet.iter_batches(_BATCH_ROWS, row_groups=groups, columns=columns):
            low, high = max(start - first_row, 0), min(stop - first_row, batch.num_rows)
            if low < high:
                yield batch.slice(low, high - low)
            first_row += batch.num_rows


def _groups_between(parquet: pq.ParquetFile, start: int, stop: int) -> tuple[list[int], int]:
    """Return the row groups that overlap a range of rows, and the row at which the first of them begins."""
    groups: list[int] = []
    first_row = row = 0
    for group in range(parquet.num_row_groups):
        next_row = row + parquet.metadata.row_group(group).num_rows
        if row < stop and next_row > start:
            first_row = first_row if groups else row
            groups.append(group)
        row = next_row
    return groups, first_row
