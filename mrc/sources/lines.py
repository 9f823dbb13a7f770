"""Text files cut at their lines: how many rows there are, and at which bytes units of them begin.

One pass over the file, which streams; after it any worker reads its own rows and nothing before them. A compressed file
has no such places, and a JSON file is one value: their units read from the beginning what they need.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple, TextIO

from mrc.sources.config import Format
from mrc.sources.records import filled_lines, open_text, parse_csv, read_header, read_json

_BYTE_ORDER_MARK_BYTES = 3


class Cut(NamedTuple):
    """A range of rows `[start, stop)`, and the byte at which the first of them begins, 0 where that is no help."""

    start: int
    stop: int
    offset: int


def cut_text_file(url: str, file_format: Format, unit_rows: int) -> list[Cut]:
    """Cut a text file into ranges of `unit_rows` rows; what is over goes to the last one where it is under a half.

    Raises:
        BadFileError: The file is torn, or not of its format.
    """
    starts: list[int] = []
    stop = 0
    for stop, offset in enumerate(_row_offsets(url, file_format), 1):
        if (stop - 1) % unit_rows == 0:
            starts.append(offset)
    if len(starts) > 1 and stop % unit_rows and 2 * (stop % unit_rows) < unit_rows:
        starts.pop()
    edges = [*range(0, len(starts) * unit_rows, unit_rows), stop]
    return [Cut(*rows, offset) for rows, offset in zip(pairwise(edges), starts, strict=True)]


def _row_offsets(url: str, file_format: Format) -> Iterator[int]:
    """Yield for each row, as `read_unit` counts them, the byte where it begins, or 0 where that is no help."""
    if file_format == "json":
        yield from (0 for _ in read_json(url))
        return
    first = _byte_order_mark(url)
    with open_text(url, "\n" if file_format == "jsonl" else "") as file:
        lines = _CountedLines(file, first)
        rows: Iterator[Any]
        if file_format == "jsonl":
            rows = filled_lines(lines)
        else:
            delimiter = "\t" if file_format == "tsv" else ","
            rows = parse_csv(lines, url, delimiter, read_header(lines, url, delimiter))
        offset = lines.bytes_read
        for _ in rows:
            yield 0 if url.endswith(".gz") else offset
            offset = lines.bytes_read


class _CountedLines:
    """Iterates over the lines of a file that is read as UTF-8, and counts their bytes."""

    def __init__(self, file: TextIO, bytes_read: int) -> None:
        self.bytes_read = bytes_read
        self._file = file

    def __iter__(self) -> "_CountedLines":
        return self

    def __next__(self) -> str:
        line = next(self._file)
        self.bytes_read += len(line.encode("utf-8", "surrogateescape"))
        return line


def _byte_order_mark(url: str) -> int:
    with open_text(url, "") as file:
        return _BYTE_ORDER_MARK_BYTES if file.buffer.read(_BYTE_ORDER_MARK_BYTES) == b"\xef\xbb\xbf" else 0
