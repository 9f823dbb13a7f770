"""The jobs as people meet them: help, recipes, and one clear line for every mistake."""

import ast
import contextlib
import inspect
import itertools
import json
import pathlib
import re
import runpy
import signal
import subprocess
from dataclasses import fields
from typing import Any

import pytest
import ray

from mrc import launch
from mrc.errors import RunError, UsageError
from mrc.launch import parse_configs, run_job
from tests.job_runs import RunMain, assert_is_one_error, free_ports
from tests.processes import ROOT, Jobs
from tests.tiny import write_model

# `jobs/demo.py` and its like have no flags.
JOBS = sorted(path for path in (ROOT / "jobs").glob("*.py") if "parse_configs" in path.read_text(encoding="utf-8"))
RECIPES = sorted((ROOT / "jobs").glob("*.yaml"))
MISTAKE_S = 15.0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model(tmp_path_factory.mktemp("tiny") / "bert")


def configs_of(job: pathlib.Path) -> list[type]:
    """Return the config classes that a job reads its flags into."""
    found: list[type] = []

    def note(classes: list[type], *_: Any) -> None:
        found.extend(classes)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "parse_configs", note)
        main = runpy.run_path(str(job))["main"]
        with contextlib.suppress(KeyboardInterrupt):
            main()
    assert found
    return found


