"""Evaluations on a cluster: exact joins, the same numbers for any sharding, mismatches, baselines, the table."""

import json
import os
import pathlib
import random
import signal
import threading
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mrc.errors import GateError, RunError, UsageError
from mrc.evaluation import check_gate, exchange
from mrc.evaluation.outcome import Evaluation
from mrc.examples import Answer, Example
from mrc.lease import NAME, lease
from mrc.metrics import METRICS_SCHEMA, get_scorer, score_predictions, tune_null_threshold
from tests.evaluations import (
    CONTEXTS,
    Evaluated,
    Row,
    evaluate,
    predictions,
    references,
    texts_of,
    write_json,
    write_shards,
)
from tests.processes import descendants

pytestmark = pytest.mark.usefixtures("ray_cluster")

ROWS = references()
PREDICTED = predictions(ROWS)


def telling(found: Evaluation) -> dict[str, Any]:
    """Return all that an evaluation tells of its questions, and nothing of its time and place."""
    there = asdict(found)
    for name in ("run_id", "created_at", "predictions", "references", "seconds", "history", "config"):
        del there[name]
    return there


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """The evaluation of one file each."""
    folder = tmp_path_factory.mktemp("whole")
    return evaluate(
        folder / "evaluations",
        predictions=write_shards(PREDICTED, folder / "predictions", 1),
        references=write_shards(ROWS, folder / "references", 1),
        run_id="whole",
        slice_by="genre",
    )


def test_scores_are_those_of_the_metrics(whole: Evaluated) -> None:
    examples = [
        Example(
            id=row["id"],
            question=row["question"],
            context=row["context"],
            answers=tuple(Answer(text=gold["text"], start=gold["answer_start"]) for gold in row["answers"]),
        )
        for row in ROWS
    ]
    wanted = score_predictions(texts_of(PREDICTED), examples, get_scorer("squad_v2")).result()
    assert whole.found.scorer == "squad_v2"
    assert whole.found.overall.figures == wanted
    for one in whole.found.slices[1:]:
        if one.slice_by == "context_length":
            chosen = [e for e in examples if (len(e.context) >= 500) == (one.slice == "500-999")]
            assert one.figures == score_predictions(texts_of(PREDICTED), chosen, get_scorer("squad_v2")).result()
    assert whole.found.mismatches.total == 0


def test_slices_are_whole(whole: Evaluated) -> None:
    totals: dict[str, float] = {}
    for one in whole.found.slices:
        totals[one.slice_by] = totals.get(one.slice_by, 0) + one.figures["total"]
        low, high = one.f1_interval or (0, 100)
        assert low <= one.figures["f1"] <= high or low == high
    answerable = sum(bool(row["answers"]) for row in ROWS)
    assert totals == {
        **dict.fromkeys(
            ["overall", "answerable", "context_length", "question_word", "num_windows", "genre"], len(ROWS)
        ),
        **dict.fromkeys(["answer_length", "answer_position"], answerable),
    }
    assert {one.slice for one in whole.found.slices if one.slice_by == "genre"} == {"letters", "news", "(none)"}


@pytest.mark.parametrize("shards", [7, 64])
def test_shards_and_order_change_no_digit(
    shards: int, whole: Evaluated, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "BUCKET_ROWS", 20)
    other = evaluate(
        tmp_path / "evaluations",
        predictions=write_shards(PREDICTED, tmp_path / "predictions", shards, seed=1),
        references=write_shards(ROWS, tmp_path / "references", 71 - shards, seed=2),
        slice_by="genre",
    )
    assert telling(other.found) == telling(whole.found)
    own = ("run_id", "created_at")
    assert [{k: v for k, v in row.items() if k not in own} for row in other.table] == [
        {k: v for k, v in row.items() if k not in own} for row in whole.table
    ]
    assert len(list((tmp_path / "evaluations" / "runs" / other.found.run_id / "per_question").iterdir())) == 5
    by_id = {row["id"]: row for row in whole.rows("per_question")}
    assert {row["id"]: row for row in other.rows("per_question")} == by_id
    assert by_id.keys() == {row["id"] for row in ROWS}


def test_table_has_its_schema_and_a_row_a_slice(whole: Evaluated) -> None:
    assert pq.read_schema(whole.output / "metrics" / "whole.parquet").equals(METRICS_SCHEMA)
    assert [(row["slice_by"], row["slice"]) for row in whole.table] == [
        (one.slice_by, one.slice) for one in whole.found.slices
    ]
    assert whole.table[0]["f1_low"] < whole.table[0]["f1"] < whole.table[0]["f1_high"]
    run = whole.output / "runs" / "whole"
    assert (
        json.loads((run / "manifest.json").read_text())["slices"]
        == json.loads(json.dumps(asdict(whole.found)))["slices"]
    )
    assert (run / "report.html").read_text() == "<p>whole</p>"


