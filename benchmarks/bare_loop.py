"""The forward passes of mrc alone, on ready-made batches: what Parquet to Parquet can come to at most.

It also counts the work: tokens that are not padding, the operations of the model's matrix products on them, and how
many of those this machine does a second in that precision where nothing else is to be done (the ceiling).
"""

import contextlib
import math
import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection
from typing import Any

import pyarrow.parquet as pq

_SIDE = 1024
"""Of the square matrices whose product is the ceiling: large enough to be fast, small enough for the cache."""


class BareLoop:
    """A process a core, each with every so-manieth unit's batches, ready-made.

    Attributes:
        tokens: That are not padding.
        operations: Of matrix products on those tokens: a multiplication and an addition are two.
        ceiling: Operations a second in the same precision, of all processes at once.
    """

    def __init__(self, model: str, file: str, *, processes: int, unit_rows: int, **flags: Any) -> None:
        """Load a reader and make the batches of the questions in a Parquet file."""
        spawn = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        for rank in range(processes):
            ours, theirs = spawn.Pipe()
            arguments = (theirs, model, file, rank, processes, unit_rows, flags)
            spawn.Process(target=_work, args=arguments, daemon=True).start()
            self._pipes.append(ours)
        tokens, operations = zip(*self._ask("count"), strict=True)
        self.tokens, self.operations = sum(tokens), sum(operations)
        self.ceiling = sum(self._ask("ceiling"))

    def answer(self) -> list[float]:
        """Read everything once; return each process's seconds."""
        return self._ask("go")

    def _ask(self, what: str) -> list[Any]:
        for pipe in self._pipes:
            pipe.send(what)
        return [pipe.recv() for pipe in self._pipes]


def _work(pipe: Any, model: str, file: str, rank: int, processes: int, unit_rows: int, flags: dict[str, Any]) -> None:
    import torch

    from mrc.batching import token_budget_batches
    from mrc.cpu import keep_freed_memory
    from mrc.examples import Example
    from mrc.models import autocast, forward
    from mrc.reader import Reader
    from mrc.windows import make_windows

    torch.set_num_threads(1)
    keep_freed_memory()
    reader = Reader.from_pretrained(model, **flags)
    finder = reader._finder
    rows = pq.read_table(file).to_pylist()
    batches: list[dict[str, torch.Tensor]] = []
    for at in range(rank * unit_rows, len(rows), processes * unit_rows):
        examples = [Example(**row) for row in rows[at : at + unit_rows]]
        windows, _ = make_windows(examples, reader._tokenizer, reader.window)
        cuts = token_budget_batches(windows.lengths, finder.max_batch_tokens, finder.layout)
        batches.extend(finder.collator.inputs(windows.take(cut)) for cut in cuts)

    def read() -> None:
        with torch.inference_mode(), autocast(finder._first.model, finder._first.dtype):
            for inputs in batches:
                forward(finder._first.model, inputs)

    answers = {
        "count": lambda: (sum(int(inputs["attention_mask"].sum()) for inputs in batches), _operations(read)),
        "ceiling": lambda: _ceiling(finder._first.dtype),
        "go": lambda: _seconds(read),
    }
    with contextlib.suppress(EOFError):  # when the loop's owner has ended
        while True:
            pipe.send(answers[pipe.recv()]())  # type: ignore[no-untyped-call]


def _operations(read: Any) -> int:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    def of_linear(x_shape: Any, w_shape: Any, *_: Any, **__: Any) -> int:
        return int(2 * math.prod(x_shape) * w_shape[0])

    # That of layers whose weights lie in blocks is not among the operations that torch counts by itself.
    linear = {torch.ops.mkldnn._linear_pointwise: of_linear}
    with FlopCounterMode(display=False, custom_mapping=linear) as counter:
        read()
    return int(counter.get_total_flops())


def _seconds(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _ceiling(dtype: Any) -> float:
    """Return the operations a second of a product of two matrices in one thread, the median of some."""
    import torch

    a, b = torch.rand(2, _SIDE, _SIDE).to(dtype)
    return 2 * _SIDE**3 / statistics.median(_seconds(lambda: a @ b) for _ in range(30))
