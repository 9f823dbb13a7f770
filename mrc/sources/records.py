"""Text files -> raw rows, mappings of columns to values, one reader a format, in reading order.

A row that cannot be parsed is a Malformed in its place. Text files are read as UTF-8 with or without a byte order mark;
bytes that are not UTF-8 become lone surrogates, which validation reports, so that they cost their row alone. JSON files
are held in memory whole; JSON Lines and CSV stream, from any row whose byte is known (lines.py finds them).
"""

import csv
import gzip
import io
import itertools
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TextIO, TypeAlias

import pyarrow as pa

from mrc import storage
from mrc.errors import BadFileError, UsageError
from mrc.validation import RowError


class Malformed(NamedTuple):
    """A row that could not be parsed: its text as far as it is known, and the error."""

    text: str
    error: RowError


_MAX_CELL_CHARS = 2**31 - 1

Record: TypeAlias = Mapping[str, Any] | Malformed

ChooseColumns: TypeAlias = Callable[[list[str]], list[str]]
"""From the columns of a file to those that are read; refuses a file without the needed ones."""


@contextmanager
def open_text(url: str, newline: str, offset: int = 0) -> Iterator[TextIO]:
    """Open a text file at a byte, decompressed by its suffix; a torn or missing one raises UsageError."""
    filesystem, path = storage.resolve(url)
    with storage.located(url):
        try:
            with filesystem.open(path, "rb", compression="infer") as file:
                file.seek(offset)
                # A byte order mark stands at the beginning only.
                encoding = "utf-8" if offset else "utf-8-sig"
                yield io.TextIOWrapper(file, encoding=encoding, errors="surrogateescape", newline=newline)
        except FileNotFoundError as error:
            raise UsageError(f"{url} is gone: it was there when the input was listed") from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise BadFileError(f"{url}: the compressed file is torn ({error}); write it again") from error


def read_json(url: str) -> Iterator[Record]:
    """Yield the rows of a JSON file: nested SQuAD, or flat rows, in a list or under "data".

    A `.json` file with one object a line is read as JSON Lines.
    """
    with open_text(url, "") as file:
        text = file.read()
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise BadFileError(f"{url}: not JSON at line {error.lineno}, column {error.colno}: {error.msg}") from error
        yield from map(_parse_line, filled_lines(text.split("\n")))
        return
    except (RecursionError, ValueError) as error:
        raise BadFileError(f"{url}: not JSON that can be read: {error}") from error
    # An object without "data" is a row: the only line of a file of JSON Lines.
    articles = content.get("data", [content]) if isinstance(content, dict) else content
    if not isinstance(articles, list):
        raise BadFileError(f'{url}: neither SQuAD JSON (a list under "data") nor a list of rows; is it another file?')
    for number, article in enumerate(articles):
        yield from _article_rows(article, f"data[{number}]")


def _article_rows(article: Any, place: str) -> Iterator[Record]:
    """Yield the questions of one element of "data": an article with paragraphs, or a flat row."""
    if not isinstance(article, dict):
        yield _misshapen(article, place, "an object")
    elif "paragraphs" not in article and isinstance(article.get("qas"), list):
        yield from _paragraph_rows(article, article.get("title"), place)  # KorQuAD 2 has a page's questions there
    elif "paragraphs" not in article:
        yield article
    elif not isinstance(article["paragraphs"], list):
        yield _misshapen(article["paragraphs"], f"{place}.paragraphs", "a list")
    else:
        for number, paragraph in enumerate(article["paragraphs"]):
            yield from _paragraph_rows(paragraph, article.get("title"), f"{place}.paragraphs[{number}]")


def _paragraph_rows(paragraph: Any, title: Any, place: str) -> Iterator[Record]:
    if not isinstance(paragraph, dict) or not isinstance(paragraph.get("qas"), list):
        yield _misshapen(paragraph, place, 'an object with a list "qas"')
        return
    context = {"context": paragraph["context"]} if "context" in paragraph else {}
    for number, question in enumerate(paragraph["qas"]):
        if isinstance(question, dict):
            yield {**question, **context, "title": title}
        else:
            yield _misshapen(question, f"{place}.qas[{number}]", "an object")


def _misshapen(value: Any, place: str, wanted: str) -> Malformed:
    error = RowError("wrong_type", f"{place} is not {wanted} but {type(value).__name__}")
    return Malformed(json.dumps(value, ensure_ascii=False), error)


