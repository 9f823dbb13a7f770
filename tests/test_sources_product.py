"""Products: every question of every document once, whatever the files and the cut, and nothing lost on the way."""

import json
import uuid
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrc import storage
from mrc.errors import UsageError
from mrc.examples import Example, Reject
from mrc.sources import DocumentSource, Question, QuestionSource, plan_units, read_pairs, read_questions
from tests.source_files import unhurried

DOCUMENTS = DocumentSource()
QUESTIONS = QuestionSource()
ASKED = [Question("q1", "Who?"), Question("q2", "누가?")]
FORMATS = ["a.parquet", "a.jsonl", "a.csv", "a.tsv", "a.json"]


def write(name: str, rows: Sequence[dict[str, Any]]) -> str:
    """Write rows that all have the same columns, and no commas in CSV."""
    url = f"memory://{uuid.uuid4().hex}/{name}"
    if name.endswith(".parquet"):
        storage.write_table(url, pa.Table.from_pylist(list(rows)))
    elif name.endswith((".csv", ".tsv")):
        delimiter = "\t" if name.endswith(".tsv") else ","
        cells = [list(rows[0]), *(["" if cell is None else str(cell) for cell in row.values()] for row in rows)]
        storage.write_text(url, "".join(delimiter.join(line) + "\n" for line in cells))
    else:
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        storage.write_text(url, "\n".join(lines) if name.endswith(".jsonl") else f"[{','.join(lines)}]")
    return url


def pairs(
    location: str,
    asked: Sequence[Question] = ASKED,
    *,
    source: DocumentSource = DOCUMENTS,
    keep: Sequence[str] = (),
    unit_rows: int = 4_096,
) -> list[Example | Reject]:
    units = plan_units(location, source, unit_rows=unit_rows)
    return [item for unit in units for item in read_pairs(unit, asked, source, keep)]


def documents(count: int) -> list[dict[str, Any]]:
    return [{"id": f"d{n}", "context": f"Number {n} 넷.", "title": None, "extra": n} for n in range(count)]


# Pairs


@pytest.mark.parametrize("name", FORMATS)
@unhurried
@given(count=st.integers(1, 12), num_questions=st.integers(1, 4), unit_rows=st.integers(1, 5))
def test_every_question_is_asked_of_every_document_once(
    name: str, count: int, num_questions: int, unit_rows: int
) -> None:
    rows = documents(count)
    asked = [Question(f"q{n}", f"Which {n}?") for n in range(num_questions)]
    found = pairs(write(name, rows), asked, unit_rows=unit_rows)
    assert found == [
        Example(
            id=f"{row['id']}#{question.id}",
            question=question.text,
            context=row["context"],
            kept=(row["id"], question.id),
        )
        for row in rows
        for question in asked
    ]


def test_the_sample_gives_documents_too() -> None:
    found = pairs("sample://test?num_examples=7&language=ko", unit_rows=3)
    assert len({item.id for item in found}) == len(found) == 14
    assert all(isinstance(item, Example) and item.answers is None and item.title for item in found)


def test_documents_without_ids_are_named_by_file_and_row() -> None:
    found = pairs(write("a.jsonl", [{"context": "I am."}, {"context": "She is."}]), unit_rows=1)
    assert [item.id for item in found] == ["a.jsonl#0#q1", "a.jsonl#0#q2", "a.jsonl#1#q1", "a.jsonl#1#q2"]


def test_a_document_carries_its_columns_along_with_both_ids() -> None:
    for name, extra in (("a.parquet", 1), ("a.jsonl", "1")):
        found = pairs(write(name, documents(2)), keep=["extra", "title"])
        assert [item.kept for item in found if isinstance(item, Example)][2:] == [
            ("d1", "q1", extra, None),
            ("d1", "q2", extra, None),
        ]


