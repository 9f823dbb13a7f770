"""Jobs on a cluster that runs already: submitted to it, as people do, or started beside it."""

import pathlib
import re
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest

from mrc import storage
from tests.bulk import assert_reader_agrees, examples_of, reader_of, write_bulk_reader
from tests.faults import Faults, Rule, hold_checkpoint
from tests.job_runs import Head, assert_is_one_error, head_node
from tests.processes import Jobs, running_jobs, wait_until
from tests.tiny import write_model
from tests.training_data import make_rows, write_jsonl

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

RAY = str(pathlib.Path(sys.executable).with_name("ray"))
# Not --address, which RAY_ADDRESS would overrule.
SUBMIT = [RAY, "job", "submit", "--working-dir"]
ROWS = make_rows(30, seed=1)


class Place(NamedTuple):
    """A running head whose processes know of faults, and a folder with models and questions."""

    jobs: Jobs
    faults: Faults
    head: Head
    folder: pathlib.Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("running")
    write_model(folder / "bert")
    write_bulk_reader(folder / "reader")
    write_jsonl(folder / "rows.jsonl", ROWS)
    faults = Faults(folder / "faults")
    with running_jobs(folder / "logs") as jobs:
        jobs.environment |= faults.environment
        with head_node(jobs) as head:
            yield Place(jobs, faults, head, folder)


def train_flags(place: Place, output: pathlib.Path, **changes: object) -> list[str]:
    """Return the flags of a run of a few seconds, without validation."""
    values: dict[str, object] = {
        "model": place.folder / "bert", "train_data": place.folder / "rows.jsonl", "output": output,
        "max_seq_length": 64, "doc_stride": 16, "train_batch_size": 2, "max_steps": 40, "logging_steps": 1, **changes,
    }  # fmt: skip
    return [f"--{name}={value}" for name, value in values.items()]


def test_a_submitted_run_shows_progress_and_one_that_is_stopped_leaves_a_checkpoint_to_go_on_from(
    place: Place, tmp_path: pathlib.Path
) -> None:
    output = tmp_path / "out"
    train = [sys.executable, "jobs/train.py", *train_flags(place, output)]
    place.faults.set(hold_checkpoint(3))
    first = [*SUBMIT, ".", "--submission-id=first", "--", *train, "--save_steps=1"]
    stopped = place.jobs.start(first, RAY_ADDRESS=place.head.url)
    stopped.wait_for(lambda: bool(place.faults.held()), "the third checkpoint of the first job")
    stop = place.jobs.start([RAY, "job", "stop", "first"], RAY_ADDRESS=place.head.url)
    stopped.wait_for(lambda: "asked to stop" in stopped.stdout, "the first job's answer")
    place.faults.set()
    assert stop.wait() == 0
    stopped.wait()  # with 0: Ray tells a stopped job from a failed one
    assert "was stopped" in stopped.stdout
    assert re.search(r"step \d+/40 .* questions/s", stopped.stdout)
    said = re.search(r"error: stopped after step ([\d,]+) with a checkpoint; the same command", stopped.stdout)
    assert said, stopped.stdout
    step = int(said[1].replace(",", ""))
    assert (output / "checkpoints" / f"step-{step:08d}" / "state.json").exists()
    second = [*SUBMIT, ".", "--submission-id=second", "--", *train, "--save_steps=1000000"]
    continued = place.jobs.start(second, RAY_ADDRESS=place.head.url)
    assert continued.wait() == 0, continued.stdout
    assert f"continuing from the checkpoint of step {said[1]}" in continued.stdout
    assert (output / "result.json").exists()
    wait_until(lambda: "succeeded" in continued.stdout, "the status of the second job")


def test_cause_of_a_failed_worker_is_told(place: Place, tmp_path: pathlib.Path) -> None:
    place.faults.set(Rule(point="save", match=r"/trainer\.pt$", action="fail"))
    flags = train_flags(place, tmp_path / "out", max_steps=4, max_failures=0)
    job = place.jobs.train(*flags, RAY_ADDRESS=place.head.address)
    assert job.wait() == 1
    place.faults.set()
    assert_is_one_error(job.stderr, "training failed: OSError: .*the store is down")
    logs = re.search(r"the workers' logs are in (\S+)\); the same command", job.stderr)
    assert logs
    assert (pathlib.Path(logs[1]) / "train").is_dir()


