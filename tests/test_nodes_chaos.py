"""Training and evaluation on several nodes that are lost, with drivers that die: the outcome is what it would be."""

import os
import pathlib
import signal
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from ray.cluster_utils import Cluster

from tests.disturbed_evaluation import assert_same_evaluation, flags_of, write_sides
from tests.disturbed_training import SAVE_STEPS, STEPS, Run, assert_same_outcome
from tests.faults import Faults, Rule, hold_checkpoint
from tests.nodes import lose, node_of, nodes
from tests.processes import Job, Jobs, descendants, running_jobs, wait_until
from tests.tiny import write_model

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(1800)]


class Place(NamedTuple):
    """Where jobs are disturbed: a head and three nodes of one CPU."""

    jobs: Jobs
    faults: Faults
    cluster: Cluster
    folder: pathlib.Path

    def start(self, job: str, flags: list[str]) -> Job:
        """Start a job on the cluster."""
        started = self.jobs.start([sys.executable, f"jobs/{job}.py", *flags], RAY_ADDRESS=self.cluster.address)
        self.faults.driver_is(started.process.pid)
        return started

    def held(self, job: Job, rule: int = 0) -> int:
        """Wait until a rule holds a process of a job, and return its id."""
        job.wait_for(lambda: bool(self.faults.held(rule)), "a process that is held")
        return self.faults.held(rule)[0]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("nodes")
    faults = Faults(folder / "faults")
    with running_jobs(folder / "logs") as jobs:
        jobs.environment |= faults.environment
        with nodes(jobs.environment, 3, num_cpus=1) as cluster:
            yield Place(jobs, faults, cluster, folder)


def training_workers() -> list[int]:
    """Return the ids of the training workers on all nodes."""
    return [pid for pid, command in descendants(os.getpid()).items() if "RayTrainWorker" in command]


def test_training_on_two_nodes_that_are_lost_ends_as_an_undisturbed_one(place: Place) -> None:
    model = write_model(place.folder / "bert")
    # A worker takes a node.
    both = {"num_workers": 2, "cpus_per_worker": 1}
    undisturbed = Run(model, place.folder / "undisturbed", **both)
    job = place.start("train", undisturbed.flags)
    assert job.wait() == 0, job.stderr

    run = Run(model, place.folder / "run", **both)
    place.faults.set(hold_checkpoint(2))
    job = place.start("train", run.flags)
    kept = node_of(place.cluster, place.held(job))
    for node in place.cluster.worker_nodes - {kept}:
        lose(place.cluster, node)
    place.faults.set(hold_checkpoint(4))
    # There is no worker that could write a checkpoint.
    job.wait_for(lambda: "waiting for nodes" in job.stdout, "what training waits for")
    assert "--num_workers 2 of 1 CPU each and the cluster's nodes have room for 1" in job.stdout
    job.process.terminate()
    assert job.wait() == 1
    assert f"stopped after step {SAVE_STEPS} with a checkpoint; the same command continues" in job.stderr

    for _ in range(2):
        place.cluster.add_node(num_cpus=1)
    job = place.start("train", run.flags)
    writes = place.held(job)
    [other] = set(training_workers()) - {writes}
    lose(place.cluster, node_of(place.cluster, other))
    place.faults.set()
    assert job.wait() == 0, job.stderr
    place.cluster.add_node(num_cpus=1)
    assert "a worker failed" in job.stdout
    assert run.tells_steps(STEPS)
    assert_same_outcome(run, undisturbed)


@pytest.fixture(scope="module")
def sides(place: Place) -> dict[str, str]:
    return write_sides(place.folder)


def test_an_evaluation_that_loses_a_node_and_its_driver_ends_as_an_undisturbed_one(
    place: Place, sides: dict[str, str], tmp_path: pathlib.Path
) -> None:
    place.faults.set()
    calm = place.start("evaluate", flags_of(sides, tmp_path / "calm"))
    assert calm.wait() == 0, calm.stderr

    flags = flags_of(sides, tmp_path / "disturbed")
    place.faults.set(Rule(point="write", match="/per_question/", action="kill_driver"))
    job = place.start("evaluate", flags)
    assert job.wait() == -signal.SIGKILL
    assert not list((tmp_path / "disturbed" / "metrics").glob("*"))
    wait_until(lambda: not any("_score" in title for title in descendants(os.getpid()).values()), "its tasks' end")

    # Pieces of both sides lie on the nodes by then.
    place.faults.set(Rule(point="write", match="/per_question/", action="hold"))
    job = place.start("evaluate", flags)
    lose(place.cluster, node_of(place.cluster, place.held(job)))
    place.faults.set()
    assert job.wait() == 0, job.stderr
    place.cluster.add_node(num_cpus=1)
    assert_same_evaluation(tmp_path / "disturbed", tmp_path / "calm")
