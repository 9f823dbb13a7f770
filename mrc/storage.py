"""Files at any fsspec URL: list, read, and write so that a name is either absent or whole.

A location is a path, `file://`, `memory://`, `s3://` or whatever fsspec has a file system for. On a local disk a write
goes to a hidden temporary file in the same folder, which is flushed to the disk and renamed over the final name; on an
object store it is one upload, which the store shows only once it is complete (S3, Google Cloud Storage, Azure). The
price on a store is that the bytes of one `open_atomic` are held in memory; `upload_tree` streams.

A file system that is neither (HDFS, SFTP) is written in place and has no such promise.

Listings are never cached: another process's commit is seen at once.
"""

import contextlib
import os
import pathlib
import posixpath
import tempfile
import uuid
from collections.abc import Iterator
from io import BytesIO
from typing import IO, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from mrc.errors import RunError, UsageError

_GLOB_CHARACTERS = frozenset("*?[")


def resolve(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of a location and the location's path in it.

    Raises:
        UsageError: The URL's protocol is unknown, or the package that serves it is not installed.
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ValueError, ImportError) as error:
        raise UsageError(
            f"{url}: no file system for this address ({error}); correct it or install the package"
        ) from error
    return filesystem, path


def join(base: str, *parts: str) -> str:
    """Join names to a folder's location with single slashes, whatever the file system."""
    return posixpath.join(base, *parts)


def list_files(location: str) -> list[str]:
    """Return the files of a location, sorted: one file, the matches of a glob, or all files below a folder.

    A file that exists is taken as named, even with `[` or `*` in its name. Below a folder or a glob, names that begin
    with a dot or an underscore (temporary files, `_SUCCESS`) are left out.

    Returns:
        Absolute paths on a local disk, full URLs elsewhere.

    Raises:
        UsageError: Nothing is there, or it may not be read.
        RunError: The store failed.
    """
    filesystem, path = resolve(location)
    try:
        names = _find(filesystem, path)
    except PermissionError as error:
        raise UsageError(f"{location} may not be read ({error}); check the credentials") from error
    except Exception as error:
        cause = f"{type(error).__name__}: {error}"
        raise RunError(f"{location} cannot be listed ({cause}); check address, credentials and network") from error
    if not names:
        raise UsageError(f"no file at {location}; check the path (a file, a folder, or a glob such as data/*.parquet)")
    return [_url(filesystem, name) for name in sorted(names)]


def _find(filesystem: Any, path: str) -> list[str]:
    """Return the paths of the files of one location, in any order."""
    if filesystem.isfile(path):
        return [path]
    if filesystem.isdir(path):
        return [name for name in filesystem.find(path) if _is_visible(name[len(path) :])]
    if not _GLOB_CHARACTERS.intersection(path):
        return []
    matches = filesystem.glob(path, detail=True).items()
    return [name for name, info in matches if info["type"] == "file" and _is_visible(posixpath.basename(name))]


def _is_visible(relative_path: str) -> bool:
    return not any(part.startswith((".", "_")) for part in relative_path.split("/"))


def _url(filesystem: Any, path: str) -> str:
    return path if isinstance(filesystem, LocalFileSystem) else str(filesystem.unstrip_protocol(path))


def exists(url: str) -> bool:
    """Tell whether a file or a folder is there now."""
    filesystem, path = resolve(url)
    return bool(filesystem.exists(path))


def read_bytes(url: str) -> bytes:
    """Return a file's bytes; raises FileNotFoundError where it is absent."""
    filesystem, path = resolve(url)
    return bytes(filesystem.cat_file(path))


def read_text(url: str) -> str:
    """Return a UTF-8 file's text, line ends untouched; raises FileNotFoundError where it is absent."""
    return read_bytes(url).decode("utf-8")


def read_table(url: str, columns: list[str] | None = None) -> pa.Table:
    """Return a Parquet file as a table, or some of its columns; raises FileNotFoundError where it is absent."""
    filesystem, path = resolve(url)
    with filesystem.open(path, "rb") as file, pq.ParquetFile(file) as parquet:
        return parquet.read(columns=columns)


