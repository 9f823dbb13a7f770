"""What a job's size costs in memory: the driver's by the number of units, a reading task's by the rows of a unit.

    python -m benchmarks.sizing --num_units 200000 --unit_rows 2048 16384 65536

The driver's: the plan's units, the records of a resume, read from a local disk, and the names that the end compares. A
task's: questions of the built-in sample, read and windowed. Each size has a process of its own, and MiB are by how much
its peak of resident memory has risen by then.
"""

import argparse
import multiprocessing
import pickle
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.measuring import table, write_records

_FILE_UNITS = 1_000
_FILE_ROWS = 2_048 * _FILE_UNITS


def main() -> None:
    """Measure and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_units", type=int, nargs="*", default=[200_000])
    parser.add_argument("--unit_rows", type=int, nargs="*", default=[2_048, 16_384, 65_536])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mrc-sizing-") as folder:
        for measure, sizes in ((measure_driver, arguments.num_units), (measure_reading, arguments.unit_rows)):
            with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
                print(table(pool.starmap(measure, [(f"{folder}/{size}", size) for size in sizes], chunksize=1)))


def measure_driver(folder: str, num_units: int) -> dict[str, Any]:
    """Hold what a driver holds of so many units."""
    from mrc import storage
    from mrc.answering.records import RECORDS, Ledger
    from mrc.answering.work import Order
    from mrc.sources import Unit

    def unit(number: int) -> Unit:
        file, at = divmod(number, _FILE_UNITS)
        return Unit(
            source=f"s3://bucket/questions/part-{file:05d}.parquet", format="parquet", start=at * 2_048,
            stop=(at + 1) * 2_048,
        )  # fmt: skip

    rise = _meter()
    units = tuple(unit(number) for number in range(num_units))
    orders = {unit.name: Order(unit) for unit in units}
    measured: dict[str, Any] = {"units": num_units, "plan, MiB": rise()}
    write_records(Path(folder, RECORDS), orders)
    began = time.perf_counter()
    ledger = Ledger.read(folder, orders, timeout_s=3_600)
    measured |= {"with records, MiB": rise(), "records, s": time.perf_counter() - began}
    there = set(storage.list_names(storage.join(folder, RECORDS)))
    wanted = {unit.name + ".json" for unit in units}
    assert wanted == there
    assert ledger.names == set(orders)
    return measured | {"at the end, MiB": rise()}


def measure_reading(folder: str, unit_rows: int) -> dict[str, Any]:
    """Do what a reading task does with a unit, up to the row that it gives to the model's process."""
    from benchmarks.million import write_tiny_reader
    from mrc.answering import AnswerConfig, plan
    from mrc.answering.work import Order, read_and_window, work_of
    from mrc.sources import SourceConfig

    model = write_tiny_reader(Path(folder))
    config = AnswerConfig(model=model, input=f"sample://test?num_examples={unit_rows}", unit_rows=unit_rows)
    planned = plan(config, SourceConfig())
    work, [unit] = replace(work_of(planned), threads=1), planned.units
    rise, began = _meter(), time.perf_counter()
    texts, windows = read_and_window(work, Order(unit))
    block = pickle.dumps(texts, protocol=5), pickle.dumps((windows, len(texts.examples)), protocol=5)
    return {
        "rows": unit_rows,
        "characters a context": sum(len(example.context) for example in texts.examples) // len(texts.examples),
        "tokens": int(windows.lengths.sum()),
        "seconds": time.perf_counter() - began,
        "task, MiB": rise(),
        "block, MiB": round(sum(map(len, block)) / 2**20, 1),
    }


def _meter() -> Callable[[], int]:
    """Return what tells by how many MiB the peak of this process's resident memory has risen since now."""

    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10

    began = peak()
    return lambda: peak() - began


if __name__ == "__main__":
    main()
