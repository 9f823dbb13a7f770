"""Locations: what is at a path, a URL or a glob, without reading it. Listings are never cached."""

import contextlib
import os
import posixpath
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from mrc.errors import RunError, UsageError
from mrc.storage.failures import locating

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


@locating
def exists(url: str) -> bool:
    """Tell whether a file or a folder is there now."""
    filesystem, path = resolve(url)
    return bool(filesystem.exists(path))


@locating
def stamp(url: str) -> str:
    """Return what changes when a file's content does, without reading it: size, and ETag or time of change."""
    filesystem, path = resolve(url)
    info = filesystem.info(path)
    changed = next((info[key] for key in ("ETag", "etag", "LastModified", "mtime", "created") if info.get(key)), "")
    return f"{info.get('size')} {changed}"


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
    return [full_url(filesystem, name) for name in sorted(names)]


def _find(filesystem: Any, path: str) -> list[str]:
    """Return the paths of the files of one location, in any order."""
    # Not isfile and isdir, which take a store that fails for one that has nothing there.
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if filesystem.info(path)["type"] == "file":
            return [path]
        return [name for name in files_below(filesystem, path) if _is_visible(name[len(path) :])]
    if not _GLOB_CHARACTERS.intersection(path):
        return []
    matches = filesystem.glob(path, detail=True).items()
    return [name for name, info in matches if info["type"] == "file" and _is_visible(posixpath.basename(name))]


def files_below(filesystem: Any, path: str) -> list[str]:
    """Return the paths of all files below a folder, hidden ones too, in any order; of a file its own."""
    # Some stores go on naming a folder for a while whose last file is gone, which find takes for a file; and consoles
    # make an empty object for a folder, whose name ends with a slash.
    found = filesystem.find(path, detail=True).items()
    return [name for name, info in found if info.get("type") != "directory" and not name.endswith("/")]


def _is_visible(relative_path: str) -> bool:
    return not any(part.startswith((".", "_")) for part in relative_path.split("/"))


@locating
def list_folders(url: str) -> list[str]:
    """Return the folders directly below a location, sorted; none where nothing is there."""
    filesystem, path = resolve(url)
    with contextlib.suppress(FileNotFoundError):
        entries = filesystem.ls(path, detail=True)
        return sorted(
            full_url(filesystem, entry["name"].rstrip("/")) for entry in entries if entry["type"] == "directory"
        )
    return []


@locating
def list_names(url: str) -> list[str]:
    """Return the names of the files directly below a location, sorted; none where nothing is there."""
    filesystem, path = resolve(url)
    with contextlib.suppress(FileNotFoundError):
        entries = filesystem.ls(path, detail=True)
        names = (posixpath.basename(entry["name"]) for entry in entries if entry["type"] == "file")
        return sorted(name for name in names if name)  # without that of the folder, see files_below
    return []


def full_url(filesystem: Any, path: str) -> str:
    """Return a path of a file system as `list_files` does: as it is on a local disk, as a URL elsewhere."""
    return path if isinstance(filesystem, LocalFileSystem) else str(filesystem.unstrip_protocol(path))
