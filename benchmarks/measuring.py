"""What measurements share: the questions of a file, the memory of a driver and its workers, records, and tables."""

import collections
import json
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from mrc.examples import Example
from mrc.sources import SourceConfig, plan_units, read_unit, select_rows

_POLL_S, _LIST_S = 0.1, 1.0


def read_examples(data: str, limit: int | None = None) -> list[Example]:
    """Return the first questions of data in any form that jobs/answer.py takes; bad rows are left out."""
    source = SourceConfig()
    units = select_rows(plan_units(data, source), limit, None)
    return [item for unit in units for item in read_unit(unit, source) if isinstance(item, Example)]


class PeakMemory:
    """Watches this process and those below it, and keeps the peak of each kind's anonymous memory, in bytes.

    Not the USS, which has pages of Ray's object store in it as long as no other process has touched them.
    """

    def __init__(self, kinds: Mapping[str, str]) -> None:
        """Take what a worker's title has in it, and what that kind is called."""
        self._kinds = kinds
        self.peaks: collections.Counter[str] = collections.Counter()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        driver = psutil.Process()
        processes, listed = [driver], time.monotonic() - _LIST_S
        while not self._done.wait(_POLL_S):
            if time.monotonic() >= listed + _LIST_S:
                processes, listed = [driver, *driver.children(recursive=True)], time.monotonic()
            for process in processes:
                name = "driver" if process == driver else _kind(process, self._kinds)
                if name:
                    self.peaks[name] = max(self.peaks[name], _own_bytes(process))


def _kind(process: psutil.Process, kinds: Mapping[str, str]) -> str:
    """Name what a Ray worker does by its title; "" for Ray's own processes."""
    try:
        title = " ".join(process.cmdline())
    except psutil.Error:
        return ""
    return next((kind for word, kind in kinds.items() if word in title), "")


def _own_bytes(process: psutil.Process) -> int:
    try:
        memory = process.memory_info()
    except psutil.Error:
        return 0
    return int(memory.rss - memory.shared)


def table(rows: list[dict[str, Any]]) -> str:
    """Return rows as a Markdown table, one column a measurement."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    shown = [
        [f"{row.get(name, ''):,.1f}" if isinstance(row.get(name), float) else f"{row.get(name, '')}" for row in rows]
        for name in names
    ]
    lines = [f"| {name} | " + " | ".join(values) + " |" for name, values in zip(names, shown, strict=True)]
    return "\n".join([lines[0], "|---" * (len(rows) + 1) + "|", *lines[1:]])


def write_records(folder: Path, names: Iterable[str]) -> None:
    """Write a record for each name, as units of 2,048 rows leave them."""
    from mrc.answering.records import UnitRecord
    from mrc.metrics import Sums

    record = UnitRecord(
        name="", rows=2048, answered=2047, rejects={"empty_question": 1}, windows=3000, sums=Sums(total=2047).to_dict(),
        groups=0, read_again=0, seconds={"read": 1.0, "model": 2.0, "write": 0.5},
    )  # fmt: skip
    folder.mkdir(parents=True)
    for name in names:
        (folder / f"{name}.json").write_text(json.dumps(vars(replace(record, name=name))))
