"""Jobs whose nodes, processes and drivers are lost, on several nodes: the outcome is that of an undisturbed run."""

import os
import pathlib
import re
import shutil
import signal
from collections.abc import Iterator

import pytest

from benchmarks.soak import Round, Soak, running_soak
from tests.disturbed_evaluation import assert_same_evaluation
from tests.disturbed_training import SAVE_STEPS, STEPS, assert_same_outcome
from tests.faults import Rule, hold_checkpoint
from tests.nodes import lose, node_of
from tests.processes import Job, descendants, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Soak]:
    with running_soak(tmp_path_factory.mktemp("nodes"), seed=5) as made:
        yield made


def held(place: Soak, job: Job, rule: int = 0) -> int:
    """Wait until a rule holds a process of a job, and return its id."""
    job.wait_for(lambda: bool(place.faults.held(rule)), "a process that is held")
    return place.faults.held(rule)[0]


def running(title: str) -> list[int]:
    """Return the ids of the processes on all nodes with this in their title."""
    return [pid for pid, command in descendants(os.getpid()).items() if title in command]


def test_training_that_loses_nodes_workers_and_its_driver_ends_as_an_undisturbed_one(
    place: Soak, tmp_path: pathlib.Path
) -> None:
    """Nodes are lost for good, and the driver that waits for others is asked to stop; the next one loses a worker and a
    node, and is killed; what it was writing then is torn; one is asked to stop while it trains; the last one goes on to
    the end."""
    run = Round(place, tmp_path).training
    place.fill()
    place.faults.set(hold_checkpoint(2))
    job = place.start("train", run.flags)
    kept = node_of(place.cluster, held(place, job))
    for node in place.cluster.worker_nodes - {kept}:
        lose(place.cluster, node)
    place.faults.set(hold_checkpoint(4))
    # There is no worker that could write a checkpoint.
    job.wait_for(lambda: "waiting for nodes" in job.stdout, "what training waits for")
    assert "--num_workers 2 of 2 CPU each and the cluster's nodes have room for 1" in job.stdout
    job.process.terminate()
    assert job.wait() == 1
    # The one that was held may have been done before its worker was ended.
    assert run.last_step in (SAVE_STEPS, 2 * SAVE_STEPS)
    assert f"stopped after step {run.last_step} with a checkpoint; the same command continues" in job.stderr

    place.fill()
    first_step = run.last_step
    # The second checkpoint, then the second after that, twice: who is held by a rule does not come to the next ones.
    place.faults.set(*map(hold_checkpoint, (2, 3, 4)))
    job = place.start("train", run.flags)
    os.kill(held(place, job, 0), signal.SIGKILL)
    lose(place.cluster, node_of(place.cluster, held(place, job, 1)))
    held(place, job, 2)
    assert f"continuing from the checkpoint of step {first_step}\n" in job.stdout
    blows = re.findall("a worker failed: (.*); all go on from the last checkpoint", job.stdout)
    assert len(blows) == 2
    assert "worker process has died" in blows[0]
    last_step = run.last_step
    assert first_step + 2 * SAVE_STEPS < last_step < STEPS
    job.wait_for(lambda: run.tells_steps(last_step + SAVE_STEPS), "the steps since then")
    job.process.kill()
    assert job.wait() == -signal.SIGKILL
    wait_until(lambda: not running("RayTrainWorker"), "the end of the driver's workers")
    assert not (run.output / "result.json").exists()
    assert run.last_step == last_step
    # What a kill in the middle of writing a checkpoint leaves: the files without the marker, not all of them whole.
    cut_short = run.output / "checkpoints" / f"step-{last_step + SAVE_STEPS:08d}"
    shutil.copytree(run.output / "checkpoints" / f"step-{last_step:08d}", cut_short, dirs_exist_ok=True)
    (cut_short / "state.json").unlink()
    (cut_short / "trainer.pt").write_bytes(b"torn")

    place.fill()
    place.faults.set(hold_checkpoint(2))
    job = place.start("train", run.flags)
    held(place, job)
    assert f"continuing from the checkpoint of step {last_step}\n" in job.stdout
    job.process.terminate()
    job.wait_for(lambda: "asked to stop" in job.stdout, "the driver's answer")
    place.faults.set()
    assert job.wait() == 1
    [line] = job.stderr.splitlines()
    stopped = re.fullmatch(r"error: stopped after step (\d+) with a checkpoint; the same command continues .*", line)
    assert stopped
    assert last_step + 2 * SAVE_STEPS <= int(stopped[1]) == run.last_step < STEPS
    assert run.tells_steps(run.last_step)

    stopped_step = run.last_step
    job = place.start("train", run.flags)
    assert job.wait() == 0, job.stderr
    assert f"continuing from the checkpoint of step {stopped_step}\n" in job.stdout
    assert run.tells_steps(STEPS)
    assert_same_outcome(run, place.calm.training)


def test_an_evaluation_that_loses_its_driver_and_all_nodes_ends_as_an_undisturbed_one(
    place: Soak, tmp_path: pathlib.Path
) -> None:
    flags = Round(place, tmp_path).jobs["evaluate"]
    place.faults.set(Rule(point="write", match="/per_question/", action="kill_driver"))
    job = place.start("evaluate", flags)
    assert job.wait() == -signal.SIGKILL
    assert not list((tmp_path / "evaluate" / "metrics").glob("*"))
    wait_until(lambda: not running("_score"), "its tasks' end")

    # Pieces of both sides lie on the nodes by then.
    place.faults.set(Rule(point="write", match="/per_question/", action="hold"))
    job = place.start("evaluate", flags)
    held(place, job)
    for node in list(place.cluster.worker_nodes):
        lose(place.cluster, node)
    place.faults.set()
    job.wait_for(lambda: "waiting for nodes: the cluster has none" in job.stdout, "what the evaluation waits for")
    place.add_node()
    assert job.wait() == 0, job.stderr
    assert_same_evaluation(tmp_path / "evaluate", place.calm.folder / "evaluate")


def test_a_round_of_kills_changes_nothing(place: Soak) -> None:
    """The short form of `benchmarks/soak.py`: each of the three jobs loses something once."""
    place.fill()
    place.faults.set()
    place.disturb("kills", kills=1)
    assert sum(place.kills.values()) > 0
