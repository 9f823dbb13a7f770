"""The training loop of one worker, which Ray Train runs on each.

Everything that a step does is a function of (seed, step): its windows, its learning rate, its dropout. So a resume is
a step number, and a restarted run does what the undisturbed one would have done. A step's loss is divided by its
windows over all workers before gradients are summed, so that neither the number of workers nor the token budget
changes what is learned.
"""

import contextlib
import pickle
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import ray.train.torch
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from mrc import storage
from mrc.errors import MrcError, UsageError
from mrc.models import Collator, autocast, forward, load_model, span_loss
from mrc.precision import usable_precision
from mrc.pretrained import load_tokenizer
from mrc.probes import check_fits, find_packing, has_unused_parameters
from mrc.reader import Reader
from mrc.spans import SpanConfig
from mrc.tasks import cores_here
from mrc.training import checkpoints
from mrc.training.assignment import Assignment
from mrc.training.checkpoints import TrainState
from mrc.training.config import TrainConfig
from mrc.training.feed import Feed, Step
from mrc.training.meter import Meter
from mrc.training.progress import Row, read_rows, write_rows
from mrc.training.schedule import Schedule
from mrc.training.signals import Signals
from mrc.training.store import WindowStore
from mrc.training.validation import ValidationSet

_FITTED = ("null_score_diff_threshold", "temperature")
"""What a validation fits of SpanConfig."""


def train_loop(assignment: Assignment) -> None:
    """Run one worker; what its user can mend is reported, and no restart tries it again."""
    if not ray.get(assignment.conductor.begin.remote()):
        return
    try:
        _Worker(assignment).run()
    except (MrcError, PermissionError) as error:
        ray.get(assignment.conductor.fail.remote(error if isinstance(error, MrcError) else storage.explain(error)))
        if ray.train.get_context().get_world_size() > 1:
            raise  # else the others would wait for this one; they are ended, started again, and return at once


