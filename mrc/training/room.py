"""Whether the workers fit on the cluster: refused at once where they never will, told while they wait for nodes."""

from collections.abc import Sequence

from mrc.errors import UsageError
from mrc.tasks import Node, NodeWatch
from mrc.training.config import TrainConfig


def check_cluster(config: TrainConfig, nodes: Sequence[Node]) -> bool:
    """Return whether to train on GPUs; refuse at once what would wait for resources for ever.

    One CPU is kept free for the tasks that prepare windows.

    Raises:
        UsageError: The cluster is too small; has the numbers.
    """
    use_gpu = _total(nodes, "GPU") > 0 if config.use_gpu is None else config.use_gpu
    if config.wait_for_nodes:
        return use_gpu
    lack = _gpus_lacking(config, nodes, use_gpu) or _cpus_lacking(config, nodes) or _places_lacking(config, nodes)
    if lack:
        raise UsageError(f"{lack}: use fewer workers, or --wait_for_nodes true where it scales up by itself")
    return use_gpu


def _gpus_lacking(config: TrainConfig, nodes: Sequence[Node], use_gpu: bool) -> str:
    gpus = _total(nodes, "GPU")
    if not use_gpu or config.num_workers <= gpus:
        return ""
    asked = f"--num_workers {config.num_workers} with --use_gpu"
    return f"{asked} needs {config.num_workers} GPUs and the cluster has {gpus:g}"


def _cpus_lacking(config: TrainConfig, nodes: Sequence[Node]) -> str:
    cpus, needed = _total(nodes, "CPU"), config.num_workers * config.cpus_per_worker + 1
    if needed <= cpus:
        return ""
    return f"{_asked(config)} and one CPU to spare need {needed:g} CPUs and the cluster has {cpus:g}"


def _places_lacking(config: TrainConfig, nodes: Sequence[Node]) -> str:
    """Say how many workers the nodes have room for, each on one of them, where that is too few."""
    places = sum(int(node.get("CPU", 0) // config.cpus_per_worker) for node in nodes)
    return "" if config.num_workers <= places else f"{_asked(config)} and the cluster's nodes have room for {places}"


def _asked(config: TrainConfig) -> str:
    return f"--num_workers {config.num_workers} of {config.cpus_per_worker:g} CPU each"


def _total(nodes: Sequence[Node], name: str) -> float:
    return sum(node.get(name, 0) for node in nodes)


class Room:
    """Tells that workers wait for nodes, which Ray Train does without a word and without an end."""

    def __init__(self, config: TrainConfig, *, use_gpu: bool) -> None:
        """Take what was asked for."""
        self._watch = NodeWatch(lambda nodes: _gpus_lacking(config, nodes, use_gpu) or _places_lacking(config, nodes))

    def look(self, *, has_workers: bool) -> None:
        """Tell what is waited for, now and then, as long as there are no workers."""
        if has_workers:
            self._watch.restart()
        else:
            self._watch.look()
