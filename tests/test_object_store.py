"""All three jobs as real processes on a running cluster, with everything in a real object store that fails."""

import contextlib
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mrc import storage
from mrc.answering.finish import Outcome
from tests.bulk import assert_reader_agrees, examples_of, reader_of
from tests.job_runs import Head, RunMain, assert_is_one_error, head_node
from tests.processes import ROOT, Job, Jobs, running_jobs
from tests.proxy import Fault, Proxy, Request, preconditions_are_refused
from tests.s3_access import READER, STRANGER, WRITER, Identity, in_environment, new_place, variables
from tests.tiny import write_model
from tests.training_data import make_rows, write_jsonl

pytest_plugins = ["tests.s3"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

QUICKLY = {"AWS_MAX_ATTEMPTS": "2"}
"""Clients try a request twice themselves, so that it is ours to try again, and a store that is down shows soon."""
REFUSED_S = 60.0
DOWN_S = 240.0
JOBS = ("train", "answer", "evaluate")
VOLATILE = ("run_id", "created_at", "seconds", "output", "config")


class Place:
    """A place in the store with a model and questions, and the commands of a chain of jobs there."""

    def __init__(self, url: str, shared: str) -> None:
        self.url, self.shared = url, shared
        self.told: dict[str, str] = {}
        """What each job told a person."""

    def flags(self, job: str, **changes: object) -> list[str]:
        values: dict[str, dict[str, object]] = {
            "train": {
                "model": f"{self.shared}/bert", "train_data": f"{self.shared}/train.jsonl",
                "validation_data": f"{self.shared}/questions.jsonl", "output": f"{self.url}/run", "max_steps": 4,
                "train_batch_size": 8, "save_steps": 2, "logging_steps": 2, "precision": "float32",
                "max_seq_length": 48, "doc_stride": 16, "max_failures": 1,
            },
            "answer": {
                "model": f"{self.url}/run/model", "input": f"{self.shared}/questions.jsonl",
                "output": f"{self.url}/answers", "precision": "float32", "unit_rows": 5, "num_actors": 1,
            },
            "evaluate": {
                "predictions": f"{self.url}/answers", "references": f"{self.shared}/questions.jsonl",
                "output": f"{self.url}/evaluations", "run_id": "night",
            },
        }  # fmt: skip
        return [f"--{name}={value}" for name, value in {**values[job], **changes}.items()]

    def content(self, job: str) -> dict[str, Any]:
        """Return what a job left, without what differs between any two runs."""
        if job == "evaluate":
            manifest = json.loads(storage.read_text(f"{self.url}/evaluations/runs/night/manifest.json"))
            return {"slices": manifest["slices"], **self._files("evaluations/runs/night/per_question")}
        return self._files({"train": "run/model", "answer": "answers/predictions"}[job])

    def _files(self, folder: str) -> dict[str, Any]:
        urls = [url for url in storage.list_files(f"{self.url}/{folder}") if not url.endswith("README.md")]
        return {url.removeprefix(self.url): storage.read_bytes(url) for url in urls}


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def proxy(s3_endpoint: str, monkeypatch_module: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy that lets everything through, which this process, the cluster and the jobs reach the store by."""
    with Proxy(s3_endpoint).running() as proxy, in_environment(monkeypatch_module, proxy.url):
        yield proxy


@pytest.fixture(scope="module")
def started(proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    with running_jobs(tmp_path_factory.mktemp("logs")) as jobs:
        yield jobs


@pytest.fixture(scope="module")
def head(started: Jobs, proxy: Proxy) -> Iterator[Head]:
    # Its workers know nothing of the store but what a job tells them.
    with head_node(started, **dict.fromkeys(variables(proxy.url), "")) as head:
        yield head


def said(job: Job) -> str:
    """Return what a job wrote to stderr, without what Ray says of each actor that holds the model."""
    lines = (line for line in job.stderr.splitlines() if "has constructor arguments in the object store" not in line)
    return "\n".join(lines)


Start = Callable[..., Job]


@pytest.fixture(scope="module")
def start(started: Jobs, head: Head, proxy: Proxy) -> Start:
    """Return what starts a job on the cluster."""

    def start(job: str, *flags: str, identity: Identity = WRITER) -> Job:
        environment = {**variables(proxy.url, identity), **QUICKLY, "RAY_ADDRESS": head.address}
        return started.start([sys.executable, f"jobs/{job}.py", *flags], **environment)

    return start


@pytest.fixture(scope="module")
def calm(proxy: Proxy, start: Start, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The chain of jobs, done without a fault by a store that does not know conditional writes."""
    folder = tmp_path_factory.mktemp("files")
    write_model(folder / "bert")
    write_jsonl(folder / "train.jsonl", make_rows(24, seed=1))
    write_jsonl(folder / "questions.jsonl", make_rows(15, seed=2))
    shared = new_place()
    storage.upload_tree(folder, shared)
    place = Place(new_place(), shared)
    with proxy.failing(preconditions_are_refused) as struck:
        for job in JOBS:
            done = start(job, *place.flags(job))
            assert done.wait() == 0, done.stderr
            assert said(done) == ""
            place.told[job] = done.stdout
    assert struck["not_implemented"] > 0
    return place


@pytest.fixture
def disturbed(calm: Place) -> Place:
    return Place(new_place(), calm.shared)


def given(job: str, calm: Place) -> dict[str, object]:
    """Return the flags of a job that goes on from what the undisturbed one before it left."""
    flags: dict[str, dict[str, object]] = {
        "answer": {"model": f"{calm.url}/run/model"},
        "evaluate": {"predictions": f"{calm.url}/answers"},
    }
    return flags.get(job, {})


KINDS: dict[str, tuple[Fault, ...]] = {
    "PUT": ("500", "503", "slow_down", "cut_upload", "cut_answer", "refuse_connection"),
    "GET": ("500", "slow_down", "cut_download", "delay"),
    "HEAD": ("500", "503"),
    "POST": ("503", "cut_answer"),
    "DELETE": ("500", "cut_answer"),
}


def storm(request: Request) -> Fault | None:
    """Let every third file be written at the fourth attempt only, and every sixth of the other requests fail once."""
    at = zlib.crc32(f"{request.method} {request.key}".encode())
    kinds = KINDS[request.method]
    fault = kinds[(at // 7 + request.number) % len(kinds)]
    if request.method == "PUT":
        return fault if at % 3 == 0 and request.number < 3 else None
    return fault if (at + request.number) % 6 == 0 else None


def storm_until(part: str, end: Fault) -> Callable[[Request], Fault | None]:
    """Let the storm rage until a file with this in its name has been written; then all requests fail alike.

    A job is told of such a file that it wrote: one whose answer is cut would be there without its knowledge.
    """
    written: list[str] = []

    def plan(request: Request) -> Fault | None:
        if written:
            return end
        fault = storm(request)
        if request.method == "PUT" and part in request.key:
            if fault is None:
                written.append(request.key)
            return "500" if fault == "cut_answer" else fault
        return fault

    return plan


def test_a_chain_of_jobs_leaves_all_in_the_store(calm: Place) -> None:
    names = {url.removeprefix(f"{calm.url}/run/").split("/")[0] for url in storage.list_files(f"{calm.url}/run")}
    assert names == {"config.yaml", "checkpoints", "logs", "model", "result.json"}
    rows = storage.read_text(f"{calm.url}/run/logs/metrics.jsonl").splitlines()
    assert [(json.loads(row)["kind"], json.loads(row)["step"]) for row in rows][-1] == ("validation", 4)
    outcome = Outcome(**json.loads(storage.read_text(f"{calm.url}/answers/manifest.json")))
    assert (outcome.answered, outcome.units) == (15, 3)
    assert_summary(calm.told["answer"], outcome)
    names = {
        url.removeprefix(f"{calm.url}/answers/").split("/")[0] for url in storage.list_files(f"{calm.url}/answers")
    }
    assert names == {"predictions", "metrics", "commits", "config.yaml", "manifest.json"}
    assert storage.exists(f"{calm.url}/answers/_SUCCESS")
    urls = storage.list_files(f"{calm.url}/answers/predictions")
    answers = [row for url in urls for row in storage.read_table(url).to_pylist()]
    with storage.local_copy(f"{calm.url}/run/model") as model:
        assert_reader_agrees(answers, examples_of(make_rows(15, seed=2)), reader_of(model))
    [overall, *_] = storage.read_table(f"{calm.url}/evaluations/metrics/night.parquet").to_pylist()
    assert overall["total"] == 15


def assert_summary(stdout: str, outcome: Outcome) -> None:
    """Check what a job tells: how far it is, and at the end where everything is."""
    lines = stdout.splitlines()
    progress = (
        r"\d\d:\d\d:\d\d ([\d,]+) of 15 questions \([\d.]+%\)  [\d.,]+ questions/s  0 rejected(  \d+ (s|min) left)?"
    )
    told = [match[1] for line in lines if (match := re.fullmatch(progress, line))]
    assert told[-1] == "15"
    assert lines[len(told) :] == [
        f"predictions  {outcome.output}/predictions (15 of 15 questions in 3 files)",
        f"scores       exact match {outcome.metrics['exact_match']:.2f}  F1 {outcome.metrics['f1']:.2f}  by the squad "
        "rule on 15 questions with gold",
        f"manifest     {outcome.output}/manifest.json",
    ]


@pytest.mark.parametrize(
    ("job", "part", "end"),
    [
        ("train", "state.json", "503"),
        ("answer", "answers/commits/", "503"),
        ("evaluate", "per_question", "refuse_connection"),
    ],
)
def test_a_job_stops_where_the_store_stays_down_and_ends_exactly_after_it(
    job: str, part: str, end: Fault, calm: Place, disturbed: Place, proxy: Proxy, start: Start
) -> None:
    flags = disturbed.flags(job, **given(job, calm))
    with proxy.failing(storm_until(part, end)) as struck:
        stopped = start(job, *flags)
        assert stopped.wait(DOWN_S) == 1, stopped.stdout + stopped.stderr
    assert struck[end] > 3
    told = "the same command goes on"
    if job == "answer":
        told = rf"2 of 3 units could not be answered, such as .*: OSError: .*: 's3://[^']+'; {told} with them"
    assert_is_one_error(said(stopped), told)
    with proxy.failing(storm) as struck:
        resumed = start(job, *flags)
        assert resumed.wait() == 0, resumed.stdout + resumed.stderr
    assert len(struck) > 2
    if job == "train":
        assert "continuing from the checkpoint of step 2" in resumed.stdout
    if job == "answer":
        assert "going on: 1 of 3 units are done" in resumed.stdout
    assert disturbed.content(job) == calm.content(job)


# Credentials


def test_credentials_that_may_only_read_are_refused_in_one_line(calm: Place, disturbed: Place, start: Start) -> None:
    for refused in [start(job, *disturbed.flags(job, **given(job, calm)), identity=READER) for job in JOBS]:
        assert refused.wait(REFUSED_S) == 2, refused.stderr
        assert_is_one_error(said(refused), rf"{disturbed.url}.*Access Denied.*credentials")


@pytest.mark.parametrize("job", JOBS)
def test_a_wrong_secret_is_refused_in_one_line(
    job: str, calm: Place, disturbed: Place, proxy: Proxy, run_main: RunMain, monkeypatch: pytest.MonkeyPatch
) -> None:
    with in_environment(monkeypatch, proxy.url, STRANGER):
        outcome = run_main(ROOT / "jobs" / f"{job}.py", *disturbed.flags(job, **given(job, calm)))
    assert_is_one_error(outcome.stderr, "credentials")
    assert (outcome.code, outcome.stdout) == (2, "")
    assert STRANGER.secret not in outcome.stderr
    assert outcome.seconds < REFUSED_S


def test_secrets_are_written_nowhere(calm: Place, started: Jobs, head: Head) -> None:
    """Not by the jobs, and not by Ray, which logs much; of what the tests above did, too."""
    secrets = [identity.secret.encode() for identity in (WRITER, READER)]
    files = [path for folder in (started.ray_folder, started.logs) for path in folder.rglob("*") if path.is_file()]
    assert any(path.name.startswith("raylet") for path in files)
    assert any("runtime_env" in path.name for path in files)
    for path in files:
        with contextlib.suppress(FileNotFoundError):
            assert not any(secret in path.read_bytes() for secret in secrets), path
    for folder in ("run", "answers", "evaluations"):
        for url in storage.list_files(f"{calm.url}/{folder}"):
            assert not any(secret in storage.read_bytes(url) for secret in secrets), url
