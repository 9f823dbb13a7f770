"""Validation: a row is an example or has the right reason, and an offset in another unit is named, never repaired."""

import json
import uuid
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mrc import storage
from mrc.examples import REJECT_SCHEMA, Answer, Example, Reject, rejects_to_table
from mrc.sources import SourceConfig, plan_units, read_unit
from mrc.validation import MAX_REJECT_CHARS, REASONS, OffsetUnit, RowError, check_answer
from tests.source_files import example_lists, flat_row, unhurried

GOOD = {"id": "a", "question": "Who?", "context": "I am 😀 Ann.", "answers": {"text": ["Ann"], "answer_start": [7]}}


def read_text(name: str, text: str | bytes, **flags: Any) -> list[Example | Reject]:
    url, config = f"memory://{uuid.uuid4().hex}/{name}", SourceConfig(**flags)
    storage.write_bytes(url, text.encode() if isinstance(text, str) else text)
    return [row for unit in plan_units(url, config) for row in read_unit(unit, config)]


def read_row(row: dict[str, Any], **flags: Any) -> Example | Reject:
    """Read one row as JSON Lines, behind a good one that has every column."""
    _, parsed = read_text("a.jsonl", f"{json.dumps({**GOOD, 'id': 'good'})}\n{json.dumps(row)}\n", **flags)
    return parsed


def gold(text: Any, start: Any) -> dict[str, Any]:
    return {**GOOD, "answers": {"text": [text], "answer_start": [start]}}


# Reasons


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        ({**GOOD, "question": None}, "missing_value", "question is null"),
        ({"id": "a", "question": "Who?"}, "missing_value", "context is null or absent"),
        ({**GOOD, "id": ""}, "missing_value", "id is ''"),
        ({**GOOD, "id": None}, "missing_value", "id is null"),
        ({**GOOD, "id": True}, "wrong_type", "id is True (bool)"),
        ({**GOOD, "id": 2.0**53}, "wrong_type", "id is 9007199254740992.0 (float)"),
        ({**GOOD, "question": ["Who?"]}, "wrong_type", "question is ['Who?'] (list), not a text"),
        ({**GOOD, "title": 5}, "wrong_type", "title is 5 (int)"),
        ({**GOOD, "answers": "Ann"}, "wrong_type", "answers is a text that is not JSON"),
        ({**GOOD, "answers": ["Ann"]}, "wrong_type", "an answer is 'Ann', not an object"),
        ({**GOOD, "answers": {"text": ["Ann"], "answer_start": []}}, "wrong_type", "1 texts and 0 offsets"),
        ({**GOOD, "answers": {"text": ["Ann"]}}, "missing_value", "an answer's offset is null or absent"),
        ({**GOOD, "is_impossible": "perhaps"}, "wrong_type", "is_impossible is 'perhaps'"),
        (gold("Ann", 7.5), "wrong_type", "7.5 (float), not an integer"),
        (gold("Ann", "7th"), "wrong_type", "'7th' (str), not an integer"),
        (gold("Ann", float("inf")), "wrong_type", "not an integer"),
        (gold("Ann", True), "wrong_type", "True (bool), not an integer"),
        (gold("Ann", None), "missing_value", "an answer's offset is null"),
        (gold(None, 7), "missing_value", "an answer's text is null"),
        (gold("", 7), "empty_answer", "offset 7 has no text"),
        ({**GOOD, "question": " \t\u3000"}, "empty_question", "question is"),
        ({**GOOD, "context": ""}, "empty_context", "context is ''"),
        ({**GOOD, "context": "\n "}, "empty_context", "context is '\\n '"),
        ({**GOOD, "context": "half \ud83d"}, "invalid_utf8", "context has '\\ud83d' at character 5"),
        ({**GOOD, "id": "\ude00"}, "invalid_utf8", "id has"),
        ({**GOOD, "title": "\ude00"}, "invalid_utf8", "title has"),
        (gold("Bob", 7), "answer_not_in_context", "'Bob', expected at 7, is nowhere"),
        (gold("Ann", 6), "answer_not_at_offset", "the nearest 'Ann' stands 1 character(s) after its offset 6"),
        (gold("Ann", 8), "answer_offset_in_utf16_units", "at 8 counted in utf16; use --answer_offsets utf16"),
        (gold("Ann", 10), "answer_offset_in_bytes", "at 10 counted in bytes; use --answer_offsets bytes"),
        (gold("Ann", -4), "answer_not_at_offset", "offset -4 is outside the context"),
        (gold("Ann", 10**30), "answer_not_at_offset", "Ann"),
    ],
)
def test_bad_rows_have_a_reason_and_a_detail(row: dict[str, Any], reason: str, detail: str) -> None:
    reject = read_row(row)
    assert isinstance(reject, Reject)
    assert (reject.reason, reject.row) == (reason, 1)
    assert detail in reject.detail
    assert reject.reason in REASONS
    assert rejects_to_table([reject]).schema == REJECT_SCHEMA


