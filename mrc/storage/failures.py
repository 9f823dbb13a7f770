"""What goes wrong with a store: as an OSError with the location in it, and as the one line that ends a job.

Clients of stores raise exceptions of their own where a connection fails, and what they do translate (a 403 is a
PermissionError) does not say where it was.
"""

import errno
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, TypeVar

from mrc.errors import MrcError, RunError, UsageError

_CLIENTS = frozenset({"aiobotocore", "aiohttp", "azure", "botocore", "gcsfs", "google"})
"""Packages whose exceptions are no OSErrors."""
_CODES = {
    PermissionError: errno.EACCES,
    FileNotFoundError: errno.ENOENT,
    FileExistsError: errno.EEXIST,
    IsADirectoryError: errno.EISDIR,
    NotADirectoryError: errno.ENOTDIR,
    TimeoutError: errno.ETIMEDOUT,
}

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def located(url: str) -> Iterator[None]:
    """Raise what a store's client raises in the block as an OSError of its kind, with the location in it."""
    try:
        yield
    except Exception as error:
        found = _located(error, url)
        if found is None:
            raise
        raise found from error


def locating(function: Callable[Concatenate[str, P], T]) -> Callable[Concatenate[str, P], T]:
    """Let a function of a location raise what `located` does."""

    @functools.wraps(function)
    def call(url: str, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with located(url):
            return function(url, *args, **kwargs)

    return call


def _located(error: Exception, url: str) -> OSError | None:
    """Return the OSError that an exception stands for; None where it is one with a location, or not of a store."""
    if isinstance(error, OSError):
        if error.filename is not None:
            return None
        code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), error.errno or errno.EIO)
        return OSError(code, _line(error.strerror or str(error)), url)
    if type(error).__module__.partition(".")[0] in _CLIENTS:
        return OSError(errno.EIO, _line(f"{type(error).__name__}: {error}"), url)
    return None


def _line(text: str) -> str:
    return " ".join(text.split())


@contextmanager
def explained() -> Iterator[None]:
    """Raise what a store raises in the block as the error that ends a job with one line; also a decorator.

    Raises:
        UsageError: It does not let this process in, or something is not there.
        RunError: It failed.
    """
    try:
        yield
    except OSError as error:
        raise explain(error) from error


def explain(error: OSError) -> MrcError:
    """Return the error that ends a job with one line."""
    if isinstance(error, PermissionError):
        return UsageError(
            f"the store refused ({_text(error)}): check the address, the credentials, and what they may do there"
        )
    if isinstance(error, FileNotFoundError):
        return UsageError(f"{_text(error)}: check the address")
    return RunError(
        f"the store failed ({type(error).__name__}: {_text(error)}); once it answers, the same command goes on"
    )


def _text(error: OSError) -> str:
    return _line(str(error) if error.filename is None else f"{error.filename}: {error.strerror}")
