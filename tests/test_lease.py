"""One driver an output folder: refused while another lives, let in once that is gone, told when it is taken over."""

import json
import logging
import os
import pathlib
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from mrc import storage
from mrc.errors import RunError, UsageError
from mrc.lease import NAME, lease

pytest_plugins = ["tests.s3"]

SOON_S = 0.05
DEADLINE_S = 120.0


@pytest.fixture
def output() -> str:
    return f"memory://{uuid.uuid4().hex}/answers"


def there(output: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(storage.read_text(storage.join(output, NAME)))
    return value


def write(output: str, **driver: Any) -> None:
    storage.write_text(storage.join(output, NAME), json.dumps(driver))


def own(output: str) -> dict[str, Any]:
    """The lease that this process writes."""
    with lease(output):
        return there(output)


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def raises(check: Callable[[], None]) -> bool:
    try:
        check()
    except RunError:
        return True
    return False


def held(output: str, **options: float) -> bool:
    """Tell whether the folder can be had."""
    with lease(output, **options) as check:
        check()
        return bool(there(output)["pid"] == os.getpid())


# Holding


def test_a_folder_is_held_for_the_block_and_free_after_it(output: str) -> None:
    with lease(output) as check:
        check()
        assert there(output)["pid"] == os.getpid()
    assert not storage.exists(storage.join(output, NAME))
    assert held(output)


def test_a_folder_is_free_after_a_block_that_raised(output: str) -> None:
    with pytest.raises(ZeroDivisionError), lease(output):
        _ = 1 // 0
    assert held(output)


def test_the_driver_beats(output: str) -> None:
    with lease(output, beat_s=0.005) as check:
        wait_until(lambda: there(output).get("beat", 0) > 2)
        check()
    assert not storage.exists(storage.join(output, NAME))


@pytest.mark.parametrize("place", ["path", "s3"])
def test_a_second_driver_is_refused_in_one_line(
    place: str, tmp_path: pathlib.Path, request: pytest.FixtureRequest
) -> None:
    output = str(tmp_path / "new" / "answers")
    if place == "s3":
        output = f"{request.getfixturevalue('s3_bucket')}/answers"
    with lease(output):
        message = rf"^process {os.getpid()} on .* is writing to {output}: .*another --output$"
        with pytest.raises(UsageError, match=message), lease(output):
            pass
        assert there(output)["pid"] == os.getpid()


def test_of_drivers_that_start_at_once_one_goes_on(tmp_path: pathlib.Path) -> None:
    barrier, all_told = threading.Barrier(4), threading.Event()
    outcomes: list[str] = []

    def drive() -> None:
        barrier.wait()
        try:
            with lease(str(tmp_path)):
                outcomes.append("in")
                all_told.wait(DEADLINE_S)
        except UsageError:
            outcomes.append("refused")

    threads = [threading.Thread(target=drive) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(outcomes) == 4)
    all_told.set()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["in", "refused", "refused", "refused"]


# Taking over on this machine


def gone_process() -> tuple[int, float]:
    """A process id, and the start of its process, that ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = psutil.Process(process.pid).create_time()
    return process.pid, started


def test_a_driver_that_was_killed_here_is_followed_at_once(output: str) -> None:
    pid, started = gone_process()
    write(output, **{**own(output), "driver": "other", "pid": pid, "started": started})
    began = time.monotonic()
    assert held(output, patience_s=600)
    assert time.monotonic() - began < DEADLINE_S


def test_another_process_with_the_old_ones_number_is_not_that_driver(output: str) -> None:
    mine = own(output)
    write(output, **{**mine, "driver": "other", "started": mine["started"] - 3_600})
    assert held(output, patience_s=600)


def test_a_driver_that_lives_is_known_though_the_clock_was_set(output: str) -> None:
    mine = own(output)
    # Starts are reckoned from the machine's boot, which is reckoned from its clock.
    write(output, **{**mine, "driver": "other", "started": mine["started"] - 1})
    with pytest.raises(UsageError, match=f"process {os.getpid()} on"), lease(output):
        pass


def test_a_zombie_does_not_live(output: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert process.stdin is not None
    other = {"pid": process.pid, "started": psutil.Process(process.pid).create_time()}
    write(output, **{**own(output), "driver": "other", **other})
    with pytest.raises(UsageError, match=f"process {process.pid} on"), lease(output):
        pass
    process.stdin.close()
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
    assert held(output, patience_s=600)
    process.wait()


# Taking over from another machine

ELSEWHERE = {"driver": "other", "machine": "elsewhere/1", "host": "elsewhere", "pid": 7, "started": 1.0}


def test_a_driver_elsewhere_is_followed_after_patience(output: str, caplog: pytest.LogCaptureFixture) -> None:
    write(output, **ELSEWHERE)
    began = time.monotonic()
    with caplog.at_level(logging.INFO, "mrc"):
        assert held(output, patience_s=0.2)
    assert time.monotonic() - began >= 0.2
    assert "process 7 on elsewhere held" in caplog.text


def test_a_driver_elsewhere_that_beats_is_not(output: str) -> None:
    write(output, **ELSEWHERE)
    stop = threading.Event()

    def beat() -> None:
        number = 0
        while not stop.wait(0.01):
            number += 1
            write(output, **ELSEWHERE, beat=number)

    beating = threading.Thread(target=beat)
    beating.start()
    began = time.monotonic()
    with pytest.raises(UsageError, match=r"^process 7 on elsewhere is writing to"), lease(output, patience_s=600):
        pass
    assert time.monotonic() - began < DEADLINE_S
    stop.set()
    beating.join()
    assert there(output)["driver"] == "other"


def test_a_driver_elsewhere_that_ends_meanwhile_is_followed(output: str) -> None:
    write(output, **ELSEWHERE)
    leaving = threading.Timer(SOON_S, storage.remove, [storage.join(output, NAME)])
    leaving.start()
    began = time.monotonic()
    assert held(output, patience_s=600)
    assert time.monotonic() - began < DEADLINE_S


@pytest.mark.parametrize("torn", [b"", b'{"driver": "o', b"[]", b"\xff"])
def test_a_torn_lease_is_one_of_nobody_after_patience(torn: bytes, output: str) -> None:
    storage.write_bytes(storage.join(output, NAME), torn)
    assert held(output, patience_s=SOON_S)


def test_a_lease_that_is_torn_because_it_is_being_written_is_somebodys(output: str) -> None:
    storage.write_bytes(storage.join(output, NAME), b"")
    writing = threading.Timer(SOON_S, lambda: write(output, **ELSEWHERE))
    writing.start()
    with pytest.raises(UsageError, match="is writing to"), lease(output, patience_s=600):
        pass
    writing.join()


# Being taken over


def test_a_driver_that_was_taken_over_is_told_and_leaves_the_lease_alone(output: str) -> None:
    with lease(output, beat_s=0.005) as check:
        write(output, **ELSEWHERE)
        # A beat that was on its way may still have written over it.
        while not raises(check):
            write(output, **ELSEWHERE)
            time.sleep(0.002)
        with pytest.raises(RunError, match=f"another driver has taken over {output}"):
            check()
    assert there(output) == ELSEWHERE


def test_a_driver_that_was_taken_over_and_ends_before_its_next_beat_leaves_the_lease_alone(output: str) -> None:
    with lease(output, beat_s=600):
        write(output, **ELSEWHERE)
    assert there(output) == ELSEWHERE


def test_a_lease_that_somebody_removed_is_written_again(output: str) -> None:
    with lease(output, beat_s=0.005) as check:
        storage.remove(storage.join(output, NAME))
        wait_until(lambda: storage.exists(storage.join(output, NAME)))
        check()


def test_a_store_that_fails_for_a_while_costs_beats_only(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[str] = []
    read_text = storage.read_text

    def fail_at_first(url: str) -> str:
        if len(failures) < 3:
            failures.append(url)
            raise OSError("reset")
        return read_text(url)

    with lease(output, beat_s=0.005) as check:
        monkeypatch.setattr(storage, "read_text", fail_at_first)
        wait_until(lambda: len(failures) == 3)
        wait_until(lambda: there(output).get("beat", 0) > 0)
        check()


# Folders that cannot be had


def test_a_file_in_the_folders_place_is_a_usage_error(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"/file cannot be written to"), lease(str(tmp_path / "file")):
        pass


def test_a_bucket_that_does_not_exist_is_a_usage_error(s3_bucket: str) -> None:
    with (
        pytest.raises(UsageError, match=r"s3://none-here/answers cannot be written to"),
        lease("s3://none-here/answers"),
    ):
        pass


def test_a_folder_without_permission_is_a_usage_error(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: object) -> bool:
        raise PermissionError("403")

    monkeypatch.setattr(storage, "create", forbid)
    with pytest.raises(UsageError, match=rf"{output} cannot be written to \(403\)"), lease(output):
        pass