def test_characters_are_named_where_another_unit_was_declared() -> None:
    _, reject = read_text("a.jsonl", "\n".join(json.dumps(gold("Ann", at)) for at in (8, 7)), answer_offsets="utf16")
    assert isinstance(reject, Reject)
    assert reject.reason == "answer_offset_in_characters"
    assert reject.detail.endswith("use --answer_offsets characters")


def test_limits_and_required_gold() -> None:
    assert isinstance(read_row(GOOD, max_context_chars=len(GOOD["context"])), Example)
    too_long = read_row(GOOD, max_context_chars=len(GOOD["context"]) - 1)
    assert isinstance(too_long, Reject)
    assert too_long.reason == "context_too_long"
    assert too_long.detail == "context has 11 characters; --max_context_chars is 10"
    no_gold = read_row({**GOOD, "answers": None}, require_answers=True)
    assert isinstance(no_gold, Reject)
    assert no_gold.reason == "no_answer"
    impossible = read_row({**GOOD, "answers": {"text": [], "answer_start": []}}, require_answers=True)
    assert isinstance(impossible, Example)
    assert impossible.answers == ()


def test_bad_lines_cost_themselves() -> None:
    lines = [json.dumps({**GOOD, "id": number}).encode() for number in range(3)]
    bad = [b"{torn", b"[1]", b"null", b"[" * 100_000, b'{"id": "x", "question": "\xff?", "context": "c"}']
    rows = read_text("a.jsonl", b"\n".join([lines[0], bad[0], bad[1], lines[1], b"", *bad[2:], lines[2]]))
    reasons = [row.reason if isinstance(row, Reject) else row.id for row in rows]
    assert reasons == ["0", "invalid_json", "invalid_json", "1", *["invalid_json"] * 2, "invalid_utf8", "2"]
    assert [row.row for row in rows if isinstance(row, Reject)] == [1, 2, 4, 5, 6]
    assert [row.text for row in rows if isinstance(row, Reject)][:2] == ["{torn\n", "[1]\n"]


def test_bad_csv_records_cost_themselves() -> None:
    rows = read_text("a.csv", 'id,question,context\n1,Who?,I.\n2,Who?\n3,"a"b,c\n4,Who?,I.\n')
    assert [(row.reason if isinstance(row, Reject) else row.id) for row in rows] == [
        *("1", "invalid_csv", "invalid_csv", "4")
    ]
    details = [row.detail for row in rows if isinstance(row, Reject)]
    assert details[0] == "2 cells, where the header names 3 columns"
    assert "expected after" in details[1]


def test_misshapen_squad_parts_cost_themselves() -> None:
    qas = [{"id": 1, "question": "Who?", "answers": []}, "not a question", {"id": 2, "question": "Who?"}]
    good = {"title": "T", "paragraphs": [{"context": "I.", "qas": qas}, {"context": "I."}]}
    rows = read_text("a.json", json.dumps({"data": [7, {"paragraphs": {}}, good]}))
    assert [row.id for row in rows] == [None, None, "1", None, "2", None]
    places = [row.detail.split(" is ")[0] for row in rows if isinstance(row, Reject)]
    assert places == ["data[0]", "data[1].paragraphs", "data[2].paragraphs[0].qas[1]", "data[2].paragraphs[1]"]
    assert {row.reason for row in rows if isinstance(row, Reject)} == {"wrong_type"}


def test_the_second_row_of_an_id_is_rejected() -> None:
    rows = read_text("a.jsonl", "\n".join(json.dumps({**GOOD, "id": row_id}) for row_id in (1, 2, "1", 1.0)))
    assert [isinstance(row, Example) for row in rows] == [True, True, False, False]
    assert {(row.reason, row.id) for row in rows if isinstance(row, Reject)} == {("duplicate_id", "1")}


def test_a_rejected_rows_id_may_come_again() -> None:
    bad, good = read_text(
        "a.jsonl", "\n".join(json.dumps({**GOOD, "context": context}) for context in ("", "c. 😀 Ann"))
    )
    assert isinstance(bad, Reject)
    assert bad.id == "a"
    assert isinstance(good, Reject)
    assert good.reason != "duplicate_id"


