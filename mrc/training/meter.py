"""How fast a worker learns, and at which loss, between two lines of progress."""

import contextlib
import time
from collections.abc import Iterator

import torch
import torch.distributed as dist

from mrc.training.feed import Step


class Meter:
    """Mean loss and speed since the last reading; pauses, for validation and checkpoints, do not count as time."""

    def __init__(self, device: torch.device) -> None:
        self._loss = torch.zeros((), device=device)
        self._steps = self._windows = 0
        self._began = time.perf_counter()

    def add(self, loss: torch.Tensor, step: Step) -> None:
        """Count a step and this worker's part of its loss, without waiting for the device."""
        self._loss += loss
        self._steps += 1
        self._windows += step.num_windows

    def read(self, world_size: int) -> tuple[float, float]:
        """Return mean loss of a step and windows per second over all workers, and begin anew; all ranks call it."""
        if world_size > 1:
            dist.all_reduce(self._loss)
        loss, speed = float(self._loss) / self._steps, self._windows / (time.perf_counter() - self._began)
        self._loss.zero_()
        self._steps = self._windows = 0
        self._began = time.perf_counter()
        return loss, speed

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time of a block out."""
        paused = time.perf_counter()
        yield
        self._began += time.perf_counter() - paused
