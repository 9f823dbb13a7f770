"""Results of Ray's tasks and their errors, and the nodes that tasks and workers run on."""

import logging
import time
from collections.abc import Mapping
from typing import Any

import ray

from mrc.errors import MrcError

logger = logging.getLogger("mrc")

PATIENCE_S = 20.0
"""How long work may wait to begin before it is told what it waits for."""
REPEAT_S = 300.0
"""When that is told again."""

Node = Mapping[str, float]
"""Resources of a node that lives, as Ray tells them."""


def living_nodes() -> list[Node]:
    """Return the resources of each node that Ray knows to live."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node["Resources"] for node in nodes if node["Alive"]]


def results(refs: Any) -> Any:
    """Return what `ray.get` does; an error that mrc explains, or of the store, is raised as itself.

    Ray's own has the traceback of the task in its text. Where no node has a CPU for tasks, Ray waits without a word;
    this tells of it.

    Args:
        refs: A reference to a result, or a list of them.
    """
    pending = refs if isinstance(refs, list) else [refs]
    tell = time.monotonic() + PATIENCE_S
    while pending:
        _, pending = ray.wait(pending, num_returns=len(pending), timeout=PATIENCE_S, fetch_local=False)
        if pending and time.monotonic() >= tell and not any(node.get("CPU", 0) >= 1 for node in living_nodes()):
            logger.warning("waiting for nodes: the cluster has none with a CPU for tasks")
            tell = time.monotonic() + REPEAT_S
    try:
        return ray.get(refs)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, MrcError | OSError) else error from None
