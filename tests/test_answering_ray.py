"""Bulk answering on a real Ray cluster: however it is cut, spread and interrupted, the answers are the same."""

import os
import pathlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from mrc import storage
from mrc.answering import run
from mrc.errors import RunError, UsageError
from mrc.examples import Example
from mrc.metrics import get_scorer, score_predictions
from tests.bulk import (
    Answered,
    answer,
    answer_plan,
    assert_reader_agrees,
    best_rows,
    examples_of,
    reader_of,
    write_bulk_reader,
)
from tests.source_files import squad_table, write_squad
from tests.tiny import write_model
from tests.training_data import make_rows, write_jsonl

# A busy machine starts an actor in minutes, where an idle one takes two seconds.
pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(1800)]

ROWS = make_rows(70, seed=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Return a folder with a reader and its input."""
    folder = tmp_path_factory.mktemp("bulk")
    write_bulk_reader(folder / "reader")
    write_jsonl(folder / "rows.jsonl", ROWS)
    return folder


@pytest.fixture(scope="module")
def base(folder: pathlib.Path, ray_cluster: str) -> Answered:
    """Answer seven units of one file."""
    return answer(**base_flags(folder), output=str(folder / "base"))


def base_flags(folder: pathlib.Path) -> dict[str, Any]:
    return {"model": str(folder / "reader"), "input": str(folder / "rows.jsonl"), "unit_rows": 10}


def write_parts(folder: pathlib.Path, examples: Sequence[Example], count: int) -> str:
    """Write examples as so many Parquet files, and return their folder."""
    for number, part in enumerate(np.array_split(np.arange(len(examples)), count)):
        url = str(folder / f"{number:03d}.parquet")
        storage.write_table(url, squad_table([examples[at] for at in part]))
    return str(folder)


# However the work is cut and spread


def assert_same_answers(found: Answered, expected: Answered) -> None:
    """Check that two runs give the same questions the same answers."""
    names = ("id", "answer", "start", "end", "has_answer", "num_windows")
    ours, theirs = found.rows(), expected.rows()
    assert [[row[name] for name in names] for row in ours] == [[row[name] for name in names] for row in theirs]
    for name in ("score", "probability", "null_score"):
        assert [row[name] for row in ours] == pytest.approx([row[name] for row in theirs], abs=1e-4)
    assert found.outcome.metrics == expected.outcome.metrics
    assert found.outcome.windows == expected.outcome.windows


def test_a_reader_gives_the_same_answers(base: Answered, folder: pathlib.Path) -> None:
    assert_reader_agrees(base.rows(), base.examples, reader_of(str(folder / "reader")))
    assert base.outcome.answered == len(base.rows()) == 70
    assert len({row["answer"] for row in base.rows()}) > 20, "answers that hardly differ show nothing"


CUTS: dict[str, dict[str, Any]] = {
    "one JSON file": {"max_batch_tokens": 1024, "unit_rows": 2048},
    "7 Parquet files": {"num_actors": 2, "max_batch_tokens": 256, "unit_rows": 4},
    "70 Parquet files": {"max_batch_tokens": 4096, "unit_rows": 2048},
}


@pytest.mark.parametrize(("cut", "units"), [("one JSON file", 1), ("7 Parquet files", 14), ("70 Parquet files", 70)])
def test_files_units_actors_and_batches_change_no_answer(
    cut: str, units: int, base: Answered, folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    examples, number = examples_of(ROWS), cut.split()[0]
    if number == "one":
        write_squad(str(tmp_path / "in.json"), examples)
        location = str(tmp_path / "in.json")
    else:
        location = write_parts(tmp_path / "in", examples, int(number))
    other = answer(model=str(folder / "reader"), input=location, output=str(tmp_path / "out"), **CUTS[cut])
    assert (other.outcome.units, len(other.files("commits"))) == (units, units)
    assert_same_answers(other, base)


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "scorer"), [("KorQuAD_v1.0_dev.json", "korquad"), ("xquad.en.json", "squad")])
def test_the_same_holds_for_real_questions(
    name: str, scorer: str, real_data: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    model = write_bulk_reader(tmp_path / "reader", positions=160, max_seq_length=160, doc_stride=40)
    whole = answer(
        model=model, input=str(real_data / name), output=str(tmp_path / "whole"), limit=200, max_batch_tokens=4096
    )
    assert whole.outcome.scorer == scorer
    assert whole.outcome.answered == whole.outcome.metrics["total"] == 200
    assert_reader_agrees(whole.rows(), whole.examples, reader_of(model))
    location = write_parts(tmp_path / "in", whole.examples, 7)
    cut = answer(
        model=model, input=location, output=str(tmp_path / "cut"), num_actors=2, max_batch_tokens=512, unit_rows=20
    )
    assert cut.outcome.units == 7
    assert_same_answers(cut, whole)


# Cut short, and run again


def commit_times(output: pathlib.Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (output / "commits").iterdir()}


def test_only_units_without_a_record_are_answered_again(
    base: Answered, folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    output = tmp_path / "out"
    shutil.copytree(base.output, output)
    before = commit_times(output)
    lost = sorted(before)[1:3]
    for name in lost:
        (output / "commits" / name).unlink()
    # Its files may be there or not, or be what a killed process had not finished.
    (output / "predictions" / lost[0]).with_suffix(".parquet").unlink()
    (output / "predictions" / lost[1]).with_suffix(".parquet").write_bytes(b"PAR1")
    (output / "predictions" / ".torn.parquet.tmp").write_bytes(b"PAR1")
    (output / "_SUCCESS").unlink()
    # What says how a run runs may be another than before.
    again = answer(**base_flags(folder), output=str(output), num_actors=2, max_batch_tokens=256)
    after = commit_times(output)
    assert after.keys() == before.keys()
    assert [name for name in sorted(before) if after[name] != before[name]] == lost
    assert_same_answers(again, base)
    assert [path.name for path in again.files("predictions")] == [path.name for path in base.files("predictions")]
    assert (output / "_SUCCESS").exists()


def test_a_job_that_is_done_returns_at_once_without_the_cluster(
    base: Answered, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_cluster() -> None:
        raise AssertionError("the cluster was asked")

    monkeypatch.setattr(ray, "nodes", no_cluster)
    before = {path: path.stat().st_mtime_ns for path in base.output.rglob("*")}
    assert run(base.plan, no_cluster) == base.outcome
    assert {path: path.stat().st_mtime_ns for path in base.output.rglob("*")} == before


DIFFERENCES = {
    "setting": ({"doc_stride": 8}, "--doc_stride: 16 -> 8"),
    "unset setting": ({"n_best_size": 2}, "--n_best_size: 5 -> "),
    "cut": ({"unit_rows": 20}, r"input: \w+ \(1 jsonl, 7 units\) -> \w+ \(1 jsonl, 4 units\)"),
    "limit": ({"limit": 3}, "--limit: None -> 3"),
}


@pytest.mark.parametrize(("changes", "told"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_another_run_is_refused_with_the_difference(
    changes: dict[str, Any], told: str, base: Answered, folder: pathlib.Path
) -> None:
    other = answer_plan(**{**base_flags(folder), "output": str(base.output), **changes})
    with pytest.raises(UsageError, match=f"holds another run .*{told}.*--overwrite true"):
        run(other)


def test_a_model_or_an_input_that_has_changed_is_refused(base: Answered, folder: pathlib.Path) -> None:
    def again() -> None:
        run(answer_plan(**base_flags(folder), output=str(base.output)))

    again()
    settings = folder / "reader" / "generation_config.json"
    settings.write_text("{}")
    with pytest.raises(UsageError, match=r"holds another run \(model: \w+ -> \w+\)"):
        again()
    settings.unlink()
    rows = folder / "rows.jsonl"
    changed = rows.stat().st_mtime_ns
    os.utime(rows, ns=(changed, changed + 10**9))
    with pytest.raises(UsageError, match=r"holds another run \(input: \w+ .*-> \w+ "):
        again()
    os.utime(rows, ns=(changed, changed))
    again()


def test_starting_over_answers_another_input_and_leaves_foreign_files_alone(
    base: Answered, folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """The other input repeats ids between its files, which are answered twice unless they are looked for."""
    output = tmp_path / "out"
    shutil.copytree(base.output, output)
    (output / "notes").mkdir()
    (output / "notes" / "mine.txt").write_text("mine")
    location = ",".join(write_jsonl(tmp_path / f"{name}.jsonl", ROWS[:12]) for name in "ab")
    over = answer(model=str(folder / "reader"), input=location, output=str(output), overwrite=True)
    assert (output / "notes" / "mine.txt").read_text() == "mine"
    assert [row["id"] for row in over.rows()] == sorted(2 * [row["id"] for row in ROWS[:12]])
    assert (over.outcome.units, over.outcome.metrics["total"]) == (2, 24)
    assert len(over.files("predictions")) == len(over.files("commits")) == 2


# Every question of every document


@pytest.fixture(scope="module")
def product(folder: pathlib.Path, ray_cluster: str) -> Answered:
    """Ask 4 questions of 24 documents, one of which is empty."""
    asked = dict.fromkeys(row["question"] for row in ROWS)
    questions = [{"id": f"q{i}", "question": text} for i, text in enumerate(list(asked)[:4])]
    write_jsonl(folder / "questions.jsonl", questions)
    documents = [{"id": i, "context": row["context"], "year": 1900 + i % 5} for i, row in enumerate(ROWS[:24])]
    documents[7]["context"] = ""
    (folder / "documents").mkdir()
    for name, part in {"a": documents[:15], "b": documents[15:]}.items():
        pq.write_table(pa.Table.from_pylist(part), folder / "documents" / f"{name}.parquet", row_group_size=5)
    return answer(
        model=str(folder / "reader"),
        questions=str(folder / "questions.jsonl"),
        documents=str(folder / "documents"),
        output=str(folder / "product"),
        best_per="question_id",
        keep_columns="year",
        unit_rows=20,
    )


def test_every_question_is_asked_of_every_document_once(product: Answered, folder: pathlib.Path) -> None:
    rows = product.rows()
    pairs = {(str(document), f"q{question}") for document in range(24) for question in range(4)}
    rejects = product.rows("rejects")
    assert [row["id"] for row in rejects] == [f"7#q{question}" for question in range(4)]
    found = [(row["document_id"], row["question_id"]) for row in rows]
    assert len(found) == len(set(found)) == 4 * 23
    assert set(found) == pairs - {("7", f"q{question}") for question in range(4)}
    assert all(row["id"] == f"{row['document_id']}#{row['question_id']}" for row in rows)
    assert all(row["year"] == 1900 + int(row["document_id"]) % 5 for row in rows)
    assert product.outcome.rows == 96
    assert_reader_agrees(rows, product.examples, reader_of(str(folder / "reader")))
    assert product.outcome.metrics == {}
    assert not (product.output / "metrics").exists()


def test_best_is_the_best_of_all_documents_for_each_question(product: Answered) -> None:
    best = product.rows("best")
    assert {row["question_id"]: (row["id"], row["num_passages"]) for row in best} == best_rows(
        product.rows(), "question_id"
    )
    by_id = {row["id"]: row for row in product.rows()}
    for row in best:
        assert {**row, "n_best": None} == {**by_id[row["id"]], "num_passages": 23, "n_best": None}
    assert product.outcome.groups == 4


# Input that is not what was meant


def test_a_wrong_column_stops_a_job_early_with_the_commonest_reasons(
    folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    rows = [{"id": str(i), "question": "Who?", "context": "Anna." if i % 10 == 0 else " "} for i in range(4000)]
    rows[1]["question"] = ""
    location = write_jsonl(tmp_path / "rows.jsonl", rows)
    with pytest.raises(RunError) as stopped:
        answer(model=str(folder / "reader"), input=location, output=str(tmp_path / "out"), unit_rows=100)
    told = str(stopped.value)
    assert told.startswith("900 of the first 1,000 rows rejected (")
    assert "empty_context" in told
    assert "more than --max_reject_share 0.1" in told
    assert f"The rows are in {tmp_path}/out/rejects" in told
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    assert not (tmp_path / "out" / "_driver.json").exists()


def test_more_actors_than_the_cluster_can_hold_are_refused_at_once(
    folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    made = answer_plan(**base_flags(folder), output=str(tmp_path / "out"))
    with pytest.raises(UsageError, match=r"--num_actors 16 .* the cluster has 4: use fewer"):
        run(replace(made, config=replace(made.config, num_actors=16)))
    with pytest.raises(UsageError, match="--num_actors 1 need as many GPUs and the cluster has 0"):
        run(replace(made, config=replace(made.config, use_gpu=True)))
    assert not (tmp_path / "out").exists()


def test_an_encoder_without_a_head_is_refused_by_its_name(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    encoder = write_model(tmp_path / "encoder")
    flags = {**base_flags(folder), "model": encoder, "max_seq_length": 64, "doc_stride": 16}
    with pytest.raises(UsageError, match=f"--model {encoder} has no question-answering head"):
        answer(**flags, output=str(tmp_path / "out"))
    assert not (tmp_path / "out" / "commits").exists()


# Questions without an answer


def test_null_answers_win_and_unsure_ones_are_left_out(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    model = write_bulk_reader(tmp_path / "reader", version_2_with_negative=True)
    examples = examples_of(make_rows(40, seed=3, unanswerable=True))
    predictions = reader_of(model).answer(examples)
    threshold = float(np.median([each.null_score - each.n_best[0].score for each in predictions]))
    reader = reader_of(model, null_score_diff_threshold=threshold)
    predictions = reader.answer(examples)
    least = float(np.median([each.probability for each in predictions if each.has_answer]))
    answered = answer(
        model=model,
        input=write_parts(tmp_path / "in", examples, 2),
        output=str(tmp_path / "out"),
        null_score_diff_threshold=threshold,
        min_probability=least,
    )
    assert_abstains(answered, predictions, least)
    [row] = answered.rows("metrics")
    sums = score_predictions({row["id"]: row["answer"] for row in answered.rows()}, examples, get_scorer("squad_v2"))
    result = sums.result()
    assert (row["scorer"], row["total"], row["NoAns_total"], row["HasAns_total"]) == ("squad_v2", 40, 14, 26)
    assert (row["NoAns_exact_match"], row["HasAns_f1"], row["f1"]) == (
        result["NoAns_exact"],
        result["HasAns_f1"],
        result["f1"],
    )
    assert answered.outcome.metrics == result


def assert_abstains(answered: Answered, predictions: Sequence[Any], least: float) -> None:
    """Check rows against a reader's predictions, of which those under a probability are not answered."""
    by_id = {each.id: each for each in predictions}
    kinds = []
    for row in answered.rows():
        expected = by_id[row["id"]]
        has_answer = expected.has_answer and row["probability"] >= np.float32(least)
        kinds.append((expected.has_answer, has_answer))
        shown = (expected.answer, expected.start, expected.end) if has_answer else ("", -1, -1)
        assert (row["has_answer"], row["answer"], row["start"], row["end"]) == (has_answer, *shown)
        assert (row["score"], row["probability"]) == pytest.approx((expected.score, expected.probability), abs=1e-4)
        assert len(row["n_best"]) == len(expected.n_best)
    assert {(True, True), (True, False), (False, False)} == set(kinds)
