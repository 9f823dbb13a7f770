"""What a job of bulk answering leaves behind: its tables as other tools read them, and the telling of every row."""

import csv
import datetime
import gzip
import json
import pathlib
from dataclasses import asdict
from typing import Any

import datasets
import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
import yaml

from mrc.errors import UsageError
from mrc.examples import REJECT_SCHEMA, Example
from mrc.metrics import METRICS_SCHEMA, get_scorer, score_predictions
from mrc.sources import SourceConfig
from mrc.validation import REASONS
from tests.bulk import Answered, answer, answer_plan, assert_reader_agrees, best_rows, reader_of, write_bulk_reader
from tests.source_files import SQUAD_ANSWERS
from tests.training_data import make_rows, write_jsonl

# A busy machine starts an actor in minutes, where an idle one takes two seconds.
pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(1800)]

SPAN = "struct<text: string, start: int32, end: int32, score: float, probability: float>"
OWN_COLUMNS = {
    "id": "string not null",
    "answer": "string not null",
    "start": "int32 not null",
    "end": "int32 not null",
    "score": "float",
    "probability": "float not null",
    "null_score": "float",
    "has_answer": "bool not null",
    "num_windows": "int32 not null",
    "exact_match": "int8",
    "f1": "double",
}
N_BEST = {"n_best": f"list<element: {SPAN}> not null"}


