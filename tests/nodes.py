"""Ray clusters of several nodes on this machine, each a set of processes of its own, that may be lost."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any
from unittest import mock

import psutil
from ray.cluster_utils import Cluster


@contextlib.contextmanager
def nodes(environment: Mapping[str, str], number: int, *, num_cpus: int) -> Iterator[Cluster]:
    """Run a cluster of so many nodes with so many CPUs each, and a head that only keeps the books."""
    with mock.patch.dict(os.environ, environment, clear=True):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            for _ in range(number):
                cluster.add_node(num_cpus=num_cpus)
            yield cluster
        finally:
            cluster.shutdown()  # type: ignore[no-untyped-call]


def node_of(cluster: Cluster, pid: int) -> Any:
    """Return the node that a worker process belongs to."""
    raylet = psutil.Process(pid).ppid()
    [node] = [node for node in cluster.worker_nodes if raylet in _raylets(node)]
    return node


def lose(cluster: Cluster, node: Any) -> None:
    """End a node, with all that is in its memory, at once."""
    # Its workers would work on until they notice that their raylet is gone.
    for raylet in map(psutil.Process, _raylets(node)):
        for process in [raylet, *raylet.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    cluster.remove_node(node, allow_graceful=False)


def _raylets(node: Any) -> list[int]:
    return [started.process.pid for started in node.all_processes["raylet"]]
