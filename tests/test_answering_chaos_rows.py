"""Bulk answering whose rows or store misbehave: each question is answered once, as in an undisturbed run."""

import pathlib
import re
from collections.abc import Iterator

import pytest

from tests.answering_place import Place, assert_continued, error_of, running_place
from tests.disturbed import DEADLY, DEADLY_ROW, FILE_ROWS, FILES, PANICKING_ROW, Run, assert_exact, token_of
from tests.faults import Rule

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running_place(tmp_path_factory.mktemp("chaos")) as made:
        yield made


@pytest.fixture
def run(place: Place, tmp_path: pathlib.Path) -> Iterator[Run]:
    with place.run(tmp_path / "out") as made:
        yield made


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


def test_store_that_stays_down(place: Place, run: Run) -> None:
    """The job says so in a line, and the same command finishes once the store is back."""
    place.faults.set(Rule(point="write", match="/commits/", action="fail", skip=1, times=10_000))
    # Few units: each waits for the store in each pass.
    job = place.answer(run, unit_rows=FILE_ROWS)
    assert job.wait() == 1
    assert re.fullmatch(
        rf"error: {FILES - 1} of {FILES} units could not be answered, such as .*: OSError: .*the store is down: "
        r"'faulty://[^']*/commits/[^']*'; the same command goes on with them",
        error_of(job),
    )
    done = run.committed
    assert len(done) == 1
    place.faults.set()
    again = place.answer(run, unit_rows=FILE_ROWS)
    assert again.wait() == 0, again.stderr
    assert_continued(again, run, done, units=FILES)
    assert_exact(run, place.undisturbed, place.ids)
