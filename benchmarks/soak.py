"""A soak: all three jobs on a cluster of several nodes, while processes, nodes and drivers are killed at random.

    python -m benchmarks.soak --minutes 30 --seed 1

A round trains with two workers, answers and evaluates, one job after the other, in new folders. Meanwhile something
dies every few seconds: a process that works for a job, a node with all its processes (another one comes), or the driver
(the same command is started again). Then the round's outcome is held against that of a first, undisturbed one: the same
weights, every id once with the same answer, the same table. Prints each kill and each round, and the sums at the end.
"""

import argparse
import collections
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ray.cluster_utils import Cluster

from tests import disturbed, disturbed_evaluation, disturbed_training
from tests.faults import Faults
from tests.nodes import lose, nodes
from tests.processes import Job, Jobs, descendants, is_alive, running_jobs
from tests.tiny import write_model

_NODES, _NODE_CPUS = 3, 2
_WORKS = ("MapWorker", "MapBatches", "RayTrainWorker", "_read_some", "_score_one", "PrepareUnit")
"""In the titles of processes that work for a job."""
_QUIET_S = {"train": (1.0, 12.0), "answer": (1.0, 12.0), "evaluate": (0.0, 3.0)}
"""How long a job may work before something of it is killed."""


@dataclass(frozen=True)
class Round:
    """The folders of a round, and its jobs: name, command, and what holds it against the undisturbed one."""

    place: "Soak"
    folder: Path

    @property
    def training(self) -> disturbed_training.Run:
        """The run of `jobs/train.py`."""
        # A worker takes a node.
        sizes = {"num_workers": 2, "cpus_per_worker": _NODE_CPUS}
        return disturbed_training.Run(self.place.encoder, self.folder / "train", **sizes)

    @property
    def answering(self) -> disturbed.Run:
        """The run of `jobs/answer.py`."""
        return disturbed.Run(self.place.reader, self.place.folder / "questions", self.folder / "answer")

    @property
    def jobs(self) -> dict[str, list[str]]:
        """Names and flags of the jobs, in order."""
        return {
            "train": self.training.flags,
            "answer": self.answering.flags(),
            "evaluate": disturbed_evaluation.flags_of(self.place.sides, self.folder / "evaluate"),
        }

    def check(self, calm: "Round") -> None:
        """Raise AssertionError where anything differs from an undisturbed round."""
        disturbed_training.assert_same_outcome(self.training, calm.training)
        disturbed.assert_exact(self.answering, calm.answering, self.place.ids)
        disturbed_evaluation.assert_same_evaluation(self.folder / "evaluate", calm.folder / "evaluate")