def test_thresholds_calibration_and_answerability_are_of_all_questions(whole: Evaluated) -> None:
    found, scorer = whole.found, get_scorer("squad_v2")
    golds = [[gold["text"] for gold in row["answers"]] for row in ROWS]
    best = tune_null_threshold(
        [row["null_score"] - row["n_best"][0]["score"] for row in PREDICTED],
        [scorer.score(row["n_best"][0]["text"], gold)[1] for row, gold in zip(PREDICTED, golds, strict=True)],
        [scorer.score("", gold)[1] for gold in golds],
    )
    assert found.thresholds is not None
    assert found.thresholds.best_f1 == pytest.approx(best.score, abs=1e-6)
    assert found.thresholds.best_f1_thresh == pytest.approx(best.threshold, rel=1e-3)
    assert found.calibration is not None
    assert sum(one.count for one in found.calibration.bins) == len(ROWS)
    assert found.answerability is not None
    assert sum(asdict(found.answerability).values()) == len(ROWS)
    assert found.answerability.unanswered_unanswerable == sum(
        not row["answer"] and not gold for row, gold in zip(PREDICTED, golds, strict=True)
    )


def test_no_threshold_is_looked_for_where_every_question_has_an_answer_and_got_one(tmp_path: pathlib.Path) -> None:
    pairs = [(row, said) for row, said in zip(ROWS, PREDICTED, strict=True) if row["answers"] and said["answer"]]
    found = evaluate(
        tmp_path / "evaluations",
        predictions=write_shards([said for _, said in pairs], tmp_path / "predictions", 1),
        references=write_shards([row for row, _ in pairs], tmp_path / "references", 1),
    ).found
    assert found.overall.figures["total"] == len(pairs) > 9
    assert found.calibration is not None
    assert (found.answerability, found.thresholds) == (None, None)


def test_worst_are_the_surest_of_the_wrong_with_their_passages(whole: Evaluated) -> None:
    assert 0 < len(whole.found.worst) <= 20
    places = [(one.f1, -(one.probability or 0)) for one in whole.found.worst]
    assert places == sorted(places)
    for one in whole.found.worst:
        assert one.passage in CONTEXTS
        assert not one.exact_match
        assert tuple(one.passage[start:end] for start, end in one.gold_spans) == one.golds
        assert one.answer_span is None or one.passage[slice(*one.answer_span)] == one.answer


def mismatched() -> tuple[list[Row], list[Row]]:
    """Return references and predictions of which some do not pair up."""
    golds = [*ROWS, {**ROWS[3], "question": "again?"}, {**ROWS[0], "id": "unanswered"}, {**ROWS[0], "id": None}]
    answers = [
        *PREDICTED,
        {**PREDICTED[5], "answer": "later"},
        {**PREDICTED[0], "id": "extra"},
        {**PREDICTED[0], "answer": None},
    ]
    return golds, answers


@pytest.mark.parametrize("shards", [1, 5])
def test_mismatches_are_counted_listed_and_refused(shards: int, tmp_path: pathlib.Path) -> None:
    golds, answers = mismatched()
    flags: dict[str, Any] = {
        "predictions": write_shards(answers, tmp_path / "predictions", shards),
        "references": write_shards(golds, tmp_path / "references", shards),
        "run_id": "night",
    }
    with pytest.raises(
        RunError, match=r"1 references without a prediction, 1 predictions without a reference, 1 repeated"
    ):
        evaluate(tmp_path / "evaluations", **flags)
    assert not (tmp_path / "evaluations" / "metrics").exists()
    done = evaluate(tmp_path / "evaluations", allow_mismatches=True, **flags)
    kinds = ("missing", "extra", "duplicate_references", "duplicate_predictions", "bad_references", "bad_predictions")
    assert asdict(done.found.mismatches) == dict.fromkeys(kinds, 1)
    listed = {row["kind"]: row for row in done.rows("mismatches")}
    assert sorted(listed) == sorted(kinds)
    assert [listed[kind]["id"] for kind in kinds[:4]] == ["unanswered", "extra", ROWS[3]["id"], ROWS[5]["id"]]
    assert all(row["source"].endswith(".parquet") and row["row"] >= 0 for row in listed.values())
    by_id = {row["id"]: row for row in done.rows("per_question")}
    assert len(by_id) == done.found.overall.figures["total"] == len(ROWS) + 1
    assert (by_id["unanswered"]["answer"], by_id["unanswered"]["f1"]) == (None, 0.0)
    assert done.found.overall.figures["missing"] == 1
    assert by_id[ROWS[5]["id"]]["answer"] == PREDICTED[5]["answer"]
    assert by_id[ROWS[3]["id"]]["question"] == ROWS[3]["question"]


