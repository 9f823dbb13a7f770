"""Single files: read whole, and written so that a name is either absent or whole."""

import contextlib
import errno
import glob
import os
import pathlib
import posixpath
import uuid
from collections.abc import Iterator
from io import BytesIO
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from mrc.errors import BadFileError
from mrc.storage.failures import located, locating
from mrc.storage.places import files_below, resolve


@locating
def read_bytes(url: str) -> bytes:
    """Return a file's bytes; raises FileNotFoundError where it is absent."""
    filesystem, path = resolve(url)
    return bytes(filesystem.cat_file(path))


def read_text(url: str) -> str:
    """Return a UTF-8 file's text, line ends untouched; raises FileNotFoundError where it is absent."""
    return read_bytes(url).decode("utf-8")


@locating
def read_table(url: str, columns: list[str] | None = None) -> pa.Table:
    """Return a Parquet file as a table, or some of its columns; raises FileNotFoundError where it is absent."""
    filesystem, path = resolve(url)
    with filesystem.open(path, "rb") as file, pq.ParquetFile(file) as parquet:
        table = parquet.read(columns=columns)
    check_inert(table.schema, url)
    return table


def check_inert(schema: pa.Schema, url: str) -> None:
    """Refuse columns whose values Python code makes when they are read.

    Arrow lets packages define types. Ray Data's of Python objects unpickles what the file holds, and whoever wrote that
    would have run what he liked.

    Raises:
        BadFileError: A column is, or has in it, of such a type.
    """
    for column in schema:
        if _is_made_by_code(column.type):
            raise BadFileError(
                f"{url}: column {column.name!r} is of the type {column.type}, whose values run Python code when they "
                "are read; write it with a type of Arrow's own"
            )


def _is_made_by_code(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):  # Arrow's own are of this class alone
        return isinstance(kind, pa.ExtensionType) or _is_made_by_code(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _is_made_by_code(kind.value_type)
    return any(_is_made_by_code(kind.field(at).type) for at in range(kind.num_fields))


@contextlib.contextmanager
def open_atomic(url: str) -> Iterator[IO[bytes]]:
    """Open a file for writing bytes that appears under its name at the end of the block, whole, or not at all.

    Folders are made as needed. An exception in the block leaves the name as it was; a killed process leaves at most a
    hidden temporary file (`.<name>.<random>.tmp`), which `list_files` skips.
    """
    filesystem, path = resolve(url)
    if isinstance(filesystem, LocalFileSystem):
        with replacing(pathlib.Path(path)) as temporary, temporary.open("xb") as file:
            yield file
    else:
        buffer = BytesIO()
        yield buffer
        with located(url):
            filesystem.pipe_file(path, buffer.getvalue())


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yield a free name beside a local path; what the block writes there is synced and renamed to the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: it makes files that only their owner may read, and the rename would keep that.
    temporary = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        _sync(temporary, os.O_RDWR)
        os.replace(temporary, path)
        _sync(path.parent, os.O_RDONLY)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: pathlib.Path, flags: int) -> None:
    """Flush a file, or a folder's entries, to the disk."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(url: str, data: bytes) -> None:
    """Write a file atomically, replacing what was there."""
    with open_atomic(url) as file:
        file.write(data)


def write_text(url: str, text: str) -> None:
    """Write a UTF-8 file atomically, replacing what was there."""
    write_bytes(url, text.encode("utf-8"))


def write_table(url: str, table: pa.Table) -> None:
    """Write a table as Parquet with zstd compression, atomically, replacing what was there."""
    with open_atomic(url) as file:
        pq.write_table(table, file, compression="zstd")


@locating
def create(url: str, data: bytes) -> bool:
    """Write a file only where there is none, and tell whether it was written: of several writers one succeeds.

    On a local disk a reader may see it before its bytes are in it. A store is asked first and then to write only where
    there is nothing (S3's `If-None-Match: *`); one that does not know this, or passes over it, leaves a moment between.

    Args:
        url: Of the file.
        data: Has to differ between writers: a request that is sent again since its answer was lost finds its own.
    """
    filesystem, path = resolve(url)
    if isinstance(filesystem, LocalFileSystem):
        _make_folder(posixpath.dirname(path))
        try:
            with open(path, "xb") as file:
                file.write(data)
        except FileExistsError:
            return False
        return True
    there = _content(filesystem, path)
    if there is not None:
        return there == data
    try:
        filesystem.pipe_file(path, data, mode="create")
    except (NotImplementedError, TypeError):  # how file systems of fsspec say that they know no such mode
        filesystem.pipe_file(path, data)
    except OSError as error:
        if isinstance(error, FileExistsError) or _code(error) in _TAKEN:
            return _content(filesystem, path) == data
        if error.errno != errno.ENOSYS:
            raise
        filesystem.pipe_file(path, data)
    return True


def _content(filesystem: Any, path: str) -> bytes | None:
    """Return a file's bytes, None where there is none."""
    try:
        return bytes(filesystem.cat_file(path))
    except FileNotFoundError:
        return None


_TAKEN = ("PreconditionFailed", "ConditionalRequestConflict", "412")


def _code(error: OSError) -> str | None:
    """Return the error code in the answer of an S3 server."""
    answer: dict[str, dict[str, str]] = getattr(error.__cause__, "response", {})
    return answer.get("Error", {}).get("Code")


def _make_folder(path: str) -> None:
    """Make a folder where there is none; raises NotADirectoryError where a file is in its place."""
    try:
        os.makedirs(path, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(*error.args) from error


@locating
def remove(url: str) -> None:
    """Remove a file, or a folder with all that is in it; what is absent already is no error."""
    filesystem, path = resolve(url)
    if isinstance(filesystem, LocalFileSystem):
        with contextlib.suppress(FileNotFoundError):
            filesystem.rm(path, recursive=True)
        return
    try:
        filesystem.rm(glob.escape(path), recursive=True)  # it takes a path for a pattern, and would remove its matches
    except FileNotFoundError:
        return
    except OSError:
        pass
    # Some stores do not know requests to delete many, and S3 answers them with a list of what it did not delete, which
    # s3fs does not look at. Alone, each says why it stays.
    with contextlib.suppress(FileNotFoundError):
        for name in files_below(filesystem, path):
            filesystem.rm_file(name)