def field_docstrings(cls: type) -> dict[str, str]:
    """Return the text under each field of a dataclass."""
    [body] = [node.body for node in ast.parse(inspect.getsource(cls)).body if isinstance(node, ast.ClassDef)]
    return {
        field.target.id: text.value.value
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_help_explains_every_flag(job: pathlib.Path, run_main: RunMain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "10000")
    outcome = run_main(job, "--help")
    assert (outcome.code, outcome.stderr) == (0, "")
    entries = re.split(r"\n  (?=-)", outcome.stdout)
    flags = {entry.split()[0]: one_line(entry.split("\n\n")[0]) for entry in entries}
    for cls in configs_of(job):
        docstrings = field_docstrings(cls)
        for field in fields(cls):
            described = flags[f"--{field.name}"]
            assert one_line(docstrings[field.name]) in described
            default = "null" if field.default is None else str(field.default)
            assert described.lower().endswith(f"default: {default})".lower())


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_help_keeps_the_commands_of_the_description(job: pathlib.Path, run_main: RunMain) -> None:
    shown = run_main(job, "--help").stdout
    docstring = str(ast.get_docstring(ast.parse(job.read_text(encoding="utf-8"))))
    shown_lines = {line.strip() for line in shown.splitlines()}
    assert {line.strip() for line in docstring.splitlines()} <= shown_lines
    assert len(shown.split("options:")[0].splitlines()) < 15, "the usage repeats what the list of flags says"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_recipe_parses(recipe: pathlib.Path) -> None:
    classes = configs_of(recipe.with_suffix(".py"))
    configs = parse_configs(classes, "", ["--config", str(recipe)])
    assert configs != parse_configs(classes, "", []), "a recipe that says nothing"


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_printed_config_reads_back(job: pathlib.Path, run_main: RunMain, tmp_path: pathlib.Path) -> None:
    flags = ["--scorer", "squad", "--output", "elsewhere", "--precision=float32"]
    printed = run_main(job, *flags, "--print_config")
    assert printed.code == 0
    path = tmp_path / "printed.yaml"
    path.write_text(printed.stdout)
    assert "precision: float32" in printed.stdout
    assert run_main(job, f"--config={path}", "--print_config").stdout == printed.stdout


@pytest.mark.parametrize("order", ["config first", "config last"])
def test_flags_win_over_the_config_file(order: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("max_seq_length: 200\ndoc_stride: 50\n")
    config, flags = ["--config", str(path)], ["--max_seq_length", "300"]
    classes = configs_of(ROOT / "jobs" / "train.py")
    parsed = parse_configs(classes, "", config + flags if order == "config first" else flags + config)
    window = next(part for part in parsed if hasattr(part, "doc_stride"))
    assert (window.max_seq_length, window.doc_stride) == (300, 50)


MISTAKES = {
    "mistyped flag": (["--lerning_rate", "1e-5"], "--lerning_rate is no flag; did you mean --learning_rate"),
    "hyphens": (["--learning-rate=1e-5"], "--learning-rate is no flag; did you mean --learning_rate"),
    "beginning of a flag": (["--eval_step", "3"], "--eval_step is no flag; did you mean --eval_steps"),
    "value without a flag": (["train.json"], "train.json"),
    "flag without a value": (["--seed"], "--seed: expected one argument"),
    "bad type": (["--learning_rate", "fast"], "--learning_rate fast: expected a number"),
    "bad integer": (["--max_steps", "1.5"], "--max_steps 1.5: expected a whole number or null"),
    "bad truth": (["--overwrite", "maybe"], "--overwrite maybe: expected true or false"),
    "bad choice": (["--precision", "fp8"], "--precision fp8: expected one of auto, float32"),
    "bad value": (["--learning_rate=-1"], "--learning_rate -1.0: must be above 0"),
    "value of another flag's range": (["--doc_stride=384"], "--max_seq_length 384 .*lower --doc_stride"),
    "no such config": (["--config", "nowhere.yaml"], "--config: .*nowhere.yaml"),
    "model that is not there": (["--model", "nowhere/model"], "--model nowhere/model: .*hub"),
}


@pytest.mark.parametrize(("argv", "pattern"), MISTAKES.values(), ids=MISTAKES)
def test_mistake_is_one_line(argv: list[str], pattern: str, run_main: RunMain) -> None:
    outcome = run_main(ROOT / "jobs" / "train.py", *argv)
    assert_is_one_error(outcome.stderr, pattern)
    assert (outcome.code, outcome.stdout) == (2, "")
    assert outcome.seconds < MISTAKE_S


FILES = {
    "bad key": (
        "lerning_rate: 1e-5\n",
        "lerning_rate in the file of --config is no flag; did you mean --learning_rate",
    ),
    "nested key": ("train:\n  seed: 1\n", "train.seed in the file of --config is no flag"),
    "bad value": ("seed: soon\n", "--seed soon: expected a whole number"),
    "no YAML": ("seed: [\n", "--config: .*line 2"),
    "no mapping": ("some text\n", "--config: "),
}


@pytest.mark.parametrize(("text", "pattern"), FILES.values(), ids=FILES)
def test_mistake_in_the_config_file_is_one_line(
    text: str, pattern: str, run_main: RunMain, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    outcome = run_main(ROOT / "jobs" / "train.py", f"--config={path}")
    assert_is_one_error(outcome.stderr, pattern)
    assert (outcome.code, outcome.stdout) == (2, "")


DATA_MISTAKES = {
    "missing file": (["--train_data", "nowhere/train.json"], "no file at nowhere/train.json"),
    "data set of the hub": (["--train_data", "squad_kor_v1"], "'squad_kor_v1'.*HF_HUB_OFFLINE.*give a path"),
    "unknown suffix": (["--train_data", "README.md"], "README.md: format not known"),
    "missing validation file": (
        ["--train_data=sample://train", "--validation_data=nowhere.parquet"],
        "no file at nowhere.parquet",
    ),
}


@pytest.mark.parametrize(("argv", "pattern"), DATA_MISTAKES.values(), ids=DATA_MISTAKES)
def test_missing_data_is_one_line(argv: list[str], pattern: str, model: str, run_main: RunMain) -> None:
    outcome = run_main(ROOT / "jobs" / "train.py", "--model", model, *argv)
    assert_is_one_error(outcome.stderr, pattern)
    assert (outcome.code, outcome.stdout) == (2, "")
    assert outcome.seconds < MISTAKE_S


def test_unexplained_error_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def job() -> None:
        raise ZeroDivisionError("a bug")

    with pytest.raises(SystemExit) as ended:
        run_job(job)
    assert ended.value.code == 1
    assert "Traceback" in (shown := capsys.readouterr().err)
    assert "ZeroDivisionError: a bug" in shown


def test_interruption_says_that_the_command_continues(capsys: pytest.CaptureFixture[str]) -> None:
    def job() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        run_job(job)
    assert ended.value.code == 1
    assert_is_one_error(capsys.readouterr().err, "interrupted; the same command continues")


@pytest.mark.parametrize(
    ("address", "pattern"),
    [("ray://head:10001", "ray job submit --address ray://head"), ("head", "RAY_ADDRESS head: ")],
)
def test_address_of_no_cluster_is_refused(address: str, pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UsageError, match=pattern):
        launch.start_ray()


def test_mistyped_flag_in_a_real_process(jobs: Jobs) -> None:
    job = jobs.train("--lerning_rate=1e-5")
    assert job.wait() == 2
    assert_is_one_error(job.stderr, "did you mean --learning_rate")
    assert job.stdout == ""


def small_run(model: str, output: pathlib.Path, **flags: object) -> list[str]:
    """Return the flags of a run of a few seconds, without validation."""
    values: dict[str, object] = {
        "model": model,
        "output": output,
        "train_data": ROOT / "tests" / "absent.jsonl",
        "max_seq_length": 64,
        "doc_stride": 16,
        "train_batch_size": 2,
        "max_steps": 6,
        "logging_steps": 1,
        **flags,
    }
    return [f"--{name}={value}" for name, value in values.items()]


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Forty questions as JSON Lines."""
    rows = [
        {"id": str(i), "question": "Who wrote the letter?", "context": f"Anna {i} wrote the letter in 1897."}
        | {"answers": {"text": [f"Anna {i}"], "answer_start": [0]}}
        for i in range(40)
    ]
    path = tmp_path_factory.mktemp("data") / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_too_many_workers_are_refused_before_ray_starts(
    model: str, questions: pathlib.Path, run_main: RunMain, tmp_path: pathlib.Path
) -> None:
    flags = small_run(model, tmp_path / "out", train_data=questions, num_workers=64, use_gpu="false")
    outcome = run_main(ROOT / "jobs" / "train.py", *flags)
    assert_is_one_error(
        outcome.stderr, r"--num_workers 64 of 0.5 CPU each .* need 33 CPUs and the cluster has .* fewer"
    )
    assert (outcome.code, outcome.stdout) == (2, "")
    assert outcome.seconds < MISTAKE_S


def test_no_cluster_at_the_address(
    model: str, questions: pathlib.Path, run_main: RunMain, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    [port] = free_ports(1)
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    outcome = run_main(ROOT / "jobs" / "train.py", *small_run(model, tmp_path / "out", train_data=questions))
    assert_is_one_error(outcome.stderr, f"RAY_ADDRESS 127.0.0.1:{port}: nothing answers there.*RAY_ADDRESS=local")
    assert (outcome.code, outcome.stdout) == (2, "")
    assert outcome.seconds < MISTAKE_S


@pytest.mark.parametrize("failures", [1, 2])
def test_ray_that_does_not_start_is_started_once_again(failures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    other = subprocess.Popen(["sleep", "600"])
    started: list[subprocess.Popen[bytes]] = []

    def init(**options: Any) -> None:
        assert options["address"] == "local"
        started.append(subprocess.Popen(["sleep", "600"]))
        if len(started) <= failures:
            raise Exception("The current node timed out\nduring startup.")

    ended: list[int] = []
    monkeypatch.setattr(ray, "init", init)
    # Else it would end the cluster that tests of this process share.
    monkeypatch.setattr(ray, "shutdown", lambda: ended.append(len(started)))
    monkeypatch.setenv("RAY_ADDRESS", "local")
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with contextlib.nullcontext() if failures == 1 else pytest.raises(RunError, match="timed out during startup"):
            launch.start_ray()
        assert started[0].wait(60) == -signal.SIGKILL
        assert [process.poll() for process in (other, *started[1:])] == [None, None]
        assert ended == [1]
    finally:
        signal.signal(signal.SIGTERM, handler)
        for process in (other, *started):
            process.kill()
            process.wait()
