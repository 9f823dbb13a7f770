"""Isolation where rows end their process and nodes are lost: a script, for the cluster that RAY_ADDRESS names."""

import os
import pathlib
import signal
import sys
import time
from collections.abc import Set
from typing import Any
from unittest import mock

import ray

from mrc.answering import isolate
from mrc.answering.isolate import Isolation
from mrc.answering.pipeline import Shape
from mrc.answering.work import Order
from mrc.launch import start_ray
from mrc.sources import Unit

ITEMS = 4
DEADLY, UNLUCKY = 1, 2
"""One of them ends its process each time; the other is read on nodes that are lost."""


class Probe:
    """Stands in for the process that reads: it only dies as that would."""

    def __init__(self, losses: str) -> None:
        """Take a file that has a letter for each node that is still to be lost."""
        self._losses = pathlib.Path(losses)

    def reads(self, order: Order, items: Set[int]) -> str:
        """Die, or find that all is well."""
        if DEADLY in items:
            os._exit(1)
        if UNLUCKY in items and (left := self._losses.read_text()):
            self._losses.write_text(left[1:])
            os.kill(os.getppid(), signal.SIGKILL)  # the raylet, and its node with it
            time.sleep(600)
        return ""


def main(losses: str) -> None:
    """Print which of a unit's items are found."""
    start_ray()
    shape = Shape(num_actors=1, use_gpu=False, actor_cpus=1.0, task_cpus=1.0, most_tasks=None, threads=1)
    work: Any = ray.put(losses)
    with mock.patch.object(isolate, "_Probe", Probe), Isolation(work, shape) as isolation:
        found = isolation.find(Order(Unit(source="sample://test", format="parquet", stop=ITEMS)), ITEMS)
    print("found", sorted(found), "of", ITEMS)


if __name__ == "__main__":
    main(sys.argv[1])
