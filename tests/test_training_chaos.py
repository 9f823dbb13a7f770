"""Training that is killed: whatever dies, the same command goes on and ends with the weights of an undisturbed run.

`tests.faults` holds the worker where it writes a certain checkpoint, so that each blow falls at a known step.
"""

import os
import pathlib
import re
import shutil
import signal

import pytest

from mrc import storage
from mrc.training import checkpoints
from mrc.training.checkpoints import TrainState
from tests.disturbed_training import SAVE_STEPS, STEPS, Run, assert_same_outcome
from tests.faults import Faults, hold_checkpoint
from tests.processes import Job, Jobs, descendants, is_alive, running_jobs, wait_until
from tests.tiny import write_model

# A run takes some 20 s, several times that where other work keeps the machine busy.
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("undisturbed")
    # A tiny BERT with its dropout on, so that a lost state of random numbers shows in the weights.
    run = Run(write_model(folder / "bert"), folder / "out")
    with running_jobs(folder / "logs") as started:
        # Ray would tell that it made a token, as it does on a machine that never saw Ray.
        job = started.train(*run.flags, RAY_AUTH_MODE="", HOME=str(folder))
        assert job.wait() == 0, job.stderr
        run.told = job.stdout, job.stderr
    assert run.tells_steps(STEPS)
    return run


def assert_continued(job: Job, step: int) -> None:
    assert f"continuing from the checkpoint of step {step}\n" in job.stdout


@pytest.mark.slow
def test_console_has_our_lines_only(undisturbed: Run, jobs: Jobs) -> None:
    stdout, stderr = undisturbed.told
    assert stderr == ""
    ours = r"\d\d:\d\d:\d\d (windows of|train data:|validation data:|step )|(model|scores|logs) "
    assert not [line for line in stdout.splitlines() if not re.match(ours, line)]
    assert re.search(rf"step {STEPS}/{STEPS} .* loss [\d.]+ .* questions/s", stdout)
    again = jobs.train(*undisturbed.flags)
    assert again.wait() == 0
    assert "this run is done" in again.stdout


@pytest.mark.chaos
@pytest.mark.slow
def test_terminated_and_killed(undisturbed: Run, jobs: Jobs, tmp_path: pathlib.Path) -> None:
    """The driver is terminated; goes on, and loses its worker; goes on, and is killed; goes on to the end."""
    run, faults = Run(undisturbed.model, tmp_path / "out"), Faults(tmp_path / "faults")
    jobs.environment |= faults.environment

    faults.set(hold_checkpoint(3))
    job = jobs.train(*run.flags)
    job.wait_for(lambda: bool(faults.held()), "the third checkpoint")
    job.process.send_signal(signal.SIGTERM)
    job.wait_for(lambda: "asked to stop" in job.stdout, "the driver's answer")
    faults.set()
    assert job.wait() == 1
    [line] = job.stderr.splitlines()
    stopped = re.fullmatch(r"error: stopped after step (\d+) with a checkpoint; the same command continues .*", line)
    assert stopped
    assert 3 * SAVE_STEPS <= int(stopped[1]) == run.last_step < STEPS
    assert run.tells_steps(run.last_step)

    first_step = run.last_step
    faults.set(hold_checkpoint(2), hold_checkpoint(3))  # the one that is held does not come to the second rule
    job = jobs.train(*run.flags)
    job.wait_for(lambda: bool(faults.held(0)), "the second checkpoint")
    assert_continued(job, first_step)
    [worker] = faults.held(0)
    assert worker == job.worker()
    os.kill(worker, signal.SIGKILL)
    job.wait_for(lambda: bool(faults.held(1)), "the second checkpoint after that")
    last_step = run.last_step
    assert first_step < last_step < STEPS
    job.wait_for(lambda: run.tells_steps(last_step + SAVE_STEPS), "the steps since then")
    [lost] = re.findall("a worker failed: (.*); all go on from the last checkpoint", job.stdout)
    assert "worker process has died" in lost

    started = descendants(job.process.pid)
    assert any("raylet" in command for command in started.values())
    job.process.send_signal(signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL
    wait_until(lambda: not any(map(is_alive, started)), "the end of the driver's Ray processes")
    assert not (run.output / "result.json").exists()
    assert run.last_step == last_step
    # What a kill in the middle of writing a checkpoint leaves: the files without the marker, not all of them whole.
    cut_short = run.output / "checkpoints" / f"step-{last_step + SAVE_STEPS:08d}"
    shutil.copytree(run.output / "checkpoints" / f"step-{last_step:08d}", cut_short, dirs_exist_ok=True)
    (cut_short / "state.json").unlink()
    (cut_short / "trainer.pt").write_bytes(b"torn")

    faults.set()
    job = jobs.train(*run.flags)
    assert job.wait() == 0, job.stderr
    assert_continued(job, last_step)
    assert run.tells_steps(STEPS)
    assert_same_outcome(run, undisturbed)


class Killed(BaseException):
    """Ends a write as a kill would: nothing catches it."""


@pytest.mark.parametrize("survived_writes", range(5))
def test_checkpoint_cut_short_is_not_there(
    survived_writes: int, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint of 4 files and a marker is killed before each of its writes, and once not at all."""
    folder = str(tmp_path / "checkpoints")

    def write(local: pathlib.Path) -> None:
        for name in ("a", "b", "c", "d"):
            (local / name).write_text(name)

    checkpoints.save(folder, TrainState(step=3), write)
    replace, left = os.replace, [survived_writes]

    def dying_replace(source: str, target: str) -> None:
        if not left[0]:
            raise Killed
        left[0] -= 1
        replace(source, target)

    monkeypatch.setattr(os, "replace", dying_replace)
    with pytest.raises(Killed):
        checkpoints.save(folder, TrainState(step=6), write)
    monkeypatch.setattr(os, "replace", replace)
    assert [state.step for _, state in checkpoints.committed(folder)] == [3]
    checkpoints.save(folder, TrainState(step=6), write)
    checkpoints.keep_only(folder, {6})
    [(url, state)] = checkpoints.committed(folder)
    assert state == TrainState(step=6)
    assert storage.list_folders(folder) == [url]


def test_checkpoint_half_deleted_is_not_there(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(tmp_path / "checkpoints")
    url = checkpoints.save(folder, TrainState(step=3), lambda local: _touch(local / "weights"))
    remove = storage.remove

    def dying_remove(target: str) -> None:
        if target == url:
            raise Killed
        remove(target)

    monkeypatch.setattr(storage, "remove", dying_remove)
    with pytest.raises(Killed):
        checkpoints.discard(url)
    assert checkpoints.committed(folder) == []


def _touch(path: pathlib.Path) -> None:
    path.write_text("")