def test_a_bad_document_is_rejected_once_a_question() -> None:
    url = f"memory://{uuid.uuid4().hex}/a.jsonl"
    rows = [{"id": "a", "context": "I am."}, {"id": "b", "context": " "}, {"id": "a", "context": "Me."}, {"id": ""}]
    storage.write_text(url, "\n".join([*map(json.dumps, rows), "{torn"]))
    found = pairs(url)
    assert [item.id for item in found] == ["a#q1", "a#q2", "b#q1", "b#q2", "a#q1", "a#q2", None, None, None, None]
    rejects = [(item.row, item.reason) for item in found if isinstance(item, Reject)]
    reasons = ["empty_context", "duplicate_id", "missing_value", "invalid_json"]
    assert rejects == [(row, reason) for row, reason in enumerate(reasons, 1) for _ in ASKED]


# Questions


@pytest.mark.parametrize("name", FORMATS)
def test_questions_come_from_any_file(name: str) -> None:
    rows = [{"id": "q1", "question": "Who?"}, {"id": "q2", "question": "누가?"}]
    assert read_questions(write(name, rows), QUESTIONS) == ASKED


def test_questions_without_ids_are_named_by_file_and_row() -> None:
    url = write("a.csv", [{"question": "Who?"}, {"question": "Where?"}])
    assert [question.id for question in read_questions(url, QUESTIONS)] == ["a.csv#0", "a.csv#1"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "1", "question": "Who?"}, {"id": "2", "question": " "}], r"--questions .*a.jsonl, row 1: empty_quest"),
        ([{"id": "1", "question": "Who?"}, {"id": "1", "question": "Where?"}], r"--questions .*row 1: duplicate_id"),
        ([{"id": None, "question": "Who?"}], r"--questions .*row 0: missing_value: id is null"),
        ([], r"--questions .*a.jsonl: there is no question"),
    ],
)
def test_every_question_counts(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_questions(write("a.jsonl", rows), QUESTIONS)


def test_ids_of_questions_differ_between_files_too() -> None:
    rows = [{"id": "1", "question": "Who?"}]
    with pytest.raises(UsageError, match=r"--questions .* ids are repeated"):
        read_questions(f"{write('a.jsonl', rows)},{write('b.jsonl', rows)}", QUESTIONS)


# Columns


@pytest.mark.parametrize("name", FORMATS)
def test_missing_columns_are_named_with_their_own_flags(name: str) -> None:
    url = write(name, [{"a": "1", "b": "Who?"}])
    with pytest.raises(UsageError, match=r"no column 'question'.* with --question_column \(it has 'a', 'b'\)"):
        read_questions(url, QUESTIONS)
    with pytest.raises(UsageError, match=r"no column 'qid'.* with --question_id_column"):
        read_questions(url, QuestionSource(question_column="b", id_column="qid"))
    with pytest.raises(UsageError, match=r"no column 'context'.* with --context_column"):
        pairs(url)
    source = DocumentSource(context_column="b", id_column="did")
    with pytest.raises(UsageError, match=r"no column 'did'.* with --id_column"):
        pairs(url, source=source)


def test_empty_names_of_columns_are_refused_by_their_own_flags() -> None:
    with pytest.raises(UsageError, match=r"^--question_id_column is empty"):
        QuestionSource(id_column="")
    with pytest.raises(UsageError, match=r"^--id_column is empty"):
        DocumentSource(id_column="")


def test_documents_need_no_questions_and_questions_no_contexts() -> None:
    # Names of columns that the other side has.
    url = write("a.jsonl", [{"uid": 7, "passage": "I am."}])
    source = DocumentSource(id_column="uid", context_column="passage", question_column="q", answers_column="gold")
    [unit] = plan_units(url, source)
    assert [item.id for item in read_pairs(unit, ASKED, source)] == ["7#q1", "7#q2"]
    config = QuestionSource(question_column="q", context_column="passage", answers_column="gold")
    assert read_questions(write("a.jsonl", [{"q": "Who?"}]), config) == [Question("a.jsonl#0", "Who?")]
