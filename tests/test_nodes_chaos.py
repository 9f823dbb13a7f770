"""Jobs whose nodes, processes and drivers are lost, on several nodes: the outcome is that of an undisturbed run."""

import os
import pathlib
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


def held(place: Soak, job: Job) -> int:
    """Wait until a process of a job is held, and return its id."""
    job.wait_for(lambda: bool(place.faults.held(0)), "a process that is held")
    return place.faults.held(0)[0]


def training_workers() -> list[int]:
    """Return the ids of the training workers on all nodes."""
    return [pid for pid, command in descendants(os.getpid()).items() if "RayTrainWorker" in command]


def test_training_on_two_nodes_that_are_lost_ends_as_an_undisturbed_one(place: Soak, tmp_path: pathlib.Path) -> None:
    run = Round(place, tmp_path).training
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

    for _ in range(2):
        place.add_node()
    job = place.start("train", run.flags)
    writes = held(place, job)
    [other] = set(training_workers()) - {writes}
    lose(place.cluster, node_of(place.cluster, other))
    place.faults.set()
    assert job.wait() == 0, job.stderr
    place.add_node()
    assert "a worker failed" in job.stdout
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
    wait_until(lambda: not any("_score" in title for title in descendants(os.getpid()).values()), "its tasks' end")

    # Pieces of both sides lie on the nodes by then.
    place.faults.set(Rule(point="write", match="/per_question/", action="hold"))
    job = place.start("evaluate", flags)
    held(place, job)
    for node in list(place.cluster.worker_nodes):
        lose(place.cluster, node)
    place.faults.set()
    job.wait_for(lambda: "waiting for nodes: the cluster has none" in job.stdout, "what the evaluation waits for")
    for _ in range(3):
        place.add_node()
    assert job.wait() == 0, job.stderr
    assert_same_evaluation(tmp_path / "evaluate", place.calm.folder / "evaluate")


def test_a_round_of_kills_changes_nothing(place: Soak) -> None:
    """The short form of `benchmarks/soak.py`: each of the three jobs loses something once."""
    place.faults.set()
    place.disturb("kills", kills=1)
    assert sum(place.kills.values()) > 0