def test_ids_and_texts_are_kept_as_they_are() -> None:
    row = read_row({"id": 12.0, "question": " Who? ", "context": "  I am. \n", "answers": None, "is_impossible": False})
    assert row == Example(id="12", question=" Who? ", context="  I am. \n")
    (unnamed,) = read_text("a.csv", "question,context\nWho?,I am.\n")
    assert unnamed.id == "a.csv#0"
    (kept,) = read_text("a.csv", "id,question,context\n012.0,Who?,I am.\n")
    assert kept.id == "012.0"


@pytest.mark.parametrize(
    ("is_impossible", "answers", "expected"),
    [
        (True, [{"text": "Ann", "answer_start": 7}], ()),
        (True, None, ()),
        (None, [], ()),
        (None, None, None),
        (False, [], None),
        (False, None, None),
        (False, [{"text": "Ann", "answer_start": 7}], (Answer(text="Ann", start=7),)),
        ("True", [], ()),
        (0, [{"text": "Ann", "start": "7"}], (Answer(text="Ann", start=7),)),
    ],
)
def test_no_answer_and_no_gold_are_two_things(
    is_impossible: Any, answers: Any, expected: tuple[Answer, ...] | None
) -> None:
    parsed = read_row({**GOOD, "answers": answers, "is_impossible": is_impossible})
    assert isinstance(parsed, Example)
    assert parsed.answers == expected


def test_rejects_keep_the_row_as_text_cut_and_writable() -> None:
    reject = read_row({**GOOD, "question": "\ud83d", "context": "긴" * 20_000})
    assert isinstance(reject, Reject)
    assert len(reject.text) == MAX_REJECT_CHARS
    assert '"question": "\\ud83d"' in reject.text
    assert rejects_to_table([reject]).to_pylist()[0]["text"] == reject.text


# Offsets


def offset_in(context: str, start: int, unit: OffsetUnit) -> int:
    """Convert an offset of characters to another unit, the plain way."""
    before = context[:start]
    return {"characters": start, "utf16": len(before.encode("utf-16-le")) // 2, "bytes": len(before.encode())}[unit]


@unhurried
@given(example_lists(), st.sampled_from(["utf16", "bytes"]))
def test_declared_units_give_back_the_answers(examples: list[Example], unit: OffsetUnit) -> None:
    rows = [flat_row(example) for example in examples]
    for row in rows:
        starts = row["answers"]["answer_start"] if row["answers"] else []
        starts[:] = [offset_in(row["context"], start, unit) for start in starts]
    assert read_text("a.jsonl", "\n".join(map(json.dumps, rows)), answer_offsets=unit) == examples


@unhurried
@given(context=st.text("a😀한", min_size=1, max_size=12), data=st.data(), unit=st.sampled_from(["utf16", "bytes"]))
def test_undeclared_units_are_named_and_not_repaired(context: str, data: st.DataObject, unit: OffsetUnit) -> None:
    start = data.draw(st.integers(0, len(context) - 1))
    text = context[start : data.draw(st.integers(start + 1, len(context)))]
    offset = offset_in(context, start, unit)
    assume(not context.startswith(text, offset))
    with pytest.raises(RowError) as error:
        check_answer(context, text, offset)
    in_utf16 = [at for at in range(len(context)) if offset_in(context, at, "utf16") == offset]
    names_utf16 = unit == "utf16" or any(context.startswith(text, at) for at in in_utf16)
    assert error.value.reason == ("answer_offset_in_utf16_units" if names_utf16 else "answer_offset_in_bytes")


@unhurried
@given(
    context=st.text("ab😀", max_size=12),
    text=st.text("ab😀", min_size=1, max_size=3),
    offset=st.integers(-15, 60),
    unit=st.sampled_from(["characters", "utf16", "bytes"]),
)
def test_an_answer_is_taken_exactly_where_it_stands(context: str, text: str, offset: int, unit: OffsetUnit) -> None:
    starts = [
        at for at in range(len(context)) if offset_in(context, at, unit) == offset and context.startswith(text, at)
    ]
    if starts:
        answer = check_answer(context, text, offset, unit)
        assert [answer.start] == starts
        assert context[answer.start : answer.end] == text
    else:
        with pytest.raises(RowError) as error:
            check_answer(context, text, offset, unit)
        assert (error.value.reason == "answer_not_in_context") == (text not in context)
