"""Results of Ray's tasks and their errors, and the nodes that tasks and workers run on."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ray

from mrc.errors import MrcError

logger = logging.getLogger("mrc")

_PATIENCE_S = 20.0
_REPEAT_S = 300.0

Node = Mapping[str, float]
"""Resources of a node that lives, as Ray tells them."""


def living_nodes() -> list[Node]:
    """Return the resources of each node that Ray knows to live."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node["Resources"] for node in nodes if node["Alive"]]


class Reminder:
    """Says when to tell what work waits for that has not begun: after a while, and now and then from there on."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin to wait."""
        self._next = time.monotonic() + _PATIENCE_S

    def is_due(self) -> bool:
        """Tell whether it is time, once each time."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + _REPEAT_S
        return True


@contextlib.contextmanager
def watched_nodes(lack: Callable[[Sequence[Node]], str]) -> Iterator[None]:
    """Tell now and then, from a thread beside, what the cluster lacks: Ray Data waits for it without a word.

    Args:
        lack: Says what of the nodes that live keeps all work waiting; "" where nothing does.
    """
    is_over = threading.Event()

    def watch() -> None:
        reminder = Reminder()
        while not is_over.wait(_PATIENCE_S / 2):
            try:
                lacking = lack(living_nodes())
            except Exception:  # the cluster does not answer, which the work itself finds out
                continue
            if not lacking:
                reminder.restart()
            elif reminder.is_due():
                logger.warning("waiting for nodes: %s", lacking)

    watcher = threading.Thread(target=watch, name="nodes", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join(_PATIENCE_S)


def results(refs: Any) -> Any:
    """Return what `ray.get` does; an error that mrc explains, or of the store, is raised as itself.

    Ray's own has the traceback of the task in its text. Where no node has a CPU for tasks, Ray waits without a word;
    this tells of it.

    Args:
        refs: A reference to a result, or a list of them.
    """
    pending = refs if isinstance(refs, list) else [refs]
    reminder = Reminder()
    while pending:
        _, pending = ray.wait(pending, num_returns=len(pending), timeout=_PATIENCE_S, fetch_local=False)
        if pending and not any(node.get("CPU", 0) >= 1 for node in living_nodes()) and reminder.is_due():
            logger.warning("waiting for nodes: the cluster has none with a CPU for tasks")
    try:
        return ray.get(refs)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, MrcError | OSError) else error from None