def test_nothing_in_common(tmp_path: pathlib.Path) -> None:
    strangers = [{**row, "id": "x" + row["id"]} for row in PREDICTED]
    with pytest.raises(RunError, match="96 references without a prediction, 96 predictions without a reference"):
        evaluate(
            tmp_path / "evaluations",
            predictions=write_json(tmp_path / "predictions.json", texts_of(strangers)),
            references=write_shards(ROWS, tmp_path / "references", 2),
        )


def test_baseline_on_the_same_questions(whole: Evaluated, tmp_path: pathlib.Path) -> None:
    rng = random.Random(3)
    worse = [{**row, "answer": "Bonn" if rng.random() < 0.4 else row["answer"]} for row in PREDICTED]
    flags: dict[str, Any] = {"references": write_shards(ROWS, tmp_path / "references", 3), "slice_by": "genre"}
    done = evaluate(
        tmp_path / "evaluations",
        predictions=write_json(tmp_path / "worse.json", texts_of(worse)),
        baseline=str(whole.output / "runs" / "whole"),
        **flags,
    )
    comparison = done.found.comparison
    assert comparison is not None
    assert (comparison.baseline, comparison.only_here, comparison.only_there) == ("whole", 0, 0)
    overall = comparison.changes[0]
    assert overall.f1 == pytest.approx(done.found.overall.figures["f1"] - whole.found.overall.figures["f1"], abs=1e-9)
    assert overall.exact_match_interval is not None
    assert overall.exact_match_interval[0] < overall.exact_match < overall.exact_match_interval[1] < 0
    new, old = ({row["id"]: row["f1"] for row in each.rows("per_question")} for each in (done, whole))
    assert comparison.lost == sum(new[name] < old[name] for name in new)
    assert comparison.won == sum(new[name] > old[name] for name in new)
    assert comparison.lost_examples[0].baseline_f1 == old[comparison.lost_examples[0].id]
    assert {(one.slice_by, one.slice) for one in comparison.changes} == {
        (one.slice_by, one.slice) for one in done.found.slices
    }
    with pytest.raises(GateError, match=r"f1 fell by [0-9.]+ points against whole \(95 % interval -"):
        check_gate(done.found, "f1", 0.5)
    check_gate(done.found, "f1", 99.0)
    check_gate(done.found, "f1", None)


def test_a_run_against_itself_and_against_others(tmp_path: pathlib.Path) -> None:
    golds = write_shards(ROWS, tmp_path / "references", 2)
    answers = write_json(tmp_path / "predictions.json", texts_of(PREDICTED))
    first = evaluate(tmp_path / "e", references=golds, predictions=answers, run_id="monday", baseline="last")
    assert first.found.comparison is None
    check_gate(first.found, "f1", 0.0)
    second = evaluate(tmp_path / "e", references=golds, predictions=answers, run_id="tuesday", baseline="last")
    assert second.found.comparison is not None
    assert second.found.comparison.baseline == "monday"
    assert {(one.f1, one.f1_interval) for one in second.found.comparison.changes} <= {(0.0, (0.0, 0.0)), (0.0, None)}
    assert (second.found.comparison.won, second.found.comparison.lost) == (0, 0)
    check_gate(second.found, "f1", 0.0)
    assert [run.run_id for run in second.found.history] == ["monday", "tuesday"]
    part = write_shards(ROWS[:50], tmp_path / "part", 1)
    third = evaluate(
        tmp_path / "e",
        references=part,
        predictions=write_json(tmp_path / "part.json", texts_of(PREDICTED[:50])),
        baseline="monday",
    )
    assert third.found.comparison is not None
    assert (third.found.comparison.only_here, third.found.comparison.only_there) == (0, 46)
    assert third.found.comparison.changes[0].total == 50
    assert third.found.data_fingerprint != second.found.data_fingerprint == first.found.data_fingerprint
    with pytest.raises(UsageError, match=r"--baseline sunday: .* has no file"):
        evaluate(tmp_path / "e", references=golds, predictions=answers, baseline="sunday")


