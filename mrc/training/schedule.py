"""The plan of a run as pure functions: which windows a step learns from, at which learning rate, and when to validate.

A resume is a step number because nothing here depends on what ran before.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mrc.batching import Indices, epoch_steps
from mrc.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Steps are counted from 0; "after `done` steps" means that steps 0 to done - 1 are behind us."""

    steps_per_epoch: int
    total_steps: int
    warmup_steps: int
    eval_steps: int
    """Steps between validations."""
    config: TrainConfig

    @classmethod
    def of(cls, config: TrainConfig, num_windows: int) -> "Schedule":
        """Plan a run over `num_windows` training windows."""
        steps_per_epoch = math.ceil(num_windows / config.train_batch_size)
        total = config.max_steps or max(1, math.ceil(config.num_train_epochs * steps_per_epoch))
        return cls(
            steps_per_epoch=steps_per_epoch,
            total_steps=total,
            warmup_steps=math.ceil(config.warmup_ratio * total),
            eval_steps=config.eval_steps or steps_per_epoch,
            config=config,
        )

    def epoch(self, done: int) -> float:
        """Return how many epochs lie behind us after `done` steps."""
        return done / self.steps_per_epoch

    def learning_rate(self, step: int) -> float:
        """Return the rate of a step: from 0 up to the peak over the warm-up, then down to 0, both linearly.

        The same as transformers' get_linear_schedule_with_warmup.
        """
        if step < self.warmup_steps:
            return self.config.learning_rate * step / self.warmup_steps
        return self.config.learning_rate * (self.total_steps - step) / max(1, self.total_steps - self.warmup_steps)

    def validates_after(self, done: int) -> bool:
        """Tell whether it is time to validate after `done` steps."""
        return done == self.total_steps or done % self.eval_steps == 0

    def steps(self, lengths: npt.NDArray[np.integer], *, start: int) -> Iterator[tuple[int, Indices]]:
        """Yield number and windows of every step from `start` to the last.

        Args:
            lengths: Shape (num_windows,), tokens of each window.
            start: The first step to yield.
        """
        for epoch in range(start // self.steps_per_epoch, math.ceil(self.total_steps / self.steps_per_epoch)):
            first = epoch * self.steps_per_epoch
            plan = epoch_steps(lengths, self.config.train_batch_size, seed=self.config.seed, epoch=epoch)
            for step in range(max(start, first), min(self.total_steps, first + self.steps_per_epoch)):
                yield step, plan[step - first]
