"""What is done with a unit: its rows become windows, and its spans a commit. No Ray Data; stages.py runs it there."""

import gc
import os
import pickle
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import ray

from mrc import storage
from mrc.answering.best import PARTS, best_of_unit
from mrc.answering.output import predictions_table
from mrc.answering.plan import Plan
from mrc.answering.records import UnitRecord
from mrc.errors import BadFileError, RunError
from mrc.examples import Example, Reject, rejects_to_table
from mrc.metrics import get_scorer
from mrc.sources import Unit
from mrc.spans import ExampleSpans, locate
from mrc.validation import RowError, reject_row
from mrc.windows import PairTokenizer, Windows, make_windows

if TYPE_CHECKING:
    from mrc.reader import Reader


_KEPT_KERNELS = "256"


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the steps need to know of the job; it is put into Ray's object store once."""

    plan: Plan
    """Without its units, which travel one by one."""
    tokenizer: bytes
    """A PairTokenizer; pickled, so that only those who window units import what it is of."""
    threads: int | None = None
    """CPU threads of the model; None leaves that to torch."""


def work_of(plan: Plan) -> Work:
    """Return what the steps need to know of a plan; raises UsageError where its model is none that can be read."""
    # Imports transformers, which the tasks that unpickle a plan do without.
    from mrc.pretrained import load_pairs

    return Work(plan=replace(plan, units=()), tokenizer=pickle.dumps(load_pairs(plan.config.model)))


# A process maps many units: it fetches the job once, and loads the tokenizer, of a quarter of a million pieces, once.
@lru_cache(maxsize=2)
def fetch(work: "ray.ObjectRef[Work]") -> Work:
    """Return the job behind a reference."""
    return ray.get(work)


@lru_cache(maxsize=2)
def _unpickled(tokenizer: bytes) -> PairTokenizer:
    found: PairTokenizer = pickle.loads(tokenizer)
    return found


class Order(NamedTuple):
    """A unit to answer, and the items in it, counted from 0, that are to be rejected unread: reason and detail."""

    unit: Unit
    skip: Mapping[int, tuple[str, str]] = {}


class Texts(NamedTuple):
    """What the last step needs of the first: the rows of a unit in words."""

    examples: list[Example]
    rejects: list[Reject]
    num_windows: int
    read_s: float


def read_and_window(work: Work, order: Order, only: frozenset[int] | None = None) -> tuple[Texts, Windows]:
    """Read, validate and window a unit.

    Args:
        work: The job.
        order: The unit.
        only: Leave out all other items of it.

    Raises:
        RunError: The unit has not the rows that it was planned with.
    """
    began = time.perf_counter()
    unit = order.unit
    items = _read(work, unit)
    if len(items) != work.plan.input.num_questions(unit):
        raise RunError(
            f"{unit.source} has changed: rows {unit.start} to {unit.stop} give {len(items):,} questions, where "
            f"{work.plan.input.num_questions(unit):,} were planned; answer into a new --output"
        )
    items = [
        _rejected(work, unit, at, item, *order.skip[at]) if at in order.skip else item
        for at, item in enumerate(items)
        if only is None or at in only
    ]
    numbered = [(at, item) for at, item in enumerate(items) if isinstance(item, Example)]
    windows, rejections = make_windows([item for _, item in numbered], _unpickled(work.tokenizer), work.plan.window)
    for index, reason, detail in rejections:
        at, example = numbered[index]
        items[at] = _rejected(work, unit, at, example, reason, detail)
    windows = windows.without({index for index, _, _ in rejections}, len(numbered))
    examples = [item for item in items if isinstance(item, Example)]
    rejects = [item for item in items if isinstance(item, Reject)]
    located = locate(windows, [example.context for example in examples])
    return Texts(examples, rejects, len(windows), time.perf_counter() - began), located


def _read(work: Work, unit: Unit) -> list[Example | Reject]:
    """Return the items of a unit; of a file that is torn here and is to be skipped, each as a Reject."""
    try:
        return work.plan.patiently(lambda: work.plan.input.read(unit))
    except BadFileError as error:
        if not work.plan.config.skip_bad_files:
            raise
        numbers = range(unit.start, unit.stop) if unit.rows is None else unit.rows
        repeats = work.plan.input.num_questions(unit) // len(numbers)
        bad = RowError("bad_file", str(error))
        return [reject_row(unit.source, row, "", None, bad) for row in numbers for _ in range(repeats)]


def _rejected(work: Work, unit: Unit, at: int, item: Example | Reject, reason: str, detail: str) -> Reject:
    """Return an item as a Reject, the item's number in its unit turned into the row's in its file."""
    if isinstance(item, Reject):
        return item
    at //= 1 if work.plan.input.questions is None else len(work.plan.input.questions)
    row = unit.start + at if unit.rows is None else unit.rows[at]
    raw = {name: getattr(item, name) for name in ("id", "question", "context")}
    return reject_row(unit.source, row, raw, item.id, RowError(reason, detail))


def load_reader(work: Work) -> "Reader":
    """Load the job's model on the device of this process."""
    # oneDNN makes kernels for every shape of a batch, and by default keeps so many that a process grows by hundreds of
    # megabytes over its first hour. Read when torch is imported.
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(name, _KEPT_KERNELS)

    # Imports make a million objects that stay: to look for garbage among them takes a seventh of their time.
    gc.disable()
    import torch

    from mrc.cpu import keep_freed_memory
    from mrc.reader import Reader

    gc.enable()
    keep_freed_memory()
    if work.threads is not None:
        torch.set_num_threads(work.threads)
    return Reader.from_pretrained(
        work.plan.config.model,
        precision=work.plan.config.precision,
        max_batch_tokens=work.plan.config.max_batch_tokens,
        exact=work.plan.config.exact,
        exact_margin=work.plan.config.exact_margin,
        **asdict(work.plan.window),
        **asdict(work.plan.span),
    )


def commit(work: Work, unit: Unit, texts: Texts, spans: ExampleSpans, model_s: float) -> UnitRecord:
    """Write a unit's files and commit it with its record."""
    config = work.plan.config
    began = time.perf_counter()
    table, sums = predictions_table(
        texts.examples,
        spans,
        schema=work.plan.schema,
        scorer=get_scorer(work.plan.scorer),
        n_best_size=work.plan.n_best_size,
        min_probability=config.min_probability,
    )
    part = best_of_unit(table, config.best_per) if config.best_per else None
    record = UnitRecord(
        name=unit.name,
        rows=len(texts.examples) + len(texts.rejects),
        answered=len(texts.examples),
        rejects=dict(Counter(reject.reason for reject in texts.rejects)),
        windows=texts.num_windows,
        sums=sums.to_dict(),
        groups=0 if part is None else len(part),
        read_again=int(spans.read_again.sum()),
        seconds={"read": texts.read_s, "model": model_s},
    )

    def write() -> UnitRecord:
        file = unit.name + ".parquet"
        storage.write_table(work.plan.url("predictions", file), table)
        if texts.rejects:
            storage.write_table(work.plan.url("rejects", file), rejects_to_table(texts.rejects))
        if part is not None:
            storage.write_table(work.plan.url(PARTS, file), part)
        seconds = {**record.seconds, "write": time.perf_counter() - began}
        done = replace(record, seconds=seconds)
        done.write(config.output)
        return done

    return work.plan.patiently(write)