def test_a_run_is_in_the_table_once(tmp_path: pathlib.Path) -> None:
    flags: dict[str, Any] = {
        "references": write_shards(ROWS, tmp_path / "references", 1),
        "predictions": write_json(tmp_path / "predictions.json", texts_of(PREDICTED)),
        "run_id": "night",
    }
    evaluate(tmp_path / "e", **flags)
    with pytest.raises(UsageError, match="night is in the table"):
        evaluate(tmp_path / "e", **flags)
    write_json(tmp_path / "predictions.json", texts_of(PREDICTED) | {"q0000": "other"})
    again = evaluate(tmp_path / "e", overwrite=True, **flags)
    assert [run.run_id for run in again.found.history] == ["night"]
    assert next(row["answer"] for row in again.rows("per_question") if row["id"] == "q0000") == "other"


def test_a_run_is_evaluated_by_one_driver_at_a_time(tmp_path: pathlib.Path) -> None:
    flags: dict[str, Any] = {
        "references": write_shards(ROWS, tmp_path / "references", 1),
        "predictions": write_json(tmp_path / "predictions.json", texts_of(PREDICTED)),
        "run_id": "night",
    }
    folder = tmp_path / "e" / "runs" / "night"
    with lease(str(folder)), pytest.raises(UsageError, match=f"process {os.getpid()} on .* is writing to {folder}:"):
        evaluate(tmp_path / "e", **flags)
    assert not list(folder.iterdir())
    evaluate(tmp_path / "e", **flags)
    assert (folder / "per_question").exists()
    assert not (folder / NAME).exists()


def test_what_an_attempt_that_died_left_is_gone(tmp_path: pathlib.Path) -> None:
    """It has no row in the table, and its files are not mixed with those of the next attempt."""
    stray = tmp_path / "e" / "runs" / "night" / "per_question" / "00077.parquet"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"half a file")
    done = evaluate(
        tmp_path / "e",
        references=write_shards(ROWS, tmp_path / "references", 1),
        predictions=write_json(tmp_path / "predictions.json", texts_of(PREDICTED)),
        run_id="night",
    )
    assert len(done.rows("per_question")) == len(ROWS)
    assert not stray.exists()


def test_values_beyond_the_commonest_are_one_slice(tmp_path: pathlib.Path) -> None:
    rows = [{**row, "genre": f"g{min(number, 70)}"} for number, row in enumerate(ROWS)]
    done = evaluate(
        tmp_path / "e",
        references=write_shards(rows, tmp_path / "references", 4),
        predictions=write_json(tmp_path / "predictions.json", texts_of(PREDICTED)),
        slice_by="genre",
    )
    totals = {one.slice: one.figures["total"] for one in done.found.slices if one.slice_by == "genre"}
    assert len(totals) == 51
    assert totals["g70"] == 26
    assert totals["other"] == 21


@pytest.mark.slow
def test_a_bucket_holds_what_one_process_can(tmp_path: pathlib.Path) -> None:
    """Twenty thousand questions in many buckets: every id once."""
    count = 20_000
    rows = [{**ROWS[number % len(ROWS)], "id": str(number)} for number in range(count)]
    order = np.random.default_rng(0).permutation(count)
    answers = [{"id": str(number), "answer": "Ada"} for number in order.tolist()]
    done = evaluate(
        tmp_path / "e",
        references=write_shards(rows, tmp_path / "references", 3),
        predictions=write_shards(answers, tmp_path / "predictions", 8),
    )
    assert done.found.overall.figures["total"] == count
    assert sorted(row["id"] for row in done.rows("per_question")) == sorted(map(str, range(count)))


@pytest.mark.chaos
@pytest.mark.parametrize("task", ["_read_some", "_score_one"])
def test_a_killed_task_is_done_again(task: str, tmp_path: pathlib.Path) -> None:
    count = 30_000
    rows = [{**ROWS[number % len(ROWS)], "id": str(number)} for number in range(count)]
    flags: dict[str, Any] = {
        "references": write_shards(rows, tmp_path / "references", 1),
        "predictions": write_shards([{"id": row["id"], "answer": "Ada"} for row in rows], tmp_path / "predictions", 1),
    }
    undisturbed = evaluate(tmp_path / "e", **flags)
    killed: list[int] = []
    done = threading.Event()

    def kill() -> None:
        while not done.is_set() and not killed:
            for pid, title in descendants(os.getpid()).items():
                if task in title:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                    return

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        disturbed = evaluate(tmp_path / "e", **flags)
    finally:
        done.set()
        killer.join()
    assert killed
    assert telling(disturbed.found) == telling(undisturbed.found)
    assert disturbed.rows("per_question") == undisturbed.rows("per_question")
