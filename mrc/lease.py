"""One driver for an output folder: it holds a lease there, and beats while it lives.

    out/_driver.json    who it is, and a number that rises every few seconds

A second driver is refused while the first one lives. Of one that was killed, a driver on the same machine finds the
process gone and goes on at once; one elsewhere waits until beats would have come. Two that slip through together, on a
store without exclusive creation, write the same files under the same names: nothing is doubled by it, and one of them
is told with its next beat.
"""

import json
import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from mrc import storage
from mrc.errors import RunError, UsageError

NAME = "_driver.json"
BEAT_S = 5.0
PATIENCE_S = 30.0
"""A driver on another machine that has not beaten for so long is gone."""
_CLOCK_S = 10.0
# The start of a process is reckoned from the clock, which may have been set since.

logger = logging.getLogger("mrc")


@contextmanager
def lease(output: str, *, beat_s: float = BEAT_S, patience_s: float = PATIENCE_S) -> Iterator[Callable[[], None]]:
    """Hold an output folder for the block.

    Yields:
        A check to call now and then: it raises RunError where another driver has taken over.

    Raises:
        UsageError: Another driver holds the folder, or it may not be written to.
    """
    url = storage.join(output, NAME)
    mine = {"driver": uuid.uuid4().hex, "machine": _machine(), "host": platform.node(), **_process()}
    storage.persistently(lambda: _acquire(url, mine, patience_s))
    released, lost = threading.Event(), threading.Event()
    beating = threading.Thread(target=_beat, args=(url, mine, beat_s, released, lost), name="mrc-lease", daemon=True)
    beating.start()

    def check() -> None:
        if lost.is_set():
            raise RunError(f"another driver has taken over {output}; this one stops")

    try:
        yield check
    finally:
        released.set()
        beating.join(beat_s)
        if not lost.is_set():
            with suppress(Exception):  # the store may be what ended the run
                # Not one of a driver that has taken over since the last beat.
                if (_read(url) or mine).get("driver") == mine["driver"]:
                    storage.remove(url)


def _acquire(url: str, mine: dict[str, Any], patience_s: float) -> None:
    try:
        if storage.create(url, _bytes(mine)):
            return
        other = _read(url)
        if other is not None and _lives(url, other, patience_s):
            raise UsageError(
                "process {} on {} is writing to {}: wait for it, stop it, or choose another --output".format(
                    *_who(other), url.rpartition("/")[0]
                )
            )
        storage.write_bytes(url, _bytes(mine))
    except (PermissionError, FileNotFoundError, NotADirectoryError) as error:
        folder = url.rpartition("/")[0]
        raise UsageError(f"--output {folder} cannot be written to ({error}); check address and credentials") from error


def _lives(url: str, other: dict[str, Any], patience_s: float) -> bool:
    """Tell whether the driver that wrote a lease lives: look for its process, or wait for a beat."""
    if other.get("machine") == _machine():
        with suppress(psutil.NoSuchProcess, KeyError):
            process = psutil.Process(other["pid"])
            same = abs(process.create_time() - other["started"]) < _CLOCK_S
            return same and process.status() != psutil.STATUS_ZOMBIE
        return False
    logger.info("process %s on %s held %s: waiting %g s for a sign of life", *_who(other), url, patience_s)
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        time.sleep(min(1.0, patience_s / 10))
        now = _read(url)
        if now != other:
            return now is not None
    return False


def _beat(url: str, mine: dict[str, Any], beat_s: float, released: threading.Event, lost: threading.Event) -> None:
    beat = 0
    while not released.wait(beat_s):
        beat += 1
        with suppress(Exception):  # a store that fails now may answer the next time
            there = _read(url)
            if there is not None and there.get("driver") != mine["driver"]:
                lost.set()
                return
            storage.write_bytes(url, _bytes({**mine, "beat": beat}))


def _read(url: str) -> dict[str, Any] | None:
    """Return a lease; an empty one where it is torn, None where there is none."""
    try:
        value = json.loads(storage.read_text(url))
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _bytes(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


def _process() -> dict[str, Any]:
    return {"pid": os.getpid(), "started": psutil.Process().create_time()}


def _who(other: dict[str, Any]) -> tuple[Any, Any]:
    return other.get("pid"), other.get("host")


def _machine() -> str:
    """Name what a process id means something in: a machine since its start, and of containers each."""
    parts = [platform.node()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        with suppress(OSError):
            parts.append(os.readlink(path) if path.startswith("/proc/self") else Path(path).read_text().strip())
    return "/".join(parts)
