"""A cluster of several nodes on which jobs of bulk answering are disturbed, and what their outcome has to be."""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from ray.cluster_utils import Cluster

from tests.disturbed import UNITS, Run, assert_exact, write_models, write_questions
from tests.faults import Faults
from tests.nodes import nodes
from tests.processes import Job, Jobs, descendants, is_alive, running_jobs, wait_until

_GOING_ON = re.compile(r"going on: (\d+) of (\d+) units are done")


class Place(NamedTuple):
    """Where jobs are disturbed."""

    jobs: Jobs
    faults: Faults
    cluster: Cluster
    undisturbed: Run
    panicking: str
    """A model that answers as the others', where its tokenizer does not panic."""
    ids: list[str]

    def answer(self, run: Run, **changes: object) -> Job:
        """Start a job on the cluster."""
        job = self.jobs.answer(*run.flags(**changes), RAY_ADDRESS=self.cluster.address)
        self.faults.driver_is(job.process.pid)
        return job

    def held(self, job: Job, rule: int = 0) -> int:
        """Wait until a rule holds a process of a job, and return its id."""
        job.wait_for(lambda: bool(self.faults.held(rule)), "a process that is held")
        return self.faults.held(rule)[0]

    def wait_for_quiet(self) -> None:
        """Wait until what a dead driver left running on the cluster has ended: it may go on to write for a moment."""

        def is_quiet() -> bool:
            titles = descendants(os.getpid()).values()
            ours = any(word in title for title in titles for word in ("MapBatches", "MapWorker"))
            return not ours and not any(map(is_alive, self.faults.held()))

        wait_until(is_quiet, "the end of a dead driver's tasks")

    @contextlib.contextmanager
    def run(self, output: pathlib.Path) -> Iterator[Run]:
        """Give a job of the undisturbed one's model and input; no rule that is set meanwhile outlives it."""
        self.faults.set()
        try:
            yield Run(self.undisturbed.model, self.undisturbed.questions, output)
        finally:
            self.faults.set()


@contextlib.contextmanager
def running_place(folder: pathlib.Path) -> Iterator[Place]:
    """Start a cluster, a head and two nodes of 2 CPUs, and answer the questions undisturbed on it."""
    sound, panicking = write_models(folder / "models")
    ids = write_questions(folder / "questions")
    faults = Faults(folder / "faults")
    undisturbed = Run(sound, folder / "questions", folder / "undisturbed")
    with running_jobs(folder / "logs") as jobs:
        jobs.environment |= faults.environment
        with nodes(jobs.environment, 2, num_cpus=2) as cluster:
            made = Place(jobs, faults, cluster, undisturbed, panicking, ids)
            job = made.answer(undisturbed)
            assert job.wait() == 0, job.stderr
            assert_exact(undisturbed, undisturbed, ids)
            assert len(undisturbed.table("rejects")) == 1
            yield made


def error_of(job: Job) -> str:
    """Return the one line that tells why a job failed; Ray's C++ code may write others, and none is a traceback's."""
    lines = [line for line in job.stderr.splitlines() if not re.match(r"\[\d{4}-\d\d-\d\d ", line)]
    assert len(lines) == 1, job.stderr
    return lines[0]


def assert_continued(job: Job, run: Run, done: dict[str, int]) -> None:
    """Check that a job did only what its predecessor left to do."""
    assert _GOING_ON.findall(job.stdout) == ([(str(len(done)), str(UNITS))] if done else [])
    assert {name: run.committed[name] for name in done} == done, "a unit that was done was written again"
