"""`jobs/answer.py` as people run it: one line for every mistake, the smallest of clusters."""

import pathlib
import re
import sys
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.bulk import assert_reader_agrees, examples_of, reader_of, write_bulk_reader
from tests.job_runs import RunMain, assert_is_one_error
from tests.processes import ROOT, Jobs
from tests.tiny import write_model
from tests.training_data import make_rows, write_jsonl

JOB = ROOT / "jobs" / "answer.py"
MISTAKE_S = 15.0
ROWS = make_rows(30, seed=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Return a folder with a reader, an encoder that is none, and questions."""
    folder = tmp_path_factory.mktemp("answer")
    write_bulk_reader(folder / "reader")
    write_model(folder / "encoder")
    write_jsonl(folder / "rows.jsonl", ROWS)
    return folder


def flags_of(folder: pathlib.Path, **changes: object) -> list[str]:
    """Return the flags of a job of three units; one that is changed to None is left out."""
    values: dict[str, object] = {
        "model": folder / "reader",
        "input": folder / "rows.jsonl",
        "output": folder / "out",
        "precision": "float32",
        "unit_rows": 10,
        **changes,
    }
    return [f"--{name}={value}" for name, value in values.items() if value is not None]


def assert_answers(rows: list[dict[str, Any]], folder: pathlib.Path) -> None:
    """Check that the rows of a job are what a reader answers."""
    assert_reader_agrees(rows, examples_of(ROWS), reader_of(str(folder / "reader")))


def answers_in(output: pathlib.Path) -> list[dict[str, Any]]:
    return [row for path in sorted((output / "predictions").iterdir()) for row in pq.read_table(path).to_pylist()]


# Mistakes, and a dry run, without a cluster

MISTAKES: dict[str, tuple[dict[str, object], str]] = {
    "no input": ({"input": None}, "no input: give --input, or --questions and --documents"),
    "half a product": ({"input": None, "questions": "q.jsonl"}, "--documents is missing"),
    "two kinds of input": ({"questions": "q.jsonl", "documents": "d.jsonl"}, "--input and --questions .*one of them"),
    "missing model": ({"model": "nowhere/model"}, "--model nowhere/model: .*hub"),
    "missing file": ({"input": "nowhere/rows.jsonl"}, "no file at nowhere/rows.jsonl"),
    "unknown suffix": ({"input": "README.md"}, "README.md: format not known"),
    "wrong column": ({"question_column": "frage"}, "has no column 'frage'; name the right one with --question_column"),
    "no column to keep": ({"keep_columns": "year"}, "has no column 'year', which --keep_columns names"),
    "column of ours": ({"keep_columns": "id"}, "--keep_columns id: the predictions have a column of that name"),
    "group that is not kept": ({"best_per": "title"}, r"--best_per title: name a column of --keep_columns \(none"),
    "mistyped flag": ({"num_actor": 2}, "--num_actor is no flag; did you mean --num_actors"),
    "flag of training": ({"train_data": "rows.jsonl"}, "--train_data is no flag"),
    "bad type": ({"num_actors": "two"}, "--num_actors two: expected a whole number or null"),
    "bad value": ({"min_probability": 50}, "--min_probability 50.0: must be a share from 0 to 1"),
    "no rows": ({"limit": 0}, "--limit 0: must be at least 1"),
    "windows too long": ({"max_seq_length": 128, "dry_run": "true"}, "--max_seq_length 128"),
    "encoder without a head": (
        {"model": "encoder", "dry_run": "true"},
        "has no question-answering head.*jobs/train.py",
    ),
}


@pytest.mark.parametrize(("changes", "told"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line(changes: dict[str, object], told: str, folder: pathlib.Path, run_main: RunMain) -> None:
    if changes.get("model") == "encoder":
        changes = {**changes, "model": folder / "encoder"}
    outcome = run_main(JOB, *flags_of(folder, **changes))
    assert_is_one_error(outcome.stderr, told)
    assert (outcome.code, outcome.stdout) == (2, "")
    assert outcome.seconds < MISTAKE_S
    assert not (folder / "out").exists()


def test_a_dry_run_tells_the_plan_and_an_estimate_and_writes_nothing(folder: pathlib.Path, run_main: RunMain) -> None:
    outcome = run_main(JOB, *flags_of(folder, dry_run="true"))
    assert outcome.code == 0, outcome.stderr
    assert outcome.stderr == ""
    lines = dict(line.split(maxsplit=1) for line in outcome.stdout.splitlines())
    assert lines["input"] == "30 questions in 3 units of 1 sources"
    assert re.fullmatch(rf"{folder}/reader \([0-9a-f]{{32}}\)", lines["model"])
    assert re.fullmatch(
        r"64 tokens, 16 of overlap; the first 10 questions have \d+, and 0 rows are rejected", lines["windows"]
    )
    assert lines["output"] == f"{folder}/out"
    assert re.match(r"\d+ (s|min) at [\d,.]+ questions/s of this process on \d+ cores", lines["estimate"])
    assert sorted(path.name for path in folder.iterdir()) == ["encoder", "reader", "rows.jsonl"]


# A real process, with a cluster that no other test sees

ON_A_CLUSTER = """
import sys, ray
from mrc.answering import CONFIGS, plan, run
from mrc.answering.pipeline import shape_of
from mrc.launch import parse_configs
from mrc.tasks import living_nodes

ray.init(
    address="local", num_cpus=1, num_gpus=1, include_dashboard=False, log_to_driver=False,
    object_store_memory=100 * 2**20,
)
for name, own in {
    "one": ["--use_gpu=false", "--num_actors=1"], "two": ["--use_gpu=false", "--num_actors=2"], "gpu": []
}.items():
    planned = plan(*parse_configs(CONFIGS, "", [f"--output={sys.argv[1]}/{name}", *own, *sys.argv[2:]]))
    print(shape_of(planned.config, living_nodes(), 9), flush=True)
    print(run(planned).answered, flush=True)
"""
"""Answers on a cluster of one CPU and one GPU, a pretended one, which shows that Ray Data takes the options."""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_cpu_answers_with_one_actor_and_with_two_and_with_a_gpu_of_its_own(
    jobs: Jobs, folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    job = jobs.start([sys.executable, "-c", ON_A_CLUSTER, str(tmp_path), *flags_of(folder, output=None)])
    assert job.wait() == 0, job.stderr
    shapes = job.stdout.splitlines()
    assert shapes[1::2] == ["30", "30", "30"]
    assert ["num_actors=1, use_gpu=False" in shape for shape in shapes[::2]] == [True, False, False]
    assert "num_actors=2, use_gpu=False" in shapes[2]
    assert "num_actors=1, use_gpu=True" in shapes[4]
    assert "threads=None" in shapes[4]
    for name in ("one", "two", "gpu"):
        assert_answers(answers_in(tmp_path / name), folder)
