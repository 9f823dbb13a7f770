"""Bulk answering whose processes, nodes and drivers die, and whose rows and store misbehave: each question is answered
once, as in an undisturbed run.

`tests.faults` lets each fault strike its processes, and those of the jobs, at the very moment that a test is about.
"""

import os
import pathlib
import re
import signal
import sys
from collections.abc import Iterator

import pytest

from tests import isolating
from tests.answering_place import Place, assert_continued, error_of, running_place
from tests.disturbed import (
    DEADLY,
    DEADLY_ROW,
    HELD,
    PANICKING_ROW,
    UNITS,
    Run,
    assert_exact,
    token_of,
)
from tests.faults import Rule
from tests.nodes import lose
from tests.processes import Job, descendants

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(1800)]

HOLD_MODEL = Rule(point="model", match=token_of(HELD), action="hold")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running_place(tmp_path_factory.mktemp("chaos")) as made:
        yield made


@pytest.fixture
def run(place: Place, tmp_path: pathlib.Path) -> Iterator[Run]:
    with place.run(tmp_path / "out") as made:
        yield made


def test_killed_actor_and_lost_nodes(place: Place, run: Run) -> None:
    """The process that holds the model is killed while it reads a unit, and then all nodes are lost, with all that is
    in their memory, until others come."""
    place.faults.set(HOLD_MODEL, HOLD_MODEL)  # the second call is the first one that comes to the second rule
    job = place.answer(run)
    actor = place.held(job, 0)
    assert "MapWorker(MapBatches(FindSpans))" in descendants(os.getpid())[actor]
    os.kill(actor, signal.SIGKILL)
    place.held(job, 1)
    lost = list(place.cluster.worker_nodes)
    for node in lost:
        lose(place.cluster, node)
    job.wait_for(lambda: "waiting for nodes: the cluster has none with a CPU" in job.stdout, "what the job waits for")
    for _ in lost:
        place.cluster.add_node(num_cpus=2)
    assert job.wait() == 0, job.stderr
    assert place.faults.calls() > 2, "its unit was read twice again"
    assert_exact(run, place.undisturbed, place.ids)


def done_after(place: Place, job: Job, run: Run, done: dict[str, int]) -> dict[str, int]:
    """Return what is committed once all that a dead driver left has ended; it did only what was left to do."""
    place.wait_for_quiet()
    assert_continued(job, run, done)
    return run.committed


def test_killed_and_terminated_driver(place: Place, run: Run) -> None:
    """A driver is killed before a unit's predictions are written, between those and its record, and after the record,
    where a second driver was refused while it lived; one is asked to stop; the last one has only the rest to do."""
    done: dict[str, int] = {}
    for point in ("write", "wrote"):
        place.faults.set(Rule(point=point, match="/predictions/", action="kill_driver", skip=2))
        job = place.answer(run)
        assert job.wait() == -signal.SIGKILL, job.stderr
        done = done_after(place, job, run, done)

    place.faults.set(Rule(point="wrote", match="/commits/", action="hold", skip=1, times=1_000))
    job = place.answer(run)
    place.held(job)
    second = place.answer(run)
    assert second.wait() == 2
    assert re.match(rf"error: process {job.process.pid} on .* is writing to ", error_of(second))
    job.process.send_signal(signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL
    done = done_after(place, job, run, done)

    place.faults.set(Rule(point="write", match="/commits/", action="hold", skip=1, times=1_000))
    job = place.answer(run)
    place.held(job)
    job.process.send_signal(signal.SIGTERM)
    assert job.wait() == 1
    assert re.fullmatch("error: .*the same command continues.*", error_of(job))
    assert not run.is_done
    done = done_after(place, job, run, done)
    assert 4 <= len(done) < UNITS

    place.faults.set()
    job = place.answer(run)
    assert job.wait() == 0, job.stderr
    assert_continued(job, run, done)
    assert_exact(run, place.undisturbed, place.ids)


def test_rows_that_end_their_process(place: Place, run: Run) -> None:
    """One row kills the process of the model each time, one makes the tokenizer panic: they alone are rejected."""
    place.faults.set(Rule(point="model", match=token_of(DEADLY), action="exit", times=1_000))
    ids = place.ids[:80]
    deadly, panicking = ids[DEADLY_ROW], ids[PANICKING_ROW]
    run = Run(place.panicking, run.questions, run.output)
    job = place.answer(run, limit=len(ids), unit_rows=4)
    assert job.wait() == 0, job.stderr
    assert_exact(run, place.undisturbed, ids, rejected=[deadly, panicking])
    rejects = {row["id"]: row for row in run.table("rejects").to_pylist()}
    assert {row["reason"] for row in rejects.values()} == {"ends_the_process"}
    assert rejects[deadly]["row"] == DEADLY_ROW
    assert DEADLY in rejects[deadly]["text"]
    assert "the process ended" in rejects[deadly]["detail"]
    assert "PanicException" in rejects[panicking]["detail"]


def test_store_that_fails_and_hangs(place: Place, run: Run) -> None:
    """Reads and writes of the store fail, and one of each hangs until long after the job has given it up."""
    place.faults.set(
        Rule(point="read", match=r"/questions/1\.parquet", action="hold", skip=3),
        Rule(point="write", match="/predictions/", action="hold", skip=4),
        Rule(point="read", match=r"/questions/2\.parquet", action="fail", skip=3, times=2),
        Rule(point="write", match="/predictions/", action="fail", skip=1, times=3),
        Rule(point="wrote", match="/commits/", action="fail", times=3),
        Rule(point="write", match=r"/(manifest\.json|_SUCCESS|config\.yaml)$", action="fail", times=2),
    )
    job = place.answer(run, store_timeout_s=2)
    assert job.wait() == 0, job.stderr
    assert len(place.faults.held(0)) == len(place.faults.held(1)) == 1
    assert_exact(run, place.undisturbed, place.ids)
    place.faults.set()  # what hung goes on
    place.wait_for_quiet()
    assert_exact(run, place.undisturbed, place.ids)


def test_rows_on_lost_nodes_are_not_taken_for_deadly(place: Place, tmp_path: pathlib.Path) -> None:
    """One row ends its process; another one is read on three nodes that are lost, one after the other."""
    losses = tmp_path / "losses"
    losses.write_text("xxx")
    for _ in losses.read_text():
        place.cluster.add_node(num_cpus=2)
    script = [sys.executable, "-m", "tests.isolating", str(losses)]
    job = place.jobs.start(script, RAY_ADDRESS=place.cluster.address)
    assert job.wait() == 0, job.stderr
    assert not losses.read_text()
    assert job.stdout.splitlines()[-1] == f"found [{isolating.DEADLY}] of {isolating.ITEMS}"
