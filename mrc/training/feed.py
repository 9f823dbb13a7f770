"""Steps -> batches on the device of one worker, made one step ahead in a thread while the model computes."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch

from mrc.batching import Indices, Layout, token_budget_batches, worker_share
from mrc.models import IGNORED, Collator
from mrc.training.schedule import Schedule
from mrc.training.store import LabelledWindows, WindowStore

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one worker does in one optimizer step."""

    number: int
    """Counted from 0."""
    num_windows: int
    """Windows of the step, over all workers; what their summed loss is divided by."""
    batches: list[dict[str, torch.Tensor]]
    """At least one: the model's inputs, with `start_positions` and `end_positions`."""


class Feed:
    """The steps of one worker, from a step on."""

    def __init__(
        self,
        store: WindowStore,
        schedule: Schedule,
        collator: Collator,
        *,
        rank: int,
        world_size: int,
    ) -> None:
        self._store, self._schedule, self._collator = store, schedule, collator
        self._rank, self._world_size = rank, world_size

    def steps(self, start: int) -> Iterator[Step]:
        """Yield every step from `start` to the last, each prepared while the one before is computed."""
        plan = self._schedule.steps(self._store.lengths, start=start)
        return _one_ahead(lambda item: self._step(*item), plan)

    def _step(self, number: int, windows: Indices) -> Step:
        mine = worker_share(windows, self._rank, self._world_size)
        layout: Layout = "padded" if self._collator.packing is None else "packed"
        cuts = token_budget_batches(self._store.lengths[mine], self._schedule.config.max_batch_tokens, layout)
        batches = [self._batch(self._store.take(mine[cut])) for cut in cuts]
        return Step(
            number=number,
            num_windows=len(windows),
            batches=batches or [self._nothing(windows)],
        )

    def _batch(self, labelled: LabelledWindows) -> dict[str, torch.Tensor]:
        labels = labelled.padded_positions(self._collator.padding_side)
        return self._collator.to_device({**self._collator.inputs(labelled.windows), **labels})

    def _nothing(self, windows: Indices) -> dict[str, torch.Tensor]:
        """A worker without a share still takes part in the exchange of gradients, with a loss of 0."""
        batch = self._batch(self._store.take(windows[:1]))
        for name in ("start_positions", "end_positions"):
            batch[name] = torch.full_like(batch[name], IGNORED)
        return batch


def _one_ahead(function: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """Map a function over items in one thread that is one item ahead of the consumer."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="mrc-feed") as thread:
        pending: deque[Future[T]] = deque()
        for item in items:
            pending.append(thread.submit(function, item))
            if len(pending) > 1:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