def read_jsonl(url: str, offset: int = 0) -> Iterator[Record]:
    """Yield the rows of a JSON Lines file from the line that begins at a byte."""
    # Lines end at "\n" alone: JSON texts may hold other line separators.
    with open_text(url, "\n", offset) as file:
        yield from map(_parse_line, filled_lines(file))


def filled_lines(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines that are rows; lines of white space only are skipped and not counted."""
    return (line for line in lines if line and not line.isspace())


def _parse_line(line: str) -> Record:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Malformed(line, RowError("invalid_json", str(error)))
    if not isinstance(row, dict):
        return Malformed(line, RowError("invalid_json", f"the line is a {type(row).__name__}, not an object"))
    return row


def read_csv(url: str, delimiter: str, offset: int = 0) -> Iterator[Record]:
    """Yield the rows of a CSV file with a header, from the record that begins at a byte.

    Raises:
        BadFileError: See `parse_csv`.
    """
    with open_text(url, "") as file:
        header = read_header(file, url, delimiter)
        if not offset:
            yield from parse_csv(file, url, delimiter, header)
            return
    with open_text(url, "", offset) as file:
        yield from parse_csv(file, url, delimiter, header)


def read_header(lines: Iterable[str], url: str, delimiter: str) -> list[str]:
    """Return the names of a CSV file's columns, from its first line or, with line ends in quotes, lines."""
    try:
        header = next(csv.reader(lines, delimiter=delimiter, strict=True), None)
    except csv.Error as error:
        raise BadFileError(f"{url}: the header line is not CSV ({error}); is it another file?") from error
    if not header:
        raise BadFileError(f"{url}: no header line; the first line has to name the columns")
    return header


def parse_csv(lines: Iterable[str], url: str, delimiter: str, header: list[str]) -> Iterator[Record]:
    """Yield the records of lines behind a header; an empty cell is None, as CSV has no other null.

    No line is taken before its record is asked for.

    Raises:
        BadFileError: The file ends inside a quoted cell: the rest of it was swallowed.
    """
    # The default limit of 131,072 characters a cell is shorter than long contexts. It is global to the process.
    csv.field_size_limit(_MAX_CELL_CHARS)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while (cells := _next_cells(reader, url)) is not None:
        if cells:
            yield _csv_row(header, cells)


def _next_cells(reader: Any, url: str) -> list[str] | Malformed | None:
    try:
        return next(reader, None)
    except csv.Error as error:
        if "end of data" in str(error):
            raise BadFileError(f"{url}: a quoted cell opens and never closes; write the file again") from error
        return Malformed("", RowError("invalid_csv", str(error)))


def _csv_row(header: list[str], cells: list[str] | Malformed) -> Record:
    if isinstance(cells, Malformed):
        return cells
    if len(cells) != len(header):
        error = RowError("invalid_csv", f"{len(cells)} cells, where the header names {len(header)} columns")
        return Malformed(json.dumps(cells, ensure_ascii=False), error)
    return {name: cell or None for name, cell in zip(header, cells, strict=True)}


def table_rows(table: pa.Table | pa.RecordBatch) -> Iterator[Record]:
    """Yield the rows of an Arrow table; text columns may hold bytes that are not UTF-8, as other writers leave them."""
    try:
        rows = table.to_pylist()
    except UnicodeDecodeError:
        columns = zip(*table.columns, strict=True)
        rows = [dict(zip(table.column_names, map(_tolerant, values), strict=True)) for values in columns]
    yield from rows


def _tolerant(value: Any) -> Any:
    """Convert an Arrow scalar to Python, invalid UTF-8 to lone surrogates."""
    if not value.is_valid:
        return None
    if isinstance(value, pa.DictionaryScalar):
        return _tolerant(value.value)
    if isinstance(value, pa.StringScalar | pa.LargeStringScalar):
        return value.as_buffer().to_pybytes().decode("utf-8", "surrogateescape")
    if isinstance(value, pa.ListScalar | pa.LargeListScalar):
        return [_tolerant(item) for item in value.values]
    if isinstance(value, pa.StructScalar):
        return {name: _tolerant(item) for name, item in value.items()}
    return value.as_py()


def peek(records: Iterator[Record], count: int) -> tuple[list[Record], Iterator[Record]]:
    """Return the first records and an iterator over all of them."""
    first = list(itertools.islice(records, count))
    return first, itertools.chain(first, records)