@contextlib.contextmanager
def open_atomic(url: str) -> Iterator[IO[bytes]]:
    """Open a file for writing bytes that appears under its name at the end of the block, whole, or not at all.

    Folders are made as needed. An exception in the block leaves the name as it was; a killed process leaves at most a
    hidden temporary file (`.<name>.<random>.tmp`), which `list_files` skips.
    """
    filesystem, path = resolve(url)
    if isinstance(filesystem, LocalFileSystem):
        with _replacing(pathlib.Path(path)) as temporary, temporary.open("xb") as file:
            yield file
    else:
        buffer = BytesIO()
        yield buffer
        filesystem.pipe_file(path, buffer.getvalue())


@contextlib.contextmanager
def _replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
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


def remove(url: str) -> None:
    """Remove a file, or a folder with all that is in it; what is absent already is no error."""
    filesystem, path = resolve(url)
    with contextlib.suppress(FileNotFoundError):
        filesystem.rm(path, recursive=True)


def download_tree(url: str, folder: str | os.PathLike[str]) -> None:
    """Copy all files below a location, hidden ones too, into a local folder; each file appears whole.

    Raises:
        UsageError: Nothing is there.
    """
    filesystem, path = resolve(url)
    names = sorted(filesystem.find(path))
    if not names:
        raise UsageError(f"no files below {url}; check the address")
    for name in names:
        with _replacing(pathlib.Path(folder) / posixpath.relpath(name, path)) as temporary:
            filesystem.get_file(name, str(temporary))


def upload_tree(folder: str | os.PathLike[str], url: str) -> None:
    """Copy all files below a local folder to a location, in sorted order; each file appears whole.

    What the location holds besides stays.
    """
    filesystem, path = resolve(url)
    for source in sorted(file for file in pathlib.Path(folder).rglob("*") if file.is_file()):
        target = posixpath.join(path, source.relative_to(folder).as_posix())
        if isinstance(filesystem, LocalFileSystem):
            with _replacing(pathlib.Path(target)) as temporary:
                filesystem.get_file(str(source), str(temporary))
        else:
            filesystem.put_file(str(source), target)


@contextlib.contextmanager
def local_copy(location: str) -> Iterator[str]:
    """Yield a local path with the content of a location: the location itself where it is local or no URL, else a copy.

    The copy is deleted at the end of the block. A name that is no URL, such as a model's on a hub, is passed on.

    Raises:
        UsageError: Nothing is there.
    """
    if "://" not in location or is_local(location):
        yield local_path(location) if "://" in location else location
        return
    with tempfile.TemporaryDirectory(prefix="mrc-copy-") as folder:
        download_tree(location, folder)
        yield folder


def is_local(url: str) -> bool:
    """Tell whether a location is on a disk of this machine."""
    return isinstance(resolve(url)[0], LocalFileSystem)


def local_path(url: str) -> str:
    """Return a local location as an absolute path."""
    return resolve(url)[1]


def absolute(location: str, *, new: bool = False) -> str:
    """Return a local path as an absolute one, which means the same in every process; a URL, or a name, as it is.

    Args:
        location: A path, a URL, or the name of something on a hub.
        new: Whether it is a path although nothing is there yet.
    """
    if "://" in location or not (new or os.path.exists(os.path.expanduser(location))):
        return location
    return local_path(os.path.expanduser(location))


def list_folders(url: str) -> list[str]:
    """Return the folders directly below a location, sorted; none where nothing is there."""
    filesystem, path = resolve(url)
    with contextlib.suppress(FileNotFoundError):
        entries = filesystem.ls(path, detail=True)
        return sorted(_url(filesystem, entry["name"].rstrip("/")) for entry in entries if entry["type"] == "directory")
    return []


def stamp(url: str) -> str:
    """Return what changes when a file's content does, without reading it: size, and ETag or time of change."""
    filesystem, path = resolve(url)
    info = filesystem.info(path)
    changed = next((info[key] for key in ("ETag", "etag", "LastModified", "mtime", "created") if info.get(key)), "")
    return f"{info.get('size')} {changed}"
