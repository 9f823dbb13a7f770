"""Results of Ray's tasks and their errors, and the nodes that tasks and workers run on."""

import contextlib
import importlib
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mrc import storage
from mrc.errors import MrcError, UsageError

logger = logging.getLogger("mrc")

_PATIENCE_S = 20.0
_REPEAT_S = 300.0
_LOOK_S = 60.0
_CGROUP = Path("/sys/fs/cgroup")

T = TypeVar("T")

Node = Mapping[str, float]
"""Resources of a node that lives, as Ray tells them, and `cores`: of its machine, as far as they are known."""


def while_ray_starts(start_ray: Callable[[], None], load: Callable[[], T]) -> T:
    """Start Ray, whose processes take seconds to come up, and load Ray Data and more in a thread meanwhile.

    Not the other way round: Linux ends Ray's processes with the thread that started them.

    Args:
        start_ray: Connects to a cluster.
        load: Imports and reads what else is needed then.

    Returns:
        What `load` did; raises what either raised.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(importlib.import_module, "ray.data")
        loaded = pool.submit(load)
        start_ray()
        return loaded.result()


def cores_here() -> int:
    """Return how many cores this process may use: those it is pinned to, or what its container may use of them."""
    pinned = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(pinned, _cores_of_container())))


def _cores_of_container() -> float:
    """Return a container's limit of CPU time as cores, inf without one: as many threads more would be throttled."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        return math.inf if quota == "max" else int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError):  # the older interface
        limit, every = (int((_CGROUP / "cpu" / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return limit / every if limit > 0 else math.inf
    return math.inf


def living_nodes() -> list[Node]:
    """Return the resources of each node that Ray knows to live.

    Ray may have been told of other CPUs than there are. On this machine that shows; of others Ray is believed.
    """
    here = _address_here()
    return [
        {
            **node["Resources"],
            "cores": cores_here() if node["NodeManagerAddress"] == here else math.ceil(node["Resources"].get("CPU", 0)),
        }
        for node in _living()
    ]


def living_node_ids() -> frozenset[str]:
    """Return Ray's names of the nodes that it knows to live; a node that comes back has another."""
    return frozenset(node["NodeID"] for node in _living())


def _address_here() -> str:
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def _living() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"]]


def check_seen(**places: str) -> None:
    """Refuse places on a disk of this machine that another machine of the cluster does not see.

    Args:
        **places: Flag -> a file or folder that is there, an URL, or nothing.

    Raises:
        UsageError: Names the flag, the place and the machine.
    """
    here = _address_here()
    # One node of each machine; a head without CPUs gets no work.
    others = {
        node["NodeManagerAddress"]: node["NodeID"]
        for node in _living()
        if node["NodeManagerAddress"] != here and node["Resources"].get("CPU", 0) > 0
    }
    if not others:
        return
    local = {
        flag: place for flag, place in places.items() if place.startswith(("/", "file:")) and storage.exists(place)
    }
    looks = {
        _unseen.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(local): address
        for address, node in others.items()
    }
    answered, _ = ray.wait(list(looks), num_returns=len(looks), timeout=_LOOK_S)
    for look in answered:
        with contextlib.suppress(ray.exceptions.RayError):  # a node that is lost now will be missed by others
            for flag in ray.get(look):
                raise UsageError(
                    f"--{flag} {local[flag]} is not seen by the cluster's machine {looks[look]}: give a URL of a "
                    "store (s3://…), or a folder that all machines share"
                )


@ray.remote(num_cpus=0)
def _unseen(places: Mapping[str, str]) -> list[str]:
    return [flag for flag, place in places.items() if not storage.exists(place)]


class NodeWatch:
    """Tells what the cluster lacks for work that has not begun: after a while, and now and then from there on."""

    def __init__(self, lack: Callable[[Sequence[Node]], str]) -> None:
        """Begin to wait.

        Args:
            lack: Says what of the nodes that live keeps all work waiting; "" where nothing does.
        """
        self._lack = lack
        self.restart()

    def restart(self) -> None:
        """Begin to wait anew."""
        self._next = time.monotonic() + _PATIENCE_S

    def look(self) -> None:
        """Tell what is lacking where it is time to, and begin anew where nothing is."""
        lacking = self._lack(living_nodes())
        if not lacking:
            self.restart()
        elif time.monotonic() >= self._next:
            logger.warning("waiting for nodes: %s", lacking)
            self._next = time.monotonic() + _REPEAT_S


@contextlib.contextmanager
def watched_nodes(lack: Callable[[Sequence[Node]], str]) -> Iterator[None]:
    """Have a NodeWatch look from a thread beside what is done here: Ray Data waits for nodes without a word."""
    is_over = threading.Event()

    def look_on() -> None:
        watch = NodeWatch(lack)
        while not is_over.wait(_PATIENCE_S / 2):
            # A cluster that does not answer is what the work itself finds out.
            with contextlib.suppress(Exception):
                watch.look()

    watcher = threading.Thread(target=look_on, name="nodes", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join(_PATIENCE_S)


def _cpus_lacking(nodes: Sequence[Node]) -> str:
    return "" if any(node.get("CPU", 0) >= 1 for node in nodes) else "the cluster has none with a CPU for tasks"


def results(refs: Any) -> Any:
    """Return what `ray.get` does; an error that mrc explains, or of the store, is raised as itself.

    Ray's own has the traceback of the task in its text. Where no node has a CPU for tasks, Ray waits without a word;
    this tells of it.

    Args:
        refs: A reference to a result, or a list of them.
    """
    pending = refs if isinstance(refs, list) else [refs]
    watch = NodeWatch(_cpus_lacking)
    while pending:
        _, pending = ray.wait(pending, num_returns=len(pending), timeout=_PATIENCE_S, fetch_local=False)
        if pending:
            watch.look()
    try:
        return ray.get(refs)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, MrcError | OSError) else error from None