WHOSE_MRC = """
import mrc, ray

@ray.remote
def whose():
    import mrc
    return mrc.whose

ray.init()
print(f"driver: {mrc.whose}, task: {ray.get(whose.remote())}")
"""


def test_submitted_jobs_end_with_their_exit_code_tell_how_far_they_are_and_bring_their_own_mrc(
    place: Place, tmp_path: pathlib.Path
) -> None:
    values = {"model": "reader", "input": "rows.jsonl"}
    flags = [f"--{name}={place.folder / value}" for name, value in values.items()]
    flags += [f"--output={tmp_path / 'out'}", "--precision=float32", "--unit_rows=10", "--num_actors=1"]
    answer = [*SUBMIT, ".", "--", sys.executable, "jobs/answer.py", *flags]
    never = [*answer, "--num_actors=99", f"--output={tmp_path / 'never'}"]
    failing = place.jobs.start(never, RAY_ADDRESS=place.head.url)
    mistyped = place.jobs.start([*answer, "--num_actor=1"], RAY_ADDRESS=place.head.url)
    done = place.jobs.start(answer, RAY_ADDRESS=place.head.url)
    assert failing.wait() != 0
    error = re.search("^error: .*", failing.stdout, re.MULTILINE)
    assert error
    assert re.match(
        r"error: --num_actors 99 of 0.25 CPU each .* need .* CPUs and the cluster has .*use fewer", error[0]
    )
    assert not (tmp_path / "never").exists()
    assert mistyped.wait() != 0
    assert "error: --num_actor is no flag; did you mean --num_actors" in mistyped.stdout
    # The checkout stands in PYTHONPATH here, as an installed mrc stands in site-packages: both come after.
    storage.write_text(str(tmp_path / "own" / "mrc" / "__init__.py"), "whose = 'the own one'")
    storage.write_text(str(tmp_path / "own" / "jobs" / "where.py"), WHOSE_MRC)
    where = [*SUBMIT, str(tmp_path / "own"), "--", sys.executable, "jobs/where.py"]
    own = place.jobs.start(where, RAY_ADDRESS=place.head.url)
    assert own.wait() == 0, own.stdout
    assert "driver: the own one, task: the own one" in own.stdout
    assert done.wait() == 0, done.stdout
    assert "30 of 30 questions (100.0%)" in done.stdout
    wait_until(lambda: "succeeded" in done.stdout, "the status of the job")
    paths = sorted((tmp_path / "out" / "predictions").iterdir())
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    assert_reader_agrees(rows, examples_of(ROWS), reader_of(str(place.folder / "reader")))


@pytest.fixture
def hidden(place: Place) -> Iterator[pathlib.Path]:
    """Return a folder with questions that another machine of the cluster sees empty."""
    folder = place.folder / "hidden"
    folder.mkdir()
    write_jsonl(folder / "rows.jsonl", ROWS)
    join = [RAY, "start", "--block", f"--address={place.head.address}", "--node-ip-address=127.0.0.2", "--num-cpus=1"]
    hide = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs hidden "$0" && exec "$@"', str(folder)]
    machine = place.jobs.start([*hide, *join], RAY_ADDRESS="")
    wait_until(lambda: "Ray runtime started" in machine.stdout or not machine.is_running, "the other machine")
    if re.search("not permitted|denied", machine.stderr):
        pytest.skip(f"no other machine can be played here: {machine.stderr.strip()}")
    assert machine.is_running, machine.stderr
    yield folder
    machine.kill_all()


def test_a_place_that_another_machine_does_not_see_is_refused(
    place: Place, hidden: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    reader, rows, seen = place.folder / "reader", hidden / "rows.jsonl", place.folder / "rows.jsonl"
    commands = {
        "input": ["answer.py", f"--model={reader}", f"--input={rows}", f"--output={tmp_path / 'answers'}"],
        "output": ["train.py", *train_flags(place, hidden / "out")],
        "references": [
            "evaluate.py", f"--references={rows}", f"--predictions={seen}", "--prediction_column=question",
            f"--output={tmp_path / 'evaluations'}",
        ],
    }  # fmt: skip
    jobs = {
        flag: place.jobs.start([sys.executable, f"jobs/{script}", *flags], RAY_ADDRESS=place.head.address)
        for flag, (script, *flags) in commands.items()
    }
    for flag, job in jobs.items():
        assert job.wait() == 2, job.stdout
        assert_is_one_error(job.stderr, f"--{flag} {hidden}/.* is not seen by the cluster's machine 127.0.0.2: give")
