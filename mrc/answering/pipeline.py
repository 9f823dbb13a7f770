"""Orders -> commits: Ray Data streams units through the three steps, and the driver sees records only.

An actor pool holds the model, one actor a GPU or a share of a node's threads. A task or an actor that dies is started
again by Ray, a few times; what still has no record at the end is the caller's to see to.
"""

import math
import pickle
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from mrc.answering.config import AnswerConfig
from mrc.answering.records import UnitRecord
from mrc.answering.stages import CommitUnit, FindSpans, ReadUnit, first_row
from mrc.answering.work import Order, Work
from mrc.errors import MrcError, UsageError
from mrc.tasks import Node, cores_here

ROUND_UNITS = 4_096
"""Units that one execution of Ray Data streams: each is a block that the driver keeps account of."""

_STALL_S = 600
_MANY_CPUS = 8
_ACTOR_BYTES = 2 * 2**30


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What the job takes of a cluster."""

    num_actors: int
    use_gpu: bool
    actor_cpus: float
    task_cpus: float
    """Of a task that reads or writes a unit."""
    most_tasks: int | None
    """How many of them read at a time, and how many write; None where their CPUs limit that."""
    threads: int | None
    """CPU threads of an actor's model; None on a GPU."""

    def lack(self, nodes: Sequence[Node]) -> str:
        """Say what of a cluster's nodes keeps every actor waiting; "" where one can run."""
        if self.use_gpu and not any(node.get("GPU", 0) >= 1 for node in nodes):
            return "the cluster has none with a GPU"
        if not any(node.get("CPU", 0) >= self.actor_cpus for node in nodes):
            return "the cluster has none with a CPU"
        return ""


def shape_of(config: AnswerConfig, nodes: Sequence[Node], num_units: int) -> Shape:
    """Settle how many actors run where; refuse at once what would wait for resources for ever.

    CPUs are bookkeeping. On a small cluster everything takes a quarter of one, so that even one CPU runs an actor and
    the tasks around it; on a large one a task takes a whole one.

    Args:
        config: What was asked for.
        nodes: See `living_nodes`.
        num_units: What there is to do; more actors than that are started only where they are asked for.

    Raises:
        UsageError: The cluster is too small; has the numbers.
    """
    cpus, gpus = (sum(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU"))
    use_gpu = gpus > 0 if config.use_gpu is None else config.use_gpu
    cores = sum(node["cores"] for node in nodes if node.get("CPU", 0)) or cores_here()
    # Two processes of one thread read more than one of two.
    places = int(gpus) if use_gpu else sum(_actors_on(node) for node in nodes)
    num_actors = config.num_actors or max(1, min(places, num_units))
    actor_cpus = 0.25
    # Of a cluster that has yet to come, the nodes are taken for large ones.
    is_large = cpus - num_actors * actor_cpus >= _MANY_CPUS or (config.wait_for_nodes and not cpus)
    task_cpus = 1.0 if is_large else 0.25
    needed = num_actors * actor_cpus + 2 * task_cpus
    if not config.wait_for_nodes:
        if use_gpu and num_actors > gpus:
            raise UsageError(f"--num_actors {num_actors} need as many GPUs and the cluster has {gpus:g}")
        if needed > cpus:
            raise UsageError(
                f"--num_actors {num_actors} of {actor_cpus:g} CPU each and {2 * task_cpus:g} CPU for tasks need "
                f"{needed:g} CPUs and the cluster has {cpus:g}: use fewer actors, or --wait_for_nodes true where it "
                "scales up by itself"
            )
    return Shape(
        num_actors=num_actors,
        use_gpu=use_gpu,
        actor_cpus=actor_cpus,
        task_cpus=task_cpus,
        # Quarters of CPUs would let a dozen processes start at once on two cores.
        most_tasks=None if is_large else 2,
        threads=None if use_gpu else max(1, int(cores // num_actors)),
    )


def _actors_on(node: Node) -> int:
    """Return how many actors without a GPU a node has room for."""
    cpus, memory = node.get("CPU", 0), node.get("memory", math.inf)
    return int(min(math.ceil(cpus), node["cores"], max(1, memory // _ACTOR_BYTES))) if cpus else 0


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A unit that failed on its way."""

    name: str
    error: MrcError


def stream(
    orders: Sequence[Order], work: "ray.ObjectRef[Work]", shape: Shape, *, retries: int
) -> Iterator[UnitRecord | Failure]:
    """Answer units and yield what became of each, in the order of their ends; of a unit that was lost, nothing.

    Args:
        orders: Units, at most ROUND_UNITS of them.
        work: The job.
        shape: Resources.
        retries: How often a unit is tried again after its process died.
    """
    context = ray.data.DataContext.get_current()
    context.target_max_block_size = None  # one unit is one block all the way
    context.max_errored_blocks = -1  # the others go on
    context.execution_no_progress_timeout_s = _STALL_S
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Not batch_size=None, which Ray Data refuses where it is to run on a GPU. A unit's block is one row.
    options: dict[str, Any] = {"batch_size": 1, "batch_format": "pyarrow"}
    tasks: dict[str, Any] = {
        **options,
        "num_cpus": shape.task_cpus,
        "max_retries": retries,
        # Ray warns where there are fewer units than that.
        "compute": ray.data.TaskPoolStrategy(size=shape.most_tasks and min(shape.most_tasks, len(orders))),
    }
    units = ray.data.from_items([first_row(order) for order in orders], override_num_blocks=len(orders))
    with warnings.catch_warnings():
        # Retries are among the options that Ray 2.60 announces to rename, and does not have by another name yet.
        warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
        read = units.map_batches(ReadUnit(work), **tasks)
        found = read.map_batches(
            FindSpans,
            fn_constructor_args=(work,),
            compute=ray.data.ActorPoolStrategy(size=shape.num_actors),
            num_cpus=shape.actor_cpus,
            num_gpus=1 if shape.use_gpu else None,
            max_restarts=-1,
            max_task_retries=retries,
            **options,
        )
        done = found.map_batches(CommitUnit(work), **tasks)
    for row in done.iter_rows():
        if row["error"]:
            yield Failure(name=row["name"], error=pickle.loads(row["error"]))
        else:
            yield pickle.loads(row["record"])
