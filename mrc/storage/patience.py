"""Waiting for a store: for many answers at once, again where it fails, and not for ever."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import tenacity

from mrc.errors import MrcError

_PARALLEL_REQUESTS = 32
_ATTEMPTS = 4
_LONGEST_WAIT_S = 30.0
_TIMEOUT_S = 600.0
# Waiting does not change these.
_FINAL_ERRORS = (MrcError, FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)

T = TypeVar("T")


def for_each(function: Callable[[str], T], urls: Sequence[str]) -> list[T]:
    """Return what a function that waits for the store gives for each URL, asked for many at a time, in order."""
    with ThreadPoolExecutor(_PARALLEL_REQUESTS) as pool:
        return list(pool.map(function, urls))


def persistently(operation: Callable[[], T], *, timeout_s: float = _TIMEOUT_S) -> T:
    """Return what an operation on a store gives, tried again with growing waits where it fails or does not end.

    An operation has to be one that may be done twice: one that hung may still end after its successor.

    Args:
        operation: Reads, or writes under names that it would overwrite.
        timeout_s: Seconds after which an attempt is given up.

    Raises:
        Exception: What the last of four attempts raised, or the first one where waiting does not help; TimeoutError
            where it did not end.
    """
    attempts = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        # Not wait_exponential_jitter: what sets its first wait has another name in each version.
        wait=tenacity.wait_exponential(multiplier=0.5, max=_LONGEST_WAIT_S) + tenacity.wait_random(0, 1),
        retry=tenacity.retry_if_exception(
            lambda error: isinstance(error, Exception) and not isinstance(error, _FINAL_ERRORS)
        ),
        reraise=True,
    )
    return attempts(_in_time, operation, timeout_s)  # type: ignore[no-any-return]


def _in_time(operation: Callable[[], T], timeout_s: float) -> T:
    """Run an operation in a thread, and leave it to itself where it does not end in time."""
    outcome: list[T] = []
    errors: list[BaseException] = []

    def attempt() -> None:
        try:
            outcome.append(operation())
        except BaseException as error:  # it is raised again below
            errors.append(error)

    # Not a pool's thread: at the end of a process Python waits for those.
    thread = threading.Thread(target=attempt, name="mrc-store", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if errors:
        raise errors[0]
    if not outcome:
        raise TimeoutError(f"the store did not answer within {timeout_s:g} s")
    return outcome[0]