class Soak:
    """A cluster, the jobs on it, an undisturbed round of them, and what was killed of others.

    Attributes:
        calm: The undisturbed round.
        kills: How often what was killed of which job.
    """

    def __init__(self, folder: Path, jobs: Jobs, faults: Faults, cluster: Cluster, seed: int) -> None:
        """Write what the jobs read, and run them once."""
        self.folder, self.jobs, self.faults, self.cluster = folder, jobs, faults, cluster
        self._rng = random.Random(seed)
        self.kills: collections.Counter[str] = collections.Counter()
        self.encoder = write_model(folder / "bert")
        self.reader, _ = disturbed.write_models(folder / "models")
        self.ids = disturbed.write_questions(folder / "questions")
        self.sides = disturbed_evaluation.write_sides(folder)
        self.calm = Round(self, folder / "calm")
        for name, flags in self.calm.jobs.items():
            self._run(name, flags, kills=0)

    def disturb(self, name: str, kills: int) -> None:
        """Run a round with so many kills of each job; raise AssertionError where its outcome is another."""
        disturbed_round = Round(self, self.folder / name)
        for job, flags in disturbed_round.jobs.items():
            self._run(job, flags, kills)
        disturbed_round.check(self.calm)

    def start(self, name: str, flags: list[str]) -> Job:
        """Start a job on the cluster."""
        job = self.jobs.start([sys.executable, f"jobs/{name}.py", *flags], RAY_ADDRESS=self.cluster.address)
        self.faults.driver_is(job.process.pid)
        return job

    def add_node(self) -> None:
        """Put a node in place of one that was lost."""
        self.cluster.add_node(num_cpus=_NODE_CPUS)

    def fill(self) -> None:
        """Put nodes in place of all that were lost."""
        for _ in range(_NODES - len(self.cluster.worker_nodes)):
            self.add_node()

    def _run(self, name: str, flags: list[str], kills: int) -> None:
        job = self.start(name, flags)
        while True:
            what = self._rng.choice(["process", "process", "node", "driver"]) if kills else "nothing"
            until = time.monotonic() + (self._rng.uniform(*_QUIET_S[name]) if kills else 600)
            while job.is_running and (time.monotonic() < until or (what == "process" and not _workers())):
                time.sleep(0.1)
            if job.is_running:
                assert kills, f"{name} does not end: {job.stdout}"
                kills -= 1
                self._kill(what, name, job)
            elif job.process.returncode == 0:
                return
            else:
                # A driver may say that it lost too much; the same command goes on.
                was_killed = job.process.returncode == -signal.SIGKILL
                assert was_killed or "same command" in job.stderr, f"{name} ended: {job.stderr}"
                self.kills[f"{name}: gave up"] += not was_killed
                job = self.start(name, flags)

    def _kill(self, what: str, name: str, job: Job) -> None:
        if what == "driver":
            job.process.kill()
            job.process.wait()
        elif what == "node":
            lose(self.cluster, self._rng.choice(list(self.cluster.worker_nodes)))
            self.add_node()
        else:
            workers = _workers()
            if not workers:
                return
            victim = self._rng.choice(sorted(workers))
            what = f"process {workers[victim].split('(')[0].removeprefix('ray::')}"
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        self.kills[f"{name}: {what.split()[0]}"] += 1
        print(f"  {name}: {what}", flush=True)


def _workers() -> dict[int, str]:
    """Return the processes that work for a job: their ids and titles."""
    titles = descendants(os.getpid())
    return {pid: title for pid, title in titles.items() if any(word in title for word in _WORKS) and is_alive(pid)}


@contextlib.contextmanager
def running_soak(folder: Path, seed: int) -> Iterator[Soak]:
    """Start a head and three nodes, and run the jobs on them undisturbed."""
    faults = Faults(folder / "faults")
    with running_jobs(folder / "logs") as jobs:
        jobs.environment |= faults.environment
        with nodes(jobs.environment, _NODES, num_cpus=_NODE_CPUS) as cluster:
            yield Soak(folder, jobs, faults, cluster, seed)


def soak(minutes: float, seed: int, kills: int) -> collections.Counter[str]:
    """Run rounds until so many minutes are over, at least one; return the numbers of rounds, wrong ones, and kills."""
    end = time.monotonic() + 60 * minutes
    counts: collections.Counter[str] = collections.Counter({"wrong rounds": 0})
    with tempfile.TemporaryDirectory(prefix="mrc-soak-") as folder, running_soak(Path(folder), seed) as place:
        while not counts["rounds"] or time.monotonic() < end:
            counts["rounds"] += 1
            number, began = counts["rounds"], time.monotonic()
            try:
                place.disturb(f"round-{number}", kills)
                what = "as an undisturbed one"
            except AssertionError:
                counts["wrong rounds"] += 1
                what = f"WRONG: {traceback.format_exc()}"
            print(f"round {number}, {time.monotonic() - began:.0f} s: {what}", flush=True)
        counts.update(place.kills)
    return counts


def main() -> None:
    """Soak, and end with 1 where a round was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=6, help="of each job at most, so that it comes to its end")
    arguments = parser.parse_args()
    counts = soak(arguments.minutes, arguments.seed, arguments.kills)
    print(", ".join(f"{name} {number}" for name, number in sorted(counts.items())))
    sys.exit(1 if counts["wrong rounds"] else 0)


if __name__ == "__main__":
    main()
