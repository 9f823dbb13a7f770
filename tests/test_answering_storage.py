"""A driver that dies before and after each call to the store, one after the other: every resume is exact.

No Ray: the three steps of a unit run in a plain loop, so that a death costs milliseconds. Ray's processes die in
`test_answering_chaos`.
"""

import errno
import importlib
import json
import pathlib
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from ray.data.exceptions import ExecutionTimeoutError

from mrc import lease, storage
from mrc.answering import AnswerConfig, Plan, best, plan, run
from mrc.answering.pipeline import Shape
from mrc.answering.records import UnitRecord
from mrc.answering.work import Order, Work, commit, read_and_window, work_of
from mrc.errors import RunError, UsageError
from mrc.examples import Reject, rejects_to_table
from mrc.reader import Reader
from mrc.sources import SourceConfig
from tests import faults
from tests.bulk import write_bulk_reader
from tests.training_data import make_rows

UNITS, UNIT_ROWS = 3, 4
VOLATILE = ("run_id", "created_at", "seconds", "output", "config")


class Killed(BaseException):
    """Ends a driver as a kill would."""


@dataclass
class Driver:
    """One driver after the other, in this process; each may be told at which of its calls to the store it dies."""

    reader: Reader
    work: Work
    dies_at: int | None = None
    fails_at: int | None = None
    gives_up: bool = False
    """Whether the next stream of units breaks off after the first one."""
    calls: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    """Units that the last driver answered."""

    def run(self, planned: Plan, *, dies_at: int | None = None, fails_at: int | None = None) -> None:
        """Carry out a plan, die at a call to the store, or meet one that fails."""
        self.dies_at, self.fails_at, self.calls, self.answered = dies_at, fails_at, [], []
        run(planned)

    def error(self, planned: Plan, *, fails_at: int) -> str:
        """Carry out a plan with a call that fails, and return what is said where that ends it."""
        try:
            self.run(planned, fails_at=fails_at)
        except RunError as error:
            return str(error)
        return ""

    def on_call(self, point: str, path: str) -> None:
        """Count a call; who is dead makes none."""
        if self.dies_at is not None and len(self.calls) >= self.dies_at:
            raise Killed
        self.calls.append(f"{point} {path}")
        if len(self.calls) - 1 == self.fails_at:
            raise OSError(errno.EIO, "the store is down")

    def stream(self, orders: Sequence[Order], work: Work, shape: Shape, *, retries: int) -> Iterator[UnitRecord]:
        """Do what the pipeline does."""
        for order in orders:
            texts, windows = read_and_window(work, order)
            spans = self.reader.read_located(windows, len(texts.examples))
            record = commit(work, order.unit, texts, spans, 0.0)
            self.answered.append(order.unit.name)
            yield record
            if self.gives_up:
                self.gives_up = False
                raise RuntimeError("no progress for 600 s")


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp("storage")
    rows = [{**row, "group": i % 5} for i, row in enumerate(make_rows(UNITS * UNIT_ROWS, seed=3))]
    rows[5]["question"] = ""
    pq.write_table(pa.Table.from_pylist(rows), folder / "questions.parquet")
    config = AnswerConfig(
        model=write_bulk_reader(folder / "reader"),
        input=faults.url(folder / "questions.parquet"),
        output=faults.url(folder / "nowhere"),
        precision="float32",
        unit_rows=UNIT_ROWS,
        keep_columns="group",
        best_per="group",
    )
    return plan(config, SourceConfig())


@pytest.fixture(scope="module")
def made_once(planned: Plan) -> tuple[Reader, Work]:
    return Reader.from_pretrained(planned.config.model, precision="float32"), work_of(planned)


@pytest.fixture
def driver(made_once: tuple[Reader, Work], monkeypatch: pytest.MonkeyPatch) -> Driver:
    reader, job = made_once
    driver = Driver(reader, job)
    running = importlib.import_module("mrc.answering.run")
    monkeypatch.setattr(running, "stream", driver.stream)
    monkeypatch.setattr(running, "check_seen", lambda **places: None)
    monkeypatch.setattr(running, "work_of", lambda plan: replace(job, plan=plan))
    monkeypatch.setattr(best, "_write_buckets", SimpleNamespace(remote=cast(Any, best._write_buckets)._function))
    for name in ("put", "get"):
        monkeypatch.setattr(ray, name, lambda value: value)
    monkeypatch.setattr(ray, "wait", lambda refs, **_: (refs, []))
    monkeypatch.setattr(
        ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 2}, "NodeManagerAddress": "10.0.0.1"}]
    )
    monkeypatch.setattr(storage, "persistently", persistently)
    # The process that held the folder is gone, which this one is not.
    monkeypatch.setattr(lease, "_process", lambda: {"pid": 1, "started": 0})
    monkeypatch.setattr(faults.FaultyFileSystem, "hook", staticmethod(driver.on_call))
    return driver


def persistently(operation: Callable[[], Any], *, timeout_s: float = 60.0) -> Any:
    """Do what the storage's does, without its waits."""
    try:
        return operation()
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        return operation()


def into(planned: Plan, folder: pathlib.Path, **changes: Any) -> Plan:
    """Return a plan with another output, and perhaps another config."""
    config = replace(planned.config, output=faults.url(folder), **changes)
    return replace(planned, config=config, settings={**planned.settings, **changes})


