"""A unit that keeps ending the process that reads it -> the rows that do, found by halving.

A probe is an actor that reads some of a unit's rows and answers them, and writes nothing. Where it dies, or fails, the
rows that it was given are halved, down to single ones. Each death costs a start of the model; 2,048 rows with one bad
one among them cost about twelve.
"""

import logging
from collections.abc import Sequence
from typing import Any

import ray

from mrc.answering.pipeline import Shape
from mrc.answering.stages import UnitError
from mrc.answering.work import Order, Work, load_reader, read_and_window
from mrc.errors import MrcError, RunError
from mrc.tasks import living_node_ids, results

logger = logging.getLogger("mrc")

_MOST_LOST_NODES = 3
"""So often is a probe that ended with a node of the cluster taken to have ended for that."""


class _Probe:
    """Reads and answers rows, and forgets the answers."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._reader = load_reader(work)

    def reads(self, order: Order, items: frozenset[int]) -> str:
        """Return "" where the items of a unit can be read, else what was raised."""
        try:
            texts, windows = read_and_window(self._work, order, items)
            self._reader.read_located(windows, len(texts.examples))
        except MrcError:
            raise
        except OSError as error:
            raise UnitError(f"{type(error).__name__}: {error}", of_the_store=True) from error
        except BaseException as error:  # a panic of the tokenizer's Rust is no Exception
            return f"{type(error).__name__}: {error}"
        return ""


class Isolation:
    """Finds the rows of units that end their process."""

    def __init__(self, work: "ray.ObjectRef[Work]", shape: Shape) -> None:
        """Start nothing yet; the probe serves all units of a block."""
        self._work = work
        self._options = {"num_cpus": shape.actor_cpus, "num_gpus": 1 if shape.use_gpu else 0, "max_restarts": 0}
        self._probe: Any = None

    def find(self, order: Order, num_items: int) -> dict[int, tuple[str, str]]:
        """Return the items of a unit that cannot be read, each alone, with the reason and what happened.

        None are found where it was not the rows: nodes were lost, or only several of them together do it.

        Raises:
            RunError: Even none of its rows end the process.
        """
        logger.warning("unit %s keeps ending its process: looking for the rows that do it", order.unit.name)
        if self._fails(order, ()) and (detail := self._fails(order, ())):
            raise RunError(f"unit {order.unit.name} ends its process before any of its rows is read: {detail}")
        found = self._search(order, range(num_items))
        for item, (_, detail) in found.items():
            logger.warning("unit %s, item %d cannot be read: %s", order.unit.name, item, detail)
        return found

    def __enter__(self) -> "Isolation":
        """Return itself."""
        return self

    def __exit__(self, *raised: object) -> None:
        """End the probe, so that its resources are free."""
        if self._probe is not None:
            ray.kill(self._probe)

    def _search(self, order: Order, items: Sequence[int]) -> dict[int, tuple[str, str]]:
        detail = self._fails(order, items)
        if not detail:
            return {}
        if len(items) == 1:
            # Twice alone: a machine that is short of memory ends the innocent, too.
            detail = self._fails(order, items)
            return {items[0]: ("ends_the_process", detail)} if detail else {}
        middle = len(items) // 2
        return self._search(order, items[:middle]) | self._search(order, items[middle:])

    def _fails(self, order: Order, items: Sequence[int]) -> str:
        """Return how a process fails that reads some items of a unit, "" where it does not."""
        detail = ""
        for _ in range(_MOST_LOST_NODES):
            nodes = living_node_ids()
            if self._probe is None:
                # Ray passes what it refers to.
                self._probe = ray.remote(_Probe).options(**self._options).remote(self._work)
            try:
                return str(results(self._probe.reads.remote(order, frozenset(items))))
            except ray.exceptions.RayActorError as error:
                self._probe = None
                detail = "the process ended: " + str(error).strip().splitlines()[-1][:300]
            if nodes <= living_node_ids():
                break
            logger.warning("unit %s: a node was lost meanwhile, so this says nothing of its rows", order.unit.name)
        return detail
