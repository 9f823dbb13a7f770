"""The three steps of a unit: read and window it, find its spans, write and commit it.

Each maps a table of one row to one: a unit is a block all the way. What a step gives to the next is pickled into the
row, so that a unit whose rows are all bad is still a row, and the spans' step passes texts on without looking at them.
A step does not raise: an error is a row too, since Ray Data would pass on its text only.
"""

import pickle
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import ray

from mrc import storage
from mrc.answering.work import Order, Work, commit, fetch, load_reader, read_and_window
from mrc.errors import MrcError, RunError

Row = dict[str, Any]


def first_row(order: Order) -> Row:
    """Return an order as a row for the first step."""
    return {"order": pickle.dumps(order), "texts": b"", "numbers": b"", "error": b""}


class UnitError(RunError):
    """A unit failed on its way, for a reason that another attempt may not meet.

    Attributes:
        of_the_store: Whether reading or writing failed, as opposed to what is done with the rows.
    """

    def __init__(self, message: str, of_the_store: bool) -> None:
        super().__init__(message, of_the_store)
        self.message = message
        self.of_the_store = of_the_store

    def __str__(self) -> str:
        return self.message


def _step(row: Row, of_the_store: bool, run: Callable[[Row], Row]) -> Row:
    """Run a step on a row that no earlier one failed; an error becomes part of the row."""
    if row["error"]:
        return row
    try:
        return row | run(row)
    except (KeyboardInterrupt, SystemExit):
        raise
    except MrcError as error:
        failure: MrcError = error
    except PermissionError as error:
        failure = storage.explain(error)
    except BaseException as error:  # a panic of the tokenizer's Rust is no Exception
        failure = UnitError(f"{type(error).__name__}: {error}", of_the_store or isinstance(error, OSError))
    return row | {"texts": b"", "numbers": b"", "error": pickle.dumps(failure)}


def _one_row(table: pa.Table) -> Row:
    row: Row
    [row] = table.to_pylist()
    return row


def _table(row: Row) -> pa.Table:
    kinds = {"order": pa.large_binary(), "texts": pa.large_binary(), "numbers": pa.large_binary()}
    return pa.table({name: pa.array([value], kinds.get(name, pa.binary())) for name, value in row.items()})


class ReadUnit:
    """First step, on a CPU: the unit's rows as texts, and as windows."""

    def __init__(self, work: "ray.ObjectRef[Work]") -> None:
        """Keep a reference to the job."""
        self._work = work
        self.__name__ = "read_unit"

    def __call__(self, table: pa.Table) -> pa.Table:
        """Map an order to its texts and windows."""
        return _table(_step(_one_row(table), False, self._run))

    def _run(self, row: Row) -> Row:
        texts, windows = read_and_window(fetch(self._work), pickle.loads(row["order"]))
        numbers = (windows, len(texts.examples))
        return {"texts": pickle.dumps(texts, protocol=5), "numbers": pickle.dumps(numbers, protocol=5)}


class FindSpans:
    """Second step, in an actor that holds the model: windows to the best spans of every example."""

    def __init__(self, work: "ray.ObjectRef[Work]") -> None:
        """Load the model; where that fails, every unit says why."""
        self._work = work
        self._load()

    def _load(self) -> None:
        self._failure: MrcError | None = None
        try:
            self._reader = load_reader(fetch(self._work))
        except MrcError as error:
            self._failure = error
        except PermissionError as error:
            self._failure = storage.explain(error)
        except Exception as error:
            message = f"the model does not load: {type(error).__name__}: {error}"
            self._failure = UnitError(message, True) if isinstance(error, OSError) else RunError(message)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Map windows to spans."""
        return _table(_step(_one_row(table), False, self._run))

    def _run(self, row: Row) -> Row:
        if isinstance(self._failure, UnitError):  # the store may answer now
            self._load()
        if self._failure is not None:
            raise self._failure
        began = time.perf_counter()
        windows, num_examples = pickle.loads(row["numbers"])
        spans = self._reader.read_located(windows, num_examples)
        return {"numbers": pickle.dumps((spans, time.perf_counter() - began), protocol=5)}


class CommitUnit:
    """Third step, on a CPU: predictions and rejects into their files, then the record."""

    def __init__(self, work: "ray.ObjectRef[Work]") -> None:
        """Keep a reference to the job."""
        self._work = work
        self.__name__ = "commit_unit"

    def __call__(self, table: pa.Table) -> pa.Table:
        """Map spans to a committed record, or what failed on the way to it."""
        row = _step(_one_row(table), True, self._run)
        order: Order = pickle.loads(row["order"])
        outcome = {"name": order.unit.name, "record": row["numbers"], "error": row["error"]}
        return pa.table({name: [value] for name, value in outcome.items()})

    def _run(self, row: Row) -> Row:
        order, texts = pickle.loads(row["order"]), pickle.loads(row["texts"])
        spans, model_s = pickle.loads(row["numbers"])
        return {"numbers": pickle.dumps(commit(fetch(self._work), order.unit, texts, spans, model_s))}
