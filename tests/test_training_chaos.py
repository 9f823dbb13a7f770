"""Training that is killed with the cluster that it started, or while it writes a checkpoint."""

import json
import os
import pathlib
import re
import signal

import pytest

from mrc import storage
from mrc.lease import NAME
from mrc.training import checkpoints
from mrc.training.checkpoints import TrainState
from tests.disturbed_training import SAVE_STEPS, Run
from tests.faults import Faults, hold_checkpoint
from tests.job_runs import assert_is_one_error
from tests.processes import Job, Jobs, descendants, is_alive, wait_until
from tests.tiny import write_model

# A run takes some 20 s, several times that where other work keeps the machine busy.
pytestmark = pytest.mark.timeout(1800)


@pytest.mark.chaos
@pytest.mark.slow
def test_a_killed_driver_takes_its_cluster_along_and_the_console_has_our_lines_only(
    jobs: Jobs, tmp_path: pathlib.Path
) -> None:
    run = Run(write_model(tmp_path / "bert"), tmp_path / "out", max_steps=12, eval_steps=6)
    faults = Faults(tmp_path / "faults")
    jobs.environment |= faults.environment
    # Ray would tell that it made a token, as it does on a machine that never saw Ray.
    jobs.environment |= {"RAY_AUTH_MODE": "", "HOME": str(tmp_path)}
    faults.set(hold_checkpoint(2))
    job = jobs.train(*run.flags)
    job.wait_for(lambda: bool(faults.held()), "the second checkpoint")
    [worker] = faults.held()
    assert worker == job.worker()
    started = descendants(job.process.pid)
    assert any("raylet" in command for command in started.values())
    second = jobs.train(*run.flags)
    assert second.wait() == 2
    assert_is_one_error(second.stderr, f"process {job.process.pid} on .* is writing to {run.output}: wait for it, stop")
    assert is_alive(worker)
    job.process.kill()
    assert job.wait() == -signal.SIGKILL
    assert_ours(job)
    wait_until(lambda: not is_alive(worker), "the end of its worker")
    faults.set()
    # As if the driver had been killed before it heard of any step.
    (run.output / "logs" / "metrics.jsonl").unlink(missing_ok=True)

    job = jobs.train(*run.flags)
    assert job.wait() == 0, job.stderr
    assert_ours(job)
    assert f"continuing from the checkpoint of step {SAVE_STEPS}\n" in job.stdout
    assert re.search(r"step 12/12 .* loss [\d.]+ .* questions/s", job.stdout)
    assert run.tells_steps(12)
    again = jobs.train(*run.flags)
    assert again.wait() == 0
    assert "this run is done" in again.stdout
    # Only now, since Ray's agents try for a minute to tell a cluster that is gone.
    wait_until(lambda: not any(map(is_alive, started)), "the end of the killed driver's Ray processes")


@pytest.mark.chaos
@pytest.mark.slow
def test_a_driver_whose_run_another_one_took_over_stops_with_its_workers(jobs: Jobs, tmp_path: pathlib.Path) -> None:
    run = Run(write_model(tmp_path / "bert"), tmp_path / "out", max_steps=100_000, eval_steps=100_000)
    job = jobs.train(*run.flags)
    job.wait_for(lambda: run.last_step > 0, "the first checkpoint")
    worker = job.worker()
    assert worker is not None
    storage.write_text(str(run.output / NAME), json.dumps({"driver": "another"}))
    assert job.wait() == 1
    assert_is_one_error(job.stderr, f"another driver has taken over {run.output}; this one stops")
    wait_until(lambda: not is_alive(worker), "the end of its worker")
    assert json.loads(storage.read_text(str(run.output / NAME))) == {"driver": "another"}


def assert_ours(job: Job) -> None:
    """Check that a job wrote nothing that is not ours."""
    assert job.stderr == ""
    ours = r"\d\d:\d\d:\d\d (windows of|train data:|validation data:|step |continuing from)|(model|scores|logs) "
    assert not [line for line in job.stdout.splitlines() if not re.match(ours, line)]


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