def content(folder: pathlib.Path) -> dict[str, Any]:
    """Return all files of an output, without what differs between any two runs."""
    found: dict[str, Any] = {}
    passed_over = ("_driver.json", "config.yaml")
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in passed_over):
        name = str(path.relative_to(folder))
        if path.suffix == ".json":
            values = json.loads(path.read_text())
            found[name] = {key: value for key, value in values.items() if key not in VOLATILE}
        elif name == "metrics/metrics.parquet":
            found[name] = pq.read_table(path).drop_columns(["run_id", "created_at"])
        else:
            found[name] = path.read_bytes()
    return found


def without_records(files: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in files.items() if not name.startswith("commits/")}


def test_death_at_every_call(planned: Plan, driver: Driver, tmp_path: pathlib.Path) -> None:
    driver.run(into(planned, tmp_path / "undisturbed"))
    num_calls = len(driver.calls)
    expected = content(tmp_path / "undisturbed")
    assert sum(name.startswith("rejects/") for name in expected) == 1
    assert sum(call.startswith("wrote ") for call in driver.calls) > 4 * UNITS
    for dies_at in range(num_calls):
        folder = tmp_path / str(dies_at)
        with pytest.raises(Killed):
            driver.run(into(planned, folder), dies_at=dies_at)
        done = {path.stem for path in folder.glob("commits/*.json")}
        was_done = (folder / "_SUCCESS").exists()
        driver.run(into(planned, folder))
        assert done.isdisjoint(driver.answered)
        assert was_done or len(done) + len(driver.answered) == UNITS
        assert content(folder) == expected, driver.calls


def test_failure_at_every_call(planned: Plan, driver: Driver, tmp_path: pathlib.Path) -> None:
    """Each call fails once, and is made again: the job goes on."""
    driver.run(into(planned, tmp_path / "undisturbed"))
    calls, expected = driver.calls, content(tmp_path / "undisturbed")
    for fails_at in range(len(calls)):
        assert not driver.error(into(planned, tmp_path / str(fails_at)), fails_at=fails_at)
        assert content(tmp_path / str(fails_at)) == expected


def test_death_while_starting_over(planned: Plan, driver: Driver, tmp_path: pathlib.Path) -> None:
    """What is left of another run is never taken for a part of this one."""
    driver.run(into(planned, tmp_path / "undisturbed"))
    driver.run(into(planned, tmp_path / "other", min_probability=1.0))
    expected, other = content(tmp_path / "undisturbed"), content(tmp_path / "other")
    shutil.copytree(tmp_path / "other", tmp_path / "whole")
    driver.run(into(planned, tmp_path / "whole", overwrite=True))
    num_refused = 0
    [last] = [number for number, call in enumerate(driver.calls) if re.match("wrote .*/config.yaml$", call)]
    for dies_at in range(last + 2):
        folder = tmp_path / str(dies_at)
        shutil.copytree(tmp_path / "other", folder)
        with pytest.raises(Killed):
            driver.run(into(planned, folder, overwrite=True), dies_at=dies_at)
        config = folder / "config.yaml"
        if config.exists() and "min_probability: 1.0" in config.read_text():
            with pytest.raises(UsageError, match=r"holds another run \(--min_probability: 1.0 -> 0.0\)"):
                driver.run(into(planned, folder))
            num_refused += 1
            driver.run(into(planned, folder, min_probability=1.0))
            # Its records may be gone while it still counts as done.
            assert without_records(content(folder)) == without_records(other)
        else:
            driver.run(into(planned, folder))
            assert content(folder) == expected
    assert 0 < num_refused < last


def test_what_another_attempt_rejected(planned: Plan, driver: Driver, tmp_path: pathlib.Path) -> None:
    """A row that was rejected by an attempt that had no record yet, and is answered now, is not told as both."""
    driver.run(into(planned, tmp_path / "undisturbed"))
    reject = Reject(source="", row=0, id="3-0", reason="ends_the_process", detail="", text="")
    left = storage.join(faults.url(tmp_path / "out"), "rejects", planned.units[0].name + ".parquet")
    storage.write_table(left, rejects_to_table([reject]))
    driver.run(into(planned, tmp_path / "out"))
    assert content(tmp_path / "out") == content(tmp_path / "undisturbed")


def test_stream_that_breaks_off(
    planned: Plan, driver: Driver, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception out of Ray Data, as where it stalls, costs a pass and not the job."""
    driver.run(into(planned, tmp_path / "undisturbed"))
    driver.gives_up = True
    driver.run(into(planned, tmp_path / "out"))
    assert len(driver.answered) == UNITS
    assert "Ray gave up; what is missing is tried again: RuntimeError: no progress for 600 s" in caplog.text
    assert content(tmp_path / "out") == content(tmp_path / "undisturbed")


def test_stream_that_never_begins(
    planned: Plan, driver: Driver, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no node comes the job ends; it does not look for rows that end a process which there never was."""

    def stream(*_: Any, **__: Any) -> Iterator[UnitRecord]:
        yield from ()
        raise ExecutionTimeoutError("no progress for 600 s")

    running = importlib.import_module("mrc.answering.run")
    monkeypatch.setattr(running, "stream", stream)
    monkeypatch.setattr(running, "Isolation", None)
    said = driver.error(into(planned, tmp_path / "out"), fails_at=-1)
    assert said.startswith(f"{UNITS} of {UNITS} units could not be answered, ")
    assert "no progress for 600 s; the same command goes on" in said
