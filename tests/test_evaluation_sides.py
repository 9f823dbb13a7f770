"""Both sides of an evaluation in all their forms: any system's predictions, references with and without passages."""

import json
import pathlib
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrc import storage
from mrc.errors import UsageError
from mrc.evaluation.config import EvaluateConfig
from mrc.evaluation.plan import plan, settle
from mrc.evaluation.predictions import read_predictions
from mrc.evaluation.reading import read_references
from mrc.sources import SourceConfig
from tests.evaluations import write_json
from tests.tokenizers import tokenizer_of

GOLD = {"id": "1", "question": "Who?", "context": "It was Ada.", "answers": {"text": ["Ada"], "answer_start": [7]}}


def read(folder: pathlib.Path, predictions: str, golds: str, **flags: Any) -> tuple[list[Any], list[Any]]:
    """Return the rows of both sides and, behind them, the reasons of bad ones."""
    config = EvaluateConfig(predictions=predictions, references=golds, output=str(folder / "out"), **flags)
    made = plan(*_settled(config))
    sides: tuple[list[Any], list[Any]] = ([], [])
    for number, unit in enumerate(made.predictions):
        rows = read_predictions(unit, number, made.prediction_source, config.null_odds)
        sides[0].extend([*rows.table.to_pylist(), *(bad.reason for bad in rows.bad)])
    for number, unit in enumerate(made.references):
        rows = read_references(unit, number, made.reference_source, config.slice_columns, None)
        sides[1].extend([*rows.table.to_pylist(), *(bad.reason for bad in rows.bad)])
    return sides


def _settled(config: EvaluateConfig) -> tuple[EvaluateConfig, SourceConfig, Any]:
    config, created_at = settle(config)
    return config, SourceConfig(), created_at


def pick(rows: list[Any], *names: str) -> list[Any]:
    return [row if isinstance(row, str) else tuple(row[name] for name in names) for row in rows]


FORMS = {
    "predictions.json": json.dumps({"1": "Ada", "2": ""}),
    "rows.json": json.dumps([{"id": 1, "answer": "Ada"}, {"id": "2", "answer": ""}]),
    "data.json": json.dumps({"data": [{"id": 1, "answer": "Ada"}, {"id": "2", "answer": ""}]}),
    "rows.jsonl": '{"id": "1", "answer": "Ada"}\n{"id": 2, "answer": ""}\n',
    "rows.csv": "id,answer\n1,Ada\n2,\n",
    "rows.tsv": "answer\tid\nAda\t1\n\t2\n",
}


@pytest.mark.parametrize("name", FORMS)
def test_predictions_of_any_system(name: str, tmp_path: pathlib.Path) -> None:
    storage.write_text(str(tmp_path / name), FORMS[name])
    found, _ = read(tmp_path, str(tmp_path / name), write_json(tmp_path / "gold.json", [GOLD]))
    assert pick(found, "id", "answer", "best_text", "null_diff") == [("1", "Ada", "Ada", None), ("2", "", "", None)]


def test_predictions_under_other_names(tmp_path: pathlib.Path) -> None:
    storage.write_text(str(tmp_path / "a.jsonl"), '{"qid": 1, "prediction_text": "Ada"}\n')
    gold = write_json(tmp_path / "gold.json", [GOLD])
    names = {"prediction_id_column": "qid", "prediction_column": "prediction_text"}
    found, _ = read(tmp_path, str(tmp_path / "a.jsonl"), gold, **names)
    assert pick(found, "id", "answer") == [("1", "Ada")]


def test_parquet_predictions_with_spans(tmp_path: pathlib.Path) -> None:
    span = {"text": "Ada", "score": 3.0, "start": 7}
    rows = [
        {"id": 1, "answer": "", "null_score": 4.0, "n_best": [span, {**span, "text": "It"}], "num_windows": 3},
        {"id": 2, "answer": "Ada", "null_score": 1.0, "n_best": [span], "num_windows": 1},
        {"id": 3, "answer": "", "null_score": 1.0, "n_best": [], "num_windows": 1},
        {"id": 4, "answer": "x", "null_score": None, "n_best": [span], "num_windows": 1},
        {"id": 5, "answer": None, "null_score": 1.0, "n_best": [span], "num_windows": 1},
        {"id": None, "answer": "y", "null_score": 1.0, "n_best": [span], "num_windows": 1},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=2)
    found, _ = read(tmp_path, str(tmp_path / "a.parquet"), write_json(tmp_path / "gold.json", [GOLD]))
    assert pick(found, "id", "row", "answer", "best_text", "null_diff", "num_windows") == [
        ("1", 0, "", "Ada", 1.0, 3),
        ("2", 1, "Ada", "Ada", -2.0, 1),
        ("3", 2, "", "", float("inf"), 1),
        ("4", 3, "x", "Ada", None, 1),
        "missing_value",
        "missing_value",
    ]


def test_null_odds_of_run_qa(tmp_path: pathlib.Path) -> None:
    answers = write_json(tmp_path / "predictions.json", {"1": "Ada", "2": ""})
    odds = write_json(tmp_path / "null_odds.json", {"1": -2.5, "2": 1})
    found, _ = read(tmp_path, answers, write_json(tmp_path / "gold.json", [GOLD]), null_odds=odds)
    assert pick(found, "id", "null_diff") == [("1", -2.5), ("2", 1.0)]


