"""What rank 0 alone can tell, and all ranks have to obey after the same step."""

import time
from typing import Any

import ray
import torch
import torch.distributed as dist


class Signals:
    """Says after each step whether somebody wants to stop and whether it is time to save."""

    def __init__(self, conductor: Any, rank: int, world_size: int, save_minutes: float) -> None:
        """Start the clock; a checkpoint is due `save_minutes` after the last one."""
        self._conductor, self._rank, self._world_size = conductor, rank, world_size
        self._answer = conductor.stop_asked.remote()
        self._save_s = 60 * save_minutes
        self._saved_at = time.monotonic()

    def read(self) -> tuple[bool, bool]:
        """Return (stop, save); every rank calls it after every step, and none waits for the driver."""
        flags = torch.zeros(2, dtype=torch.int32)
        if self._rank == 0:
            if ray.wait([self._answer], timeout=0)[0]:
                flags[0] = int(ray.get(self._answer))
                self._answer = self._conductor.stop_asked.remote()
            flags[1] = int(time.monotonic() - self._saved_at >= self._save_s)
        if self._world_size > 1:
            dist.broadcast(flags, src=0)  # over gloo, on the CPU: a GPU is not waited for
        return bool(flags[0]), bool(flags[1])

    def saved(self) -> None:
        """Start the clock anew."""
        self._saved_at = time.monotonic()
