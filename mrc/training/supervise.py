"""Runs the workers of Ray Train from the driver, writes down what they report, and passes on the wish to stop."""

import atexit
import functools
import logging
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import ray
import ray.train
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mrc.errors import MrcError, RunError
from mrc.training import checkpoints
from mrc.training.assignment import Assignment
from mrc.training.progress import Conductor, RunLog, read_rows
from mrc.training.room import Room

logger = logging.getLogger("mrc")

_POLL_S = 0.5

# A CPU worker's steps hand the same large tensors back and forth with the C library. By default it returns each to the
# system and has it zeroed anew. To keep them it has to be told so, and to have one arena, since the loop runs in a
# thread, whose arena gives out no 64 MiB at once. Steps of multilingual-e5-small are a tenth faster for it.
MALLOC = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
}


def supervise(assignment: Assignment, *, use_gpu: bool, check_lease: Callable[[], None]) -> None:
    """Train until the run is finished or was asked to stop; the checkpoints tell which.

    Ray Train sets up the workers and their process group, and starts them again when one is lost. What a run needs to
    continue is in our own checkpoints, so Ray Train's storage is a temporary folder.

    Args:
        assignment: What the workers do.
        use_gpu: Whether each worker has a GPU.
        check_lease: Raises RunError where another driver has taken over the run.

    Raises:
        MrcError: What a worker explained.
        RunError: Training failed more often than `max_failures`, or belongs to another driver.
    """
    found = checkpoints.committed(assignment.checkpoints)
    resumed_step, reported = (found[-1][1].step, read_rows(found[-1][0])) if found else (0, [])
    if resumed_step:
        logger.info("continuing from the checkpoint of step %s", f"{resumed_step:,}")
    # On the driver's node, so that the loss of another one does not take it along.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    conductor: Any = Conductor.options(scheduling_strategy=here).remote()
    with (
        tempfile.TemporaryDirectory(prefix="mrc-ray-train-") as scratch,
        closing(RunLog(assignment.train.output, resumed_step=resumed_step, reported=reported)) as log,
        _stop_signals() as stop,
    ):
        fit = _Fit(_trainer(replace(assignment, conductor=conductor), scratch, use_gpu=use_gpu))
        room = Room(assignment.train, use_gpu=use_gpu)
        asked = False
        while True:
            finished = fit.finished.wait(_POLL_S)
            has_workers, error = _take(conductor, log)
            if finished:
                break
            if stop.is_set() and not has_workers:
                _leave_ray_train()  # none of them could write a checkpoint
                break
            try:
                check_lease()
            except RunError:
                _leave_ray_train()
                raise
            if stop.is_set() and not asked:
                asked = True
                logger.info("asked to stop: writing a checkpoint after the step that is running")
                conductor.ask_to_stop.remote()
            room.look(has_workers=has_workers)
    if error is not None:
        raise error
    if fit.error is not None:
        failures = getattr(fit.error, "worker_failures", {})
        cause = _cause(next(iter(failures.values()), fit.error))
        raise RunError(
            f"training failed: {cause} (the workers' logs are in {_log_folder()}); the same command goes on from the "
            "last checkpoint"
        ) from fit.error


def _leave_ray_train() -> None:
    """Let the process end without Ray Train.

    It goes on in its thread, inside of Ray, which would crash as the interpreter ends. Ray's processes end with this
    one, whatever ends it.
    """
    atexit.register(os._exit, RunError.exit_code)


def _take(conductor: Any, log: RunLog) -> tuple[bool, MrcError | None]:
    """Write down what was reported since the last call; return whether workers run, and what one explained."""
    rows, losses, has_workers, error = ray.get(conductor.take.remote())
    for row in rows:
        log.write(row)
    for loss in losses:
        logger.warning("a worker failed: %s; all go on from the last checkpoint, at most --max_failures times", loss)
    return has_workers, error


class _Fit:
    """Runs `trainer.fit()` in a thread, so that the driver's main thread is free for signals and progress."""

    def __init__(self, trainer: TorchTrainer) -> None:
        self.finished = threading.Event()
        self.error: Exception | None = None
        self._trainer = trainer
        threading.Thread(target=self._run, name="mrc-fit", daemon=True).start()

    def _run(self) -> None:
        try:
            self._trainer.fit()
        except Exception as error:
            self.error = error
        finally:
            self.finished.set()


def _train(assignment: Assignment) -> None:
    from mrc.training.loop import train_loop  # imports transformers' models, which only the workers have need of

    train_loop(assignment)


def _trainer(assignment: Assignment, scratch: str, *, use_gpu: bool) -> TorchTrainer:
    config = assignment.train
    return TorchTrainer(
        # Not as `train_loop_config`, which the controller unpickles, too.
        functools.partial(_train, assignment),
        # Both: tensors of a GPU travel over NCCL, the stop flag and gathered scores over gloo without waiting for it.
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if use_gpu else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=config.num_workers,
            use_gpu=use_gpu,
            resources_per_worker={"CPU": config.cpus_per_worker} | ({"GPU": 1} if use_gpu else {}),
        ),
        run_config=ray.train.RunConfig(  # type: ignore[call-arg]  # mypy sees the one of Ray Train V1
            name="mrc",
            storage_path=scratch,
            failure_config=ray.train.FailureConfig(max_failures=config.max_failures),
            worker_runtime_env={"env_vars": MALLOC},
            callbacks=[_Losses(assignment.conductor)],  # type: ignore[list-item]  # declared for Ray Tune's
        ),
    )


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Turn the first SIGTERM or SIGINT into an event; a second one ends the driver as usual."""
    stop = threading.Event()
    previous: dict[int, Any] = {}

    def handle(signum: int, _frame: Any) -> None:
        stop.set()
        signal.signal(signum, previous[signum])

    for wanted in (signal.SIGTERM, signal.SIGINT):
        previous[wanted] = signal.signal(wanted, handle)
    try:
        yield stop
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


class _Losses(ray.train.UserCallback):
    """Tells the driver, from Ray Train's controller, why workers are started again."""

    def __init__(self, conductor: Any) -> None:
        self._conductor = conductor

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Post one line about the worker that failed first."""
        self._conductor.lose.remote(_cause(next(iter(worker_exceptions.values()))))


def _cause(error: Exception) -> str:
    """Say in one line why a worker failed: what was raised, by type and message, or how its process ended."""
    lines = str(error).strip().splitlines() or [""]
    # Behind the facts of a dead process Ray gives general advice.
    line = lines[-1].strip().partition(" Some common causes include")[0]
    return line if lines[0].startswith("Traceback") else f"{type(error).__name__}: {line}"


def _log_folder() -> str:
    """Return where Ray keeps the logs of this session's processes, on each node."""
    # The public API tells the session's name only, and it stands below a folder that the user may have moved.
    node: Any = ray._private.worker.global_worker.node
    return str(node.get_logs_dir_path())
