"""`jobs/evaluate.py` as people run it: one line for every mistake, exit codes, and answering before scoring."""

import json
import pathlib
import sys
from typing import Any

import pyarrow.parquet as pq
import pytest

from mrc import storage
from mrc.evaluation import EvaluateConfig, prepare, run
from mrc.sources import SourceConfig
from tests.bulk import write_bulk_reader
from tests.evaluations import evaluate, predictions, references, texts_of, write_json, write_shards
from tests.job_runs import RunMain, assert_is_one_error
from tests.processes import ROOT, Jobs
from tests.tiny import write_model
from tests.training_data import make_rows, write_jsonl

JOB = ROOT / "jobs" / "evaluate.py"
MISTAKE_S = 15.0
ROWS = references()
PREDICTED = predictions(ROWS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Return a folder with both sides, a worse system's answers, and a reader with questions for it."""
    folder = tmp_path_factory.mktemp("evaluate")
    write_shards(ROWS, folder / "golds", 2)
    write_json(folder / "predictions.json", texts_of(PREDICTED))
    write_json(folder / "worse.json", dict.fromkeys(texts_of(PREDICTED), "Bonn"))
    storage.write_text(str(folder / "no_gold.jsonl"), '{"id": "1", "question": "Who?", "context": "Ada."}\n')
    storage.write_text(str(folder / "other.jsonl"), '{"qid": "1", "text": "Ada"}\n')
    storage.write_text(str(folder / "broken.json"), '{"data": [')
    write_bulk_reader(folder / "reader")
    write_model(folder / "encoder")
    write_jsonl(folder / "rows.jsonl", make_rows(30, seed=1))
    return folder


def flags_of(folder: pathlib.Path, **changes: object) -> list[str]:
    """Return the flags of an evaluation; one that is changed to None is left out, and {} stands for the folder."""
    values: dict[str, object] = {
        "predictions": folder / "predictions.json",
        "references": folder / "golds",
        "output": folder / "evaluations",
        **changes,
    }
    return [f"--{name}={str(value).replace('{}', str(folder))}" for name, value in values.items() if value is not None]


MISTAKES: dict[str, tuple[dict[str, object], str]] = {
    "nothing": (
        {"predictions": None, "references": None},
        "give --predictions and --references, or --model and --input",
    ),
    "half": ({"references": None}, "give --predictions and --references"),
    "both": ({"model": "{}/reader", "input": "{}/rows.jsonl"}, "give --predictions and --references, or"),
    "run id": ({"run_id": "../../etc"}, "--run_id '../../etc': use letters"),
    "hidden run id": ({"run_id": ".x"}, "--run_id '.x': use letters"),
    "gate alone": ({"fail_if_drop": 0.5}, "--fail_if_drop needs a --baseline"),
    "no predictions": ({"predictions": "nowhere.json"}, "no file at nowhere.json"),
    "no references": ({"references": "nowhere.json"}, "no file at nowhere.json"),
    "broken": ({"references": "{}/broken.json"}, "broken.json: not JSON at line 1"),
    "no gold": ({"references": "{}/no_gold.jsonl"}, "no_gold.jsonl has no gold answers.*--answers_column"),
    "column to slice by": ({"slice_by": "genre,topic"}, "has no column 'topic', which --slice_by names"),
    "baseline": ({"baseline": "sunday"}, "--baseline sunday: .* has no file"),
    "scorer": ({"scorer": "rouge"}, "--scorer rouge: expected one of auto, klue_mrc"),
    "encoder": (
        {"predictions": None, "references": None, "model": "nowhere/model", "input": "{}/rows.jsonl"},
        "--model nowhere/model: .*hub",
    ),
    "input without gold": (
        {"predictions": None, "references": None, "model": "{}/reader", "input": "{}/no_gold.jsonl"},
        "no_gold.jsonl has no gold answers",
    ),
    "tokenizer": ({"tokenizer": "nowhere/model"}, "--model nowhere/model: .*hub"),
}


@pytest.mark.parametrize(("changes", "pattern"), MISTAKES.values(), ids=MISTAKES)
def test_mistake_is_one_line(changes: dict[str, object], pattern: str, folder: pathlib.Path, run_main: RunMain) -> None:
    outcome = run_main(JOB, *flags_of(folder, **changes))
    assert_is_one_error(outcome.stderr, pattern)
    assert (outcome.code, outcome.stdout) == (2, "")
    assert outcome.seconds < MISTAKE_S


@pytest.mark.slow
def test_exit_codes_and_files_of_real_runs(
    folder: pathlib.Path, jobs: Jobs, ray_cluster: str, tmp_path: pathlib.Path
) -> None:
    def night(**changes: object) -> Any:
        command = [sys.executable, str(JOB), *flags_of(folder, output=tmp_path / "e", **changes)]
        job = jobs.start(command, RAY_ADDRESS=ray_cluster)
        return job, job.wait()

    first, code = night(run_id="monday", baseline="last", fail_if_drop=0.5)
    assert (code, first.stderr) == (0, "")
    assert "by the squad_v2 rule on 96 questions" in first.stdout
    worse, code = night(run_id="tuesday", baseline="last", fail_if_drop=0.5, predictions=folder / "worse.json")
    assert code == 3
    assert_is_one_error(worse.stderr, r"f1 fell by [0-9.]+ points against monday")
    assert sorted(path.name for path in (tmp_path / "e" / "metrics").iterdir()) == ["monday.parquet", "tuesday.parquet"]
    page = (tmp_path / "e" / "runs" / "tuesday" / "report.html").read_text()
    assert page.startswith("<!DOCTYPE html>") or page.startswith("<!doctype html>")
    assert "monday" in page
    short, code = night(run_id="wednesday", predictions=folder / "other.jsonl", prediction_column="text",
                        prediction_id_column="qid")  # fmt: skip
    assert code == 1
    assert_is_one_error(
        short.stderr, "96 references without a prediction, 1 predictions without a reference, listed in"
    )


@pytest.mark.usefixtures("ray_cluster")
def test_a_model_answers_first_and_its_answers_are_scored(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    config = EvaluateConfig(
        model=str(folder / "reader"),
        input=str(folder / "rows.jsonl"),
        output=str(tmp_path / "e"),
        run_id="night",
        precision="float32",
    )
    found = run(prepare(config, SourceConfig()), lambda evaluation: evaluation.run_id)
    answers = tmp_path / "e" / "runs" / "night" / "answers"
    [row] = pq.read_table(answers / "metrics").to_pylist()
    overall = found.overall.figures
    assert (overall["exact_match"], overall["f1"], overall["total"]) == (row["exact_match"], row["f1"], 30)
    assert found.model_fingerprint == row["model_fingerprint"]
    assert {one.slice_by for one in found.slices} >= {"num_windows", "context_length"}
    # The same answers, scored where they lie.
    again = evaluate(
        tmp_path / "e",
        predictions=str(answers / "predictions"),
        references=str(folder / "rows.jsonl"),
        baseline="night",
    )
    assert again.found.overall.figures == overall
    assert again.found.model_fingerprint == row["model_fingerprint"]
    assert again.found.comparison is not None
    assert again.found.comparison.changes[0].f1 == 0.0


@pytest.mark.usefixtures("ray_cluster")
def test_an_answering_job_that_is_not_done_is_refused(
    folder: pathlib.Path, tmp_path: pathlib.Path, run_main: RunMain
) -> None:
    for name in ("predictions", "commits"):
        storage.write_text(str(tmp_path / "answers" / name / "x.parquet"), "")
    outcome = run_main(JOB, *flags_of(folder, predictions=tmp_path / "answers"))
    assert outcome.code == 2
    assert_is_one_error(outcome.stderr, "the answering job there is not done")
    assert json.loads((folder / "predictions.json").read_text())