def columns_of(schema: pa.Schema) -> dict[str, str]:
    """Return names and types of columns, in order."""
    return {field.name: f"{field.type}{'' if field.nullable else ' not null'}" for field in schema}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Return a folder with a reader and its input."""
    folder = tmp_path_factory.mktemp("outputs")
    write_bulk_reader(folder / "reader")
    return folder


# Good rows with columns of all kinds

KEPT = pa.schema(
    [
        ("number", pa.int64()),
        ("kind", pa.dictionary(pa.int32(), pa.string())),
        ("tags", pa.list_(pa.string())),
        ("seen", pa.timestamp("us", tz="UTC")),
    ]
)


def typed_rows() -> list[dict[str, Any]]:
    """Return 46 rows with further columns, one of them without known gold, two of them bad."""
    rows = make_rows(46, seed=1)
    for i, row in enumerate(rows):
        row |= {
            "number": None if i % 7 == 0 else i * 10**10,
            "kind": None if i % 11 == 0 else f"kind {i % 3}",
            "tags": [f"tag {i}"] * (i % 3),
            "seen": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(seconds=i),
        }
    rows[3]["answers"] = None
    rows[20]["answers"] = {"text": ["Anna"], "answer_start": [0]}
    rows[41]["question"] = ""
    return rows


@pytest.fixture(scope="module")
def typed(folder: pathlib.Path, ray_cluster: str) -> Answered:
    """Answer two Parquet files in five units, and keep all columns."""
    texts = [pa.field(name, pa.string()) for name in ("id", "question", "context")]
    schema = pa.schema([*texts, ("answers", SQUAD_ANSWERS), *KEPT, ("not_kept", pa.string())])
    table = pa.Table.from_pylist(typed_rows(), schema=schema)
    (folder / "typed").mkdir()
    pq.write_table(table[:30], folder / "typed" / "a.parquet", row_group_size=10)
    pq.write_table(table[30:], folder / "typed" / "b.parquet")
    return answer(
        model=str(folder / "reader"),
        input=str(folder / "typed"),
        output=str(folder / "typed-out"),
        keep_columns="number, kind, tags, seen",
        best_per="kind",
        n_best_size=3,
        unit_rows=10,
    )


def test_predictions_have_the_documented_columns_in_every_file(typed: Answered) -> None:
    files = typed.files("predictions")
    assert [file.name for file in files] == sorted(f"{unit.name}.parquet" for unit in typed.plan.units)
    assert len(files) == 5
    kept = {"number": "int64", "kind": "string", "tags": "list<element: string>", "seen": "timestamp[us, tz=UTC]"}
    for file in files:
        assert columns_of(pq.read_schema(file)) == {**OWN_COLUMNS, **N_BEST, **kept}


def test_pandas_arrow_duckdb_and_datasets_read_the_same_rows(typed: Answered, tmp_path: pathlib.Path) -> None:
    expected, predictions = typed.rows(), typed.output / "predictions"
    schema = typed.table("predictions").schema
    assert len(expected) == 44
    by_pandas = pd.read_parquet(predictions)
    by_arrow = pyarrow.dataset.dataset(predictions, format="parquet")
    by_duckdb = duckdb.read_parquet(f"{predictions}/*.parquet")
    by_datasets = datasets.load_dataset(
        "parquet", data_files=f"{predictions}/*.parquet", split="train", cache_dir=str(tmp_path)
    )
    tables = {
        "pandas": pa.Table.from_pandas(by_pandas, schema=schema, preserve_index=False),
        "arrow": by_arrow.to_table(),
        "duckdb": by_duckdb.to_arrow_table(),
        "datasets": by_datasets.with_format("arrow")[:],
    }
    for name, table in tables.items():
        assert table.column_names == schema.names, name
        assert sorted(table.to_pylist(), key=lambda row: row["id"]) == expected, name


def test_predictions_and_their_n_best_are_what_a_reader_answers(typed: Answered, folder: pathlib.Path) -> None:
    rows = typed.rows()
    expected = assert_reader_agrees(rows, typed.examples, reader_of(str(folder / "reader")))
    contexts = {example.id: example.context for example in typed.examples}
    assert max(row["num_windows"] for row in rows) > 1
    for row, prediction in zip(rows, expected, strict=True):
        best = prediction.n_best[:3]
        assert [(span["text"], span["start"], span["end"]) for span in row["n_best"]] == [
            (span.text, span.start, span.end) for span in best
        ]
        assert [span["probability"] for span in row["n_best"]] == pytest.approx(
            [span.probability for span in best], abs=1e-4
        )
        assert row["answer"] == contexts[row["id"]][row["start"] : row["end"]] == row["n_best"][0]["text"]


def test_kept_columns_are_the_inputs_own(typed: Answered) -> None:
    given = {row["id"]: row for row in typed_rows()}
    rows = typed.rows()
    assert [{name: row[name] for name in KEPT.names} for row in rows] == [
        {name: given[row["id"]][name] for name in KEPT.names} for row in rows
    ]


def test_best_has_the_best_row_of_each_group_and_its_size(typed: Answered) -> None:
    best = typed.rows("best")
    columns = columns_of(typed.table("best").schema)
    assert list(columns) == [*OWN_COLUMNS, *KEPT.names, "num_passages"]
    assert columns["num_passages"] == "int64"
    found = {row["kind"]: (row["id"], row["num_passages"]) for row in best}
    assert found == best_rows(typed.rows(), "kind")
    assert len(best) == typed.outcome.groups == 4, "rows without a kind are a group"


def test_metrics_are_those_of_the_same_answers(typed: Answered) -> None:
    predictions = {row["id"]: row["answer"] for row in typed.rows()}
    sums = score_predictions(predictions, typed.examples, get_scorer("squad"))
    table = typed.table("metrics")
    assert table.schema == METRICS_SCHEMA
    [row] = table.to_pylist()
    assert (sums.total, sums.missing) == (43, 0)
    assert {name: row[name] for name in ("exact_match", "f1", "total")} == sums.result() == typed.outcome.metrics
    assert (row["scorer"], row["slice_by"], row["slice"]) == ("squad", "overall", "")
    assert (row["run_id"], row["created_at"].isoformat(timespec="seconds")) == (
        typed.outcome.run_id,
        typed.outcome.created_at,
    )
    scored = [row for row in typed.rows() if row["f1"] is not None]
    assert len(scored) == 43
    assert sum(row["exact_match"] for row in scored) == sums.exact_match
    assert sum(row["f1"] for row in scored) / 43 == pytest.approx(sums.result()["f1"] / 100)


def test_the_manifest_and_the_config_tell_the_run_and_nothing_else_is_left(typed: Answered) -> None:
    assert json.loads((typed.output / "manifest.json").read_text()) == asdict(typed.outcome)
    outcome = typed.outcome
    assert (outcome.rows, outcome.answered, outcome.units) == (46, 44, 5)
    assert outcome.rejects == {"answer_not_in_context": 1, "empty_question": 1}
    assert outcome.windows == sum(row["num_windows"] for row in typed.rows())
    settings = yaml.safe_load((typed.output / "config.yaml").read_text())
    assert settings == outcome.config
    assert {"max_seq_length": 64, "n_best_size": 3, "scorer": "squad", "unit_rows": 10}.items() <= settings.items()
    assert settings["input_fingerprint"].endswith("(2 parquet, 5 units)")
    names = {path.name for path in typed.output.iterdir()}
    folders = {"predictions", "rejects", "metrics", "best", "commits"}
    assert names == {*folders, "manifest.json", "config.yaml", "_SUCCESS"}


# Bad rows of all kinds

MARKED = "Anna wrote it, says Anna."


def bad_rows() -> dict[str, list[Any]]:
    """Return for each reason rows that are rejected for it: objects, or lines as they stand."""
    row = {"question": "Who wrote it?", "context": MARKED, "answers": {"text": [], "answer_start": []}}

    def gold(text: str, start: int, context: str = MARKED) -> dict[str, Any]:
        return {**row, "context": context, "answers": {"text": [text], "answer_start": [start]}}

    return {
        "missing_value": [{**row, "question": None}, {**row, "id": ""}],
        "wrong_type": [{**row, "context": 5}, {**row, "answers": "Anna"}],
        "invalid_json": [b'{"id": "torn', b"[1, 2]"],
        "invalid_utf8": [b'{"id": "bytes", "question": "Who \xff?", "context": "Anna.", "answers": []}'],
        "empty_question": [{**row, "question": " \t"}],
        "empty_context": [{**row, "context": ""}],
        "context_too_long": [{**row, "context": "Anna. " * 100}],
        "no_answer": [{**row, "answers": None}],
        "empty_answer": [gold("", 0)],
        "answer_not_in_context": [gold("Bert", 0)],
        "answer_not_at_offset": [gold("Anna", 1)],
        "answer_offset_in_utf16_units": [gold("Anna", 3, "😀 Anna.")],
        "answer_offset_in_bytes": [gold("Anna", 3, "é Anna.")],
        "question_too_long": [{**row, "question": "who " * 60, "context": MARKED * 8}],
        "duplicate_id": [{**row, "id": "1-0"}, {**row, "id": "1-1"}],
    }


def write_bad_input(folder: pathlib.Path) -> dict[tuple[str, int], str]:
    """Write files with good rows and bad ones, and some that are torn; return file and row of each bad one."""
    notes: list[dict[str, Any]] = [{"note": "text"}, {"note": 5}, {"note": {"a": [1]}}, {}]
    good = [{**row, **note} for row, note in zip(make_rows(4, seed=1, most_others=1), notes, strict=True)]
    bad = [(reason, row) for reason, rows in bad_rows().items() for row in rows]
    named = [{"id": f"bad {i}", **row} if isinstance(row, dict) else row for i, (_, row) in enumerate(bad)]
    lines = [row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode() for row in [*good, *named]]
    (folder / "a.jsonl").write_bytes(b"\n".join(lines))
    with (folder / "b.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "question", "context", "answers", "note"])
        writer.writerow(["csv", "Who wrote it?", MARKED, "[]", "a, b"])
        writer.writerow(["cells", "Who wrote it?", MARKED, "[]", "note", "too many"])
    # Ids of rows that were answered, of one that was rejected, and new ones, one of them without any token.
    again = make_rows(5, seed=1, most_others=1)
    again[2]["id"], again[3]["id"] = "bad 0", "new"
    again[4] |= {"id": "nothing", "question": "\u200b", "context": "\u200b", "answers": []}
    write_jsonl(folder / "c.jsonl", [{**row, "note": None} for row in again])
    pq.write_table(pa.Table.from_pylist(make_rows(9, seed=2)), folder / "torn.parquet")
    (folder / "torn.jsonl.gz").write_bytes(gzip.compress((folder / "c.jsonl").read_bytes()))
    for name in ("torn.parquet", "torn.jsonl.gz"):
        (folder / name).write_bytes((folder / name).read_bytes()[:-20])
    expected = {("a.jsonl", 4 + i): reason for i, (reason, _) in enumerate(bad)}
    return expected | {("b.csv", 1): "invalid_csv", ("c.jsonl", 0): "duplicate_id", ("c.jsonl", 1): "duplicate_id"}


SOURCE = SourceConfig(require_answers=True, max_context_chars=500)


@pytest.fixture(scope="module")
def bad_input(folder: pathlib.Path) -> dict[tuple[str, int], str]:
    (folder / "bad").mkdir()
    return write_bad_input(folder / "bad")


@pytest.fixture(scope="module")
def bad(folder: pathlib.Path, bad_input: dict[tuple[str, int], str], ray_cluster: str) -> Answered:
    """Answer what can be answered of a folder of bad rows and torn files."""
    return answer(
        SOURCE,
        model=str(folder / "reader"),
        input=str(folder / "bad"),
        output=str(folder / "bad-out"),
        keep_columns="note",
        n_best_size=0,
        unit_rows=8,
        check_ids=True,
        skip_bad_files=True,
        max_reject_share=1.0,
    )


def test_every_bad_row_is_rejected_once_for_its_reason(bad: Answered, bad_input: dict[tuple[str, int], str]) -> None:
    # Of offsets counted otherwise, of tokenizers that add no token, of processes and files that end on the way.
    others = {"answer_offset_in_characters", "no_tokens", "ends_the_process", "bad_file"}
    assert set(bad_input.values()) == REASONS.keys() - others, "a reason without a bad row"
    table = bad.table("rejects")
    assert table.schema == REJECT_SCHEMA
    rejects = table.to_pylist()
    assert {(pathlib.Path(row["source"]).name, row["row"]): row["reason"] for row in rejects} == bad_input
    assert len(rejects) == len(bad_input) == sum(bad.outcome.rejects.values())


def test_a_reject_has_its_rows_own_text(bad: Answered) -> None:
    for reject in bad.rows("rejects"):
        if reject["source"].endswith(".jsonl"):
            line = pathlib.Path(reject["source"]).read_bytes().splitlines()[reject["row"]]
            if reject["reason"] == "invalid_json":
                assert reject["text"].strip() == line.decode()
            elif reject["reason"] != "invalid_utf8":
                given, told = json.loads(line), json.loads(reject["text"])
                assert told == {name: given[name] for name in told}
                assert {"id", "question", "context"} <= told.keys()


def test_the_good_rows_among_bad_ones_are_answered_once(bad: Answered, folder: pathlib.Path) -> None:
    rows = bad.rows()
    assert [row["id"] for row in rows] == ["1-0", "1-1", "1-2", "1-3", "bad 0", "csv", "new", "nothing"]
    first: dict[str, Example] = {}
    for example in bad.examples:
        first.setdefault(example.id, example)
    assert_reader_agrees(rows, [first[row["id"]] for row in rows], reader_of(str(folder / "reader")))
    assert (bad.outcome.rows, bad.outcome.answered) == (len(rows) + sum(bad.outcome.rejects.values()), len(rows))


def test_columns_of_text_files_are_kept_as_text_and_n_best_may_be_left_out(bad: Answered) -> None:
    assert columns_of(bad.table("predictions").schema) == {**OWN_COLUMNS, "note": "string"}
    notes = {row["id"]: row["note"] for row in bad.rows()}
    from_lines = {"1-0": "text", "1-1": "5", "1-2": '{"a": [1]}'}
    from_nothing = dict.fromkeys(["1-3", "bad 0", "new", "nothing"])
    assert notes == {**from_lines, **from_nothing, "csv": "a, b"}


def test_torn_files_are_left_out_by_name_only_when_asked_for(bad: Answered, folder: pathlib.Path) -> None:
    torn = {str(folder / "bad" / name): name for name in ("torn.parquet", "torn.jsonl.gz")}
    assert bad.outcome.bad_files.keys() == torn.keys()
    assert "not a whole Parquet file" in bad.outcome.bad_files[str(folder / "bad" / "torn.parquet")]
    assert "the compressed file is torn" in bad.outcome.bad_files[str(folder / "bad" / "torn.jsonl.gz")]
    for path, name in torn.items():
        with pytest.raises(UsageError, match=name):
            answer_plan(SOURCE, model=str(folder / "reader"), input=path, output=str(folder / "nowhere"))
    assert not (folder / "nowhere").exists()


def test_a_file_that_lacks_a_column_is_named_in_one_line_wherever_it_is_read(folder: pathlib.Path) -> None:
    """Of a file of lines only a task sees the columns, here one that looks for repeated ids."""
    location = write_jsonl(folder / "plain.jsonl", make_rows(3, seed=1))
    with pytest.raises(
        UsageError, match=r"^\S*/plain.jsonl has no column 'note', which --keep_columns names.*\)$"
    ) as told:
        answer(
            model=str(folder / "reader"),
            input=location,
            output=str(folder / "plain-out"),
            keep_columns="note",
            check_ids=True,
        )
    assert "\n" not in str(told.value)