@pytest.mark.parametrize("text", ["[1]", "{", '{"1": "much"}'])
def test_null_odds_that_are_none(text: str, tmp_path: pathlib.Path) -> None:
    storage.write_text(str(tmp_path / "odds.json"), text)
    answers = write_json(tmp_path / "predictions.json", {"1": "Ada"})
    with pytest.raises(UsageError, match=r"--null_odds .*odds.json: not a JSON object of numbers"):
        read(tmp_path, answers, write_json(tmp_path / "gold.json", [GOLD]), null_odds=str(tmp_path / "odds.json"))


BAD = {
    '{"answer": "Ada"}': "missing_value",
    '{"id": "1"}': "missing_value",
    '{"id": "1", "answer": null}': "missing_value",
    '{"id": "1", "answer": 5}': "wrong_type",
    '{"id": [1], "answer": "Ada"}': "wrong_type",
    "{": "invalid_json",
}


@pytest.mark.parametrize("line", BAD)
def test_a_bad_prediction_costs_itself(line: str, tmp_path: pathlib.Path) -> None:
    storage.write_text(str(tmp_path / "a.jsonl"), f'{{"id": "0", "answer": "x"}}\n{line}\n')
    found, _ = read(tmp_path, str(tmp_path / "a.jsonl"), write_json(tmp_path / "gold.json", [GOLD]))
    assert pick(found, "id") == [("0",), BAD[line]]


GOLDS: dict[str, tuple[dict[str, Any], tuple[Any, ...]]] = {
    "as in training": (GOLD, ("1", ["Ada"], 7, 11)),
    "without a context": ({"id": "1", "answers": {"text": ["Ada"]}}, ("1", ["Ada"], -1, -1)),
    "a wrong offset": ({**GOLD, "answers": [{"text": "Ada", "answer_start": 3}]}, ("1", ["Ada"], -1, 11)),
    "text that is not there": ({**GOLD, "answers": [{"text": "Eve", "answer_start": 7}]}, ("1", ["Eve"], -1, 11)),
    "no offset": ({**GOLD, "answers": [{"text": "Ada"}]}, ("1", ["Ada"], -1, 11)),
    "an empty gold": ({**GOLD, "answers": {"text": [""], "answer_start": [0]}}, ("1", [""], 0, 11)),
    "no answer": ({**GOLD, "answers": []}, ("1", [], -1, 11)),
    "impossible": ({**GOLD, "is_impossible": True}, ("1", [], -1, 11)),
    "flat": ({"id": 1, "answer_text": "Ada", "context": "It was Ada."}, ("1", ["Ada"], -1, 11)),
}


@pytest.mark.parametrize("name", GOLDS)
def test_golds_are_texts_wherever_they_stand(name: str, tmp_path: pathlib.Path) -> None:
    row, wanted = GOLDS[name]
    answers = write_json(tmp_path / "predictions.json", {"1": "Ada"})
    storage.write_text(str(tmp_path / "gold.jsonl"), json.dumps(row) + "\n")
    _, found = read(tmp_path, answers, str(tmp_path / "gold.jsonl"))
    assert pick(found, "id", "golds", "start", "context_chars") == [wanted]


def test_questions_of_a_passage_share_its_key(tmp_path: pathlib.Path) -> None:
    rows = [GOLD, {**GOLD, "id": "2"}, {**GOLD, "id": "3", "context": "So it was Ada."}]
    rows += [{"id": name, "answers": {"text": ["Ada"]}} for name in "45"]
    storage.write_text(str(tmp_path / "gold.jsonl"), "".join(json.dumps(row) + "\n" for row in rows))
    _, found = read(tmp_path, write_json(tmp_path / "predictions.json", {"1": "Ada"}), str(tmp_path / "gold.jsonl"))
    keys = [row["context_key"] for row in found]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4


def test_korquad_2_is_read(tmp_path: pathlib.Path) -> None:
    page = {
        "title": "무정",
        "context": "<h1>무정</h1>",
        "qas": [{"id": "1", "question": "무엇?", "answer": {"text": "무정", "answer_start": 4}}],
    }
    gold = write_json(tmp_path / "gold.json", {"data": [page]})
    answers = write_json(tmp_path / "predictions.json", {"1": "무정"})
    config, _, created_at = _settled(EvaluateConfig(predictions=answers, references=gold, output=str(tmp_path / "out")))
    made = plan(config, SourceConfig(answers_column="answer"), created_at)
    rows = read_references(made.references[0], 0, made.reference_source, (), None)
    assert pick(rows.table.to_pylist(), "id", "golds", "start") == [("1", ["무정"], 4)]


@pytest.mark.parametrize("family", ["bert_cased", "xlm_roberta"])
def test_golds_are_widened_to_the_tokens_that_hold_them(family: str, tmp_path: pathlib.Path) -> None:
    """A tokenizer that joins what the gold parts cannot give the gold exactly."""
    tokenizer = tokenizer_of(family)
    context = "Ada wrote letters."
    row = {
        "id": "1",
        "context": context,
        "answers": [{"text": "letter", "answer_start": 10}, {"text": "Ada", "answer_start": 0}],
    }
    storage.write_text(str(tmp_path / "gold.jsonl"), json.dumps(row) + "\n")
    config = EvaluateConfig(
        predictions=write_json(tmp_path / "p.json", {"1": "Ada"}),
        references=str(tmp_path / "gold.jsonl"),
        output=str(tmp_path / "out"),
    )
    made = plan(*_settled(config))
    [found] = read_references(made.references[0], 0, made.reference_source, (), tokenizer).table.to_pylist()
    offsets = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    edges = {edge for start, end in offsets if start < end for edge in (start, end)}
    for text, gold in zip(found["at_boundaries"], ("letter", "Ada"), strict=True):
        at = context.index(text)
        assert gold in text
        assert {at, at + len(text)} <= edges
