"""Folders with all that is in them, copied between this machine and a location."""

import contextlib
import os
import pathlib
import posixpath
import tempfile
from collections.abc import Iterator
from functools import partial
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from mrc.errors import UsageError
from mrc.storage.failures import located, locating
from mrc.storage.files import replacing
from mrc.storage.patience import persistently
from mrc.storage.places import files_below, full_url, is_local, local_path, resolve


@locating
def download_tree(url: str, folder: str | os.PathLike[str]) -> None:
    """Copy all files below a location, hidden ones too, into a local folder; each file appears whole.

    One that fails is tried again.

    Raises:
        UsageError: Nothing is there, or a name leads out of it.
    """
    filesystem, path = resolve(url)
    names = sorted(persistently(lambda: files_below(filesystem, path)))
    if not names:
        raise UsageError(f"no files below {url}; check the address")
    for name in names:
        target = pathlib.PurePosixPath(posixpath.relpath(name, path))
        if ".." in target.parts:
            raise UsageError(
                f"{full_url(filesystem, name)}: a name with '..' in it leads out of {url}; remove that file"
            )
        with replacing(pathlib.Path(folder) / target) as temporary:
            persistently(partial(_get, filesystem, name, temporary))


def _get(filesystem: Any, path: str, target: pathlib.Path) -> None:
    with located(full_url(filesystem, path)):
        filesystem.get_file(path, str(target))


def _put(filesystem: Any, source: pathlib.Path, path: str) -> None:
    with located(full_url(filesystem, path)):
        filesystem.put_file(str(source), path)


def upload_tree(folder: str | os.PathLike[str], url: str) -> None:
    """Copy all files below a local folder to a location, in sorted order; each file appears whole.

    One that fails is tried again. What the location holds besides stays.
    """
    filesystem, path = resolve(url)
    for source in sorted(file for file in pathlib.Path(folder).rglob("*") if file.is_file()):
        target = posixpath.join(path, source.relative_to(folder).as_posix())
        if isinstance(filesystem, LocalFileSystem):
            with replacing(pathlib.Path(target)) as temporary:
                filesystem.get_file(str(source), str(temporary))
        else:
            persistently(partial(_put, filesystem, source, target))


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
