"""A store that others write to and that fails: one creator of a file, all answers, and an end to waiting."""

import pathlib
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrc import storage
from mrc.errors import MrcError, UsageError
from tests.source_files import unhurried

pytest_plugins = ["tests.s3"]

PLACES = ["path", "file", "memory", "s3"]


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> str:
    """An empty folder on a kind of file system."""
    if request.param == "s3":
        return f"{request.getfixturevalue('s3_bucket')}/folder"
    urls = {"path": str(tmp_path), "file": f"file://{tmp_path}", "memory": f"memory://{uuid.uuid4().hex}"}
    return urls[request.param]


everywhere = pytest.mark.parametrize("folder", PLACES, indirect=True)


# One creator


@everywhere
def test_a_file_is_created_once(folder: str) -> None:
    url = storage.join(folder, "sub", "one")
    assert storage.create(url, b"first")
    assert not storage.create(url, b"second")
    assert storage.read_bytes(url) == b"first"
    storage.remove(url)
    assert storage.create(url, b"third")
    assert storage.read_bytes(url) == b"third"


# Not memory://, which looks first and writes then.
@pytest.mark.parametrize("folder", ["path", "s3"], indirect=True)
def test_of_many_creators_one_succeeds(folder: str) -> None:
    for number in range(2):
        url = storage.join(folder, f"file{number}")
        barrier = threading.Barrier(8)

        def create(who: int, url: str = url, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            return storage.create(url, b"%d" % who)

        with ThreadPoolExecutor(8) as pool:
            created = list(pool.map(create, range(8)))
        assert sum(created) == 1
        assert storage.read_bytes(url) == b"%d" % created.index(True)


@pytest.mark.parametrize("fault", [NotImplementedError(), TypeError("unexpected keyword argument 'mode'")])
def test_a_store_without_exclusive_creation_is_asked_first(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = fsspec.get_filesystem_class("memory")
    pipe_file = memory.pipe_file

    def pipe_without_mode(self: Any, path: str, value: bytes, **options: Any) -> None:
        if options:
            raise fault
        pipe_file(self, path, value)

    monkeypatch.setattr(memory, "pipe_file", pipe_without_mode)
    url = f"memory://{uuid.uuid4().hex}/one"
    assert [storage.create(url, b"a"), storage.create(url, b"b")] == [True, False]
    assert storage.read_bytes(url) == b"a"


def test_a_folder_that_is_a_file_is_no_created_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    for name in ("file/one", "file/sub/one"):
        with pytest.raises(NotADirectoryError):
            storage.create(str(tmp_path / name), b"")


# Listings


@everywhere
def test_names_are_those_of_the_files_directly_below(folder: str) -> None:
    assert storage.list_names(storage.join(folder, "none")) == []
    for name in ("b", "a", "_c", "sub/d", "sub/deep/e"):
        storage.write_text(storage.join(folder, "in", name), name)
    assert storage.list_names(storage.join(folder, "in")) == ["_c", "a", "b"]
    assert storage.list_names(storage.join(folder, "in", "sub")) == ["d"]
    storage.remove(storage.join(folder, "in", "a"))
    assert storage.list_names(storage.join(folder, "in")) == ["_c", "b"]


# Many requests


@unhurried
@given(st.lists(st.text(max_size=3), max_size=80))
def test_answers_come_in_the_order_of_the_questions(urls: list[str]) -> None:
    def slow_for_some(url: str) -> str:
        if url < "m":
            time.sleep(0.0002)
        return url * 2

    assert storage.for_each(slow_for_some, urls) == [url * 2 for url in urls]


def test_many_are_asked_at_a_time_and_an_error_is_raised() -> None:
    barrier = threading.Barrier(16)
    storage.for_each(lambda _: barrier.wait(10), ["url"] * 16)
    with pytest.raises(ZeroDivisionError):
        storage.for_each(lambda url: 1 // int(url), ["1", "0", "2"])


# Persistence


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Do not wait between attempts, but note for how long it would have been."""
    noted: list[float] = []
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=noted.append))
    return noted


def failing(*faults: BaseException | None) -> Callable[[], int]:
    """Return an operation that raises these one after the other, and returns the number of the attempt for None."""
    attempts = iter(enumerate(faults, 1))

    def operation() -> int:
        number, fault = next(attempts)
        if fault is not None:
            raise fault
        return number

    return operation


@pytest.mark.parametrize("failures", [0, 1, 3])
def test_an_operation_is_tried_again_until_it_succeeds(failures: int, waits: list[float]) -> None:
    operation = failing(*[OSError("reset")] * failures, None)
    assert storage.persistently(operation, timeout_s=10) == failures + 1
    assert len(waits) == failures
    assert all(0.5 * 2**number <= wait <= 0.5 * 2**number + 1 for number, wait in enumerate(waits))


def test_the_last_of_four_errors_is_raised(waits: list[float]) -> None:
    operation = failing(*(OSError(f"reset {number}") for number in range(1, 9)))
    with pytest.raises(OSError, match=r"^reset 4$"):
        storage.persistently(operation, timeout_s=10)
    assert len(waits) == 3


@pytest.mark.parametrize("kind", [PermissionError, FileNotFoundError, IsADirectoryError, UsageError, MrcError])
def test_what_waiting_does_not_change_is_raised_at_once(kind: type[Exception], waits: list[float]) -> None:
    with pytest.raises(kind, match=r"^no$"):
        storage.persistently(failing(kind("no"), None), timeout_s=10)
    assert waits == []


def test_an_operation_that_hangs_is_tried_again(waits: list[float]) -> None:
    released, attempts = threading.Event(), []

    def hangs_once() -> str:
        attempts.append(threading.current_thread())
        if len(attempts) == 1:
            released.wait(60)
        return f"attempt {len(attempts)}"

    began = time.monotonic()
    assert storage.persistently(hangs_once, timeout_s=0.1) == "attempt 2"
    assert time.monotonic() - began < 30
    # It is left to itself, and does not hold up the end of the process.
    assert attempts[0].is_alive()
    assert attempts[0].daemon
    released.set()
    attempts[0].join(30)


def test_an_operation_that_hangs_for_ever_times_out(waits: list[float]) -> None:
    released = threading.Event()
    with pytest.raises(TimeoutError, match=r"did not answer within 0\.02 s"):
        storage.persistently(lambda: released.wait(60), timeout_s=0.02)
    released.set()
    assert len(waits) == 3