class _Worker:
    """One worker's model, optimizer, and place in the run."""

    def __init__(self, assignment: Assignment) -> None:
        context = ray.train.get_context()
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()
        self.device = ray.train.torch.get_device()
        if self.device.type == "cpu":
            torch.set_num_threads(max(1, cores_here() // context.get_local_world_size()))
        self.assignment, self.config = assignment, assignment.train
        found = checkpoints.committed(assignment.checkpoints)
        self.state = found[-1][1] if found else TrainState(step=0, data=assignment.data)
        self.reported: list[Row] = read_rows(found[-1][0]) if found else []
        self.last_post: Any = []
        self._load(found[-1][0] if found else None)
        store = WindowStore(assignment.train_windows)
        self.schedule = Schedule.of(self.config, len(store.lengths))
        # Attention with dropout keeps a GPU from reading all windows of a row at once; padding costs less there.
        packing = self.packing if self.device.type == "cpu" else None
        collator = Collator(self.module, self.tokenizer, self.device, packing)
        self.feed = Feed(store, self.schedule, collator, rank=self.rank, world_size=self.world_size)
        self.validation = ValidationSet.load(assignment.validation_units, self.rank, self.world_size)
        self.signals = Signals(assignment.conductor, self.rank, self.world_size, self.config.save_minutes)

    def _load(self, checkpoint: str | None) -> None:
        """Build tokenizer, model, optimizer and scaler: fresh, or as a checkpoint has them."""
        with storage.local_copy(checkpoint or self.config.model) as folder:
            source = str(Path(folder) / "model") if checkpoint else folder
            self.tokenizer = load_tokenizer(source)
            torch.manual_seed(self.config.seed)  # of the new head
            self.module = load_model(source, dropout=self.config.dropout)
            if not checkpoint:
                check_fits(self.module, self.tokenizer, self.assignment.window.max_seq_length)
            self.module.to(self.device)  # type: ignore[arg-type]
            self.dtype = usable_precision(self.module, self.config.precision)
            length = self.assignment.window.max_seq_length
            self.packing = find_packing(self.module, self.tokenizer, length, self.dtype)
            self.optimizer = _optimizer(self.module, self.config)
            self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
            if checkpoint:
                saved = read_trainer(Path(folder), self.device)
                self.optimizer.load_state_dict(saved["optimizer"])
                self.scaler.load_state_dict(saved["scaler"])
        self.model = self._data_parallel(length) if self.world_size > 1 else self.module

    def _data_parallel(self, length: int) -> DistributedDataParallel:
        return DistributedDataParallel(
            self.module,
            device_ids=[self.device.index] if self.device.type == "cuda" else None,
            find_unused_parameters=has_unused_parameters(self.module, self.tokenizer, length),
        )

    def run(self) -> None:
        """Train from the step of the last checkpoint to the end, or until somebody asks to stop."""
        meter = Meter(self.device)
        if self.state.finished:
            return
        if self.config.eval_on_start and self.state.step == 0 and self.validation is not None:
            with meter.paused():
                self._validate(0)
        for step in self.feed.steps(self.state.step):
            meter.add(self._learn(step), step)
            done = step.number + 1
            if done % self.config.logging_steps == 0 or done == self.schedule.total_steps:
                self._report_progress(step, meter)
            if self._ends_after(done, meter):
                return

    def _learn(self, step: Step) -> torch.Tensor:
        """Take one optimizer step and return this worker's part of its loss, on the device."""
        torch.manual_seed(_mix(self.config.seed, step.number, self.rank))  # of dropout
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate(step.number)
        self.model.train()
        total = torch.zeros((), device=self.device)
        for i, batch in enumerate(step.batches):
            with self._exchanging_gradients(last=i == len(step.batches) - 1):
                loss = self._loss(batch) / step.num_windows
                # DDP averages gradients over the workers; their sum is wanted.
                self.scaler.scale(loss * self.world_size).backward()
            total += loss.detach()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.config.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return total

    def _loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        inputs = {name: tensor for name, tensor in batch.items() if not name.endswith("_positions")}
        with autocast(self.module, self.dtype):
            logits = forward(self.model, inputs)
        return span_loss(*logits, batch["start_positions"], batch["end_positions"], batch["attention_mask"])

    def _exchanging_gradients(self, *, last: bool) -> contextlib.AbstractContextManager[None]:
        """Gradients travel between the workers once a step, with its last batch."""
        if isinstance(self.model, DistributedDataParallel) and not last:
            return self.model.no_sync()
        return contextlib.nullcontext()

    def _ends_after(self, done: int, meter: Meter) -> bool:
        """Validate and save where it is time to; return whether the run ends after `done` steps."""
        with meter.paused():
            evaluates = self.validation is not None and self.schedule.validates_after(done)
            if evaluates:
                self._validate(done)
            finished = done == self.schedule.total_steps or (evaluates and self._out_of_patience())
            stop, save = self.signals.read()
            ends = finished or stop
            save = save or bool(self.config.save_steps and done % self.config.save_steps == 0)
            if evaluates or ends or save:
                self._save(done, finished=finished)
                self.signals.saved()
        return ends

    def _validate(self, done: int) -> None:
        """Score the validation questions with the weights as they are; the best step so far is remembered."""
        assert self.validation is not None
        began = time.perf_counter()
        result = self.validation.score(self._reader(self.assignment.span), self.assignment.scorer, self.world_size)
        row = {"step": done, "epoch": self.schedule.epoch(done), **result, "seconds": time.perf_counter() - began}
        metric = self.config.metric_for_best_model
        # What was there before the first step is no outcome of the run.
        better = done > 0 and _is_better(row, self._evaluation_of(self.state.best_step), metric)
        self.state = replace(
            self.state,
            step=done,
            best_step=done if better else self.state.best_step,
            evaluations=[*self.state.evaluations, row],
        )
        self._post({"kind": "validation", **row, "is_best": better, "total_steps": self.schedule.total_steps})
        ray.train.report(row)

    def _evaluation_of(self, step: int | None) -> dict[str, Any] | None:
        return next((row for row in self.state.evaluations if row["step"] == step), None)

    def _out_of_patience(self) -> bool:
        patience = self.config.early_stopping_patience
        if patience is None:
            return False
        since_best = [row for row in self.state.evaluations if row["step"] > (self.state.best_step or 0)]
        return len(since_best) >= patience

    def _save(self, done: int, *, finished: bool) -> None:
        """Write and commit a checkpoint, and delete those that are neither this one nor the best."""
        self.state = replace(self.state, step=done, finished=finished)
        if self.rank == 0:
            ray.get(self.last_post)  # what is in a checkpoint is not told again
            checkpoints.save(self.assignment.checkpoints, self.state, self._write)
            checkpoints.keep_only(self.assignment.checkpoints, {done, self.state.best_step or done})
        if self.world_size > 1:
            dist.barrier()

    def _write(self, folder: Path) -> None:
        span = self.assignment.span
        last = self.state.evaluations[-1] if self.state.evaluations else {}
        if last.get("step") == self.state.step:
            span = replace(span, **{name: last[name] for name in _FITTED if name in last})
        self._reader(span).save_pretrained(folder / "model")
        state = {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}
        torch.save(state, folder / "trainer.pt")
        write_rows(folder, self.reported)

    def _reader(self, span: SpanConfig) -> Reader:
        window, precision = self.assignment.window, self.config.precision
        return Reader(self.module, self.tokenizer, window, span, device=self.device, precision=precision)

    def _report_progress(self, step: Step, meter: Meter) -> None:
        loss, windows_per_s = meter.read(self.world_size)
        left = self.schedule.total_steps - step.number - 1
        row = {
            "kind": "train",
            "step": step.number + 1,
            "total_steps": self.schedule.total_steps,
            "epoch": self.schedule.epoch(step.number + 1),
            "loss": loss,
            "learning_rate": self.schedule.learning_rate(step.number),
            "windows_per_s": windows_per_s,
            "questions_per_s": windows_per_s * self.assignment.questions_per_window,
            "left_s": left * self.config.train_batch_size / windows_per_s,
        }
        self._post(row)

    def _post(self, row: Row) -> None:
        if self.rank == 0:
            self.reported.append(row)
            self.last_post = self.assignment.conductor.post.remote(row)


def read_trainer(folder: Path, device: torch.device) -> dict[str, Any]:
    """Return what a checkpoint keeps beside the model; raises UsageError where it holds more than tensors."""
    try:
        return torch.load(folder / "trainer.pt", map_location=device, weights_only=True)  # type: ignore[no-any-return]
    except pickle.UnpicklingError as error:
        raise UsageError(
            "trainer.pt of the last checkpoint is damaged, or holds what could run anything, and is not read: delete "
            "that checkpoint's folder to go on from the one before, or start over with --overwrite true"
        ) from error


def _optimizer(model: torch.nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW as run_qa has it: no weight decay on biases and norms, which are the parameters of one dimension."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def _mix(seed: int, step: int, rank: int) -> int:
    """Give every (seed, step, rank) a stream of random numbers of its own."""
    return (seed * 1_000_003 + step) * 4099 + rank


def _is_better(row: dict[str, Any], best: dict[str, Any] | None, metric: str) -> bool:
    if best is None:
        return True
    return bool(row[metric] < best[metric]) if metric == "loss" else bool(row[metric] > best[metric])
