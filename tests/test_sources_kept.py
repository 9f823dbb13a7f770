"""Columns that are carried along keep their types and values, and what cannot be carried is refused or rejected."""

import datetime
import json
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrc import storage
from mrc.errors import UsageError
from mrc.examples import Example, Reject
from mrc.sources import SourceConfig, kept_fields, plan_units, read_unit
from tests.source_files import unhurried

CONFIG = SourceConfig()
TEXTS = {"question": "Who?", "context": "I am Ann."}
UTC = datetime.UTC

LEAVES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint8(): st.integers(0, 255),
    pa.float64(): st.floats(allow_nan=False),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(max_size=3),
    pa.large_string(): st.text(max_size=3),
    pa.binary(): st.binary(max_size=3),
    pa.date32(): st.dates(),
    pa.timestamp("us", "UTC"): st.datetimes(timezones=st.just(UTC)),
    pa.timestamp("ms"): st.just(datetime.datetime(2024, 2, 29, 12, 0, 0, 7_000)),
    pa.decimal128(9, 2): st.integers(-999, 999).map(lambda cents: Decimal(cents) / 4 * 1),
    pa.dictionary(pa.int32(), pa.string()): st.sampled_from(["a", "한", ""]),
}


def fields_of(kind: pa.DataType) -> pa.StructType:
    return pa.struct([("a", kind), ("b", pa.list_(pa.int32()))])


@st.composite
def columns(draw: st.DrawFn) -> pa.Array:
    """A column of some type, or of lists, structs or maps of it."""
    kind = draw(st.sampled_from(list(LEAVES)))
    leaf = st.none() | LEAVES[kind]
    shape = draw(st.sampled_from(["leaf", "list", "struct", "map"]))
    if shape == "list":
        kind, leaf = pa.list_(kind), st.none() | st.lists(leaf, max_size=3)
    elif shape == "struct":
        pairs = st.fixed_dictionaries({"a": leaf, "b": st.none() | st.lists(st.integers(0, 9), max_size=2)})
        kind, leaf = fields_of(kind), st.none() | pairs
    elif shape == "map":
        kind, leaf = (
            pa.map_(pa.string(), kind),
            st.none() | st.dictionaries(st.text(max_size=2), leaf).map(lambda items: list(items.items())),
        )
    return pa.array(draw(st.lists(leaf, min_size=1, max_size=5)), kind)


def folder() -> str:
    return f"memory://{uuid.uuid4().hex}"


def write_parquet(url: str, **kept: Any) -> None:
    count = len(next(iter(kept.values())))
    storage.write_table(url, pa.table({**{name: [text] * count for name, text in TEXTS.items()}, **kept}))


def write_jsonl(url: str, *rows: dict[str, Any]) -> None:
    storage.write_text(url, "\n".join(json.dumps({**TEXTS, **row}, ensure_ascii=False) for row in rows))


def read(location: str, keep: Sequence[str]) -> tuple[list[pa.Field], list[Example | Reject]]:
    units = plan_units(location, CONFIG)
    return kept_fields(units, keep), [row for unit in units for row in read_unit(unit, CONFIG, keep)]


def kept(rows: Sequence[Example | Reject]) -> list[tuple[Any, ...]]:
    return [row.kept for row in rows if isinstance(row, Example)]


@unhurried
@given(columns())
def test_columns_of_parquet_come_back_with_their_types_and_values(column: pa.Array) -> None:
    url = f"{folder()}/a.parquet"
    write_parquet(url, extra=column, number=pa.array(range(len(column)), pa.int16()))
    [field, number], rows = read(url, ["extra", "number"])
    is_text = column.type in (pa.large_string(), pa.dictionary(pa.int32(), pa.string()))
    plain = pa.string() if is_text else column.type
    assert (field.type, number.type) == (plain, pa.int16())
    values, numbers = zip(*kept(rows), strict=True)
    assert pa.array(list(values), field.type).to_pylist() == column.to_pylist()
    assert numbers == tuple(range(len(column)))


def test_files_of_lines_give_texts() -> None:
    place = folder()
    values = ["text", "", None, 7, 1.5, True, {"a": ["한", None]}, [1, "b"]]
    write_jsonl(f"{place}/a.jsonl", *({"extra": value} for value in values), {})
    [field], rows = read(f"{place}/a.jsonl", ["extra"])
    assert field.type == pa.string()
    texts = ["text", "", None, "7", "1.5", "true", '{"a": ["한", null]}', '[1, "b"]', None]
    assert kept(rows) == [(text,) for text in texts]
    storage.write_text(f"{place}/b.csv", "question,context,extra,more\nWho?,I am.,7,\nWho?,I am.,,x\n")
    [*_], rows = read(f"{place}/b.csv", ["more", "extra"])
    assert kept(rows) == [(None, "7"), ("x", None)]


def test_columns_that_are_read_anyway_may_be_kept_too() -> None:
    url = f"{folder()}/a.parquet"
    write_parquet(url, title=["T"])
    _, rows = read(url, ["title", "context"])
    assert kept(rows) == [("T", "I am Ann.")]
    assert read(url, [])[0] == []
    assert kept(read(url, [])[1]) == [()]


TEXT_TYPES = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.large_string())]


@pytest.mark.parametrize("kind", TEXT_TYPES)
def test_texts_of_parquet_in_any_layout_and_of_lines_go_together(kind: pa.DataType) -> None:
    place = folder()
    write_parquet(f"{place}/a.parquet", extra=pa.array(["x"], kind))
    write_jsonl(f"{place}/b.jsonl", {"extra": 7})
    [field], rows = read(place, ["extra"])
    assert field.type == pa.string()
    assert kept(rows) == [("x",), ("7",)]


@pytest.mark.parametrize("other", ["b.parquet", "b.jsonl"])
def test_files_that_disagree_on_a_type_are_refused_with_their_names(other: str) -> None:
    place = folder()
    write_parquet(f"{place}/a.parquet", extra=[1])
    if other == "b.parquet":
        write_parquet(f"{place}/{other}", extra=[1.5])
    else:
        write_jsonl(f"{place}/{other}", {"extra": 1})
    shown = "double" if other == "b.parquet" else "string"
    with pytest.raises(UsageError, match=rf"^--keep_columns extra: .*int64 in .*a.parquet, {shown} in .*{other}"):
        read(place, ["extra"])


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.csv", "a.json", "sample"])
def test_an_absent_column_is_refused_by_name(name: str) -> None:
    url = f"{folder()}/{name}"
    if name == "a.parquet":
        write_parquet(url, there=["x"])
    elif name == "a.csv":
        storage.write_text(url, "question,context,there\nWho?,I am.,x\n")
    elif name == "sample":
        url = "sample://test?num_examples=2"
    else:
        write_jsonl(url, {"there": "x"})
    with pytest.raises(UsageError, match=r"no column 'absent', which --keep_columns names") as error:
        read(url, ["there", "absent"] if name != "sample" else ["absent"])
    assert "\n" not in str(error.value)


BAD_TEXTS = pa.array([b"good", b"b\xe9d", b"good"]).view(pa.string())
OFFSETS = pa.array([0, 1, 2, 3], pa.int32())
BAD_COLUMNS = {
    "text": BAD_TEXTS,
    "dictionary": BAD_TEXTS.dictionary_encode(),
    "list": pa.ListArray.from_arrays(OFFSETS, BAD_TEXTS),
    "list of dictionary": pa.ListArray.from_arrays(OFFSETS, BAD_TEXTS.dictionary_encode()),
    "struct": pa.StructArray.from_arrays([BAD_TEXTS], ["a"]),
    "map": pa.MapArray.from_arrays(OFFSETS, pa.array(["a", "b", "c"]), BAD_TEXTS),
    "key": pa.MapArray.from_arrays(OFFSETS, BAD_TEXTS, pa.array([1, 2, 3])),
}


@pytest.mark.parametrize("shape", BAD_COLUMNS)
def test_a_kept_text_of_parquet_that_is_not_utf8_costs_its_row_alone(shape: str) -> None:
    url = f"{folder()}/a.parquet"
    write_parquet(url, extra=BAD_COLUMNS[shape], moment=pa.array([1, 2, 3], pa.timestamp("us")))
    [field, _], (first, bad, last) = read(url, ["extra", "moment"])
    assert isinstance(bad, Reject)
    assert (bad.reason, bad.row) == ("invalid_utf8", 1)
    values = [value for value, _ in kept([first, last])]
    expected = BAD_COLUMNS[shape].take(pa.array([0, 2])).to_pylist()
    assert pa.array(values, field.type).to_pylist() == expected


def test_a_dictionary_of_questions_that_are_not_utf8_costs_its_row_alone() -> None:
    url = f"{folder()}/a.parquet"
    table = pa.table({"question": BAD_TEXTS.dictionary_encode(), "context": ["I am."] * 3})
    storage.write_table(url, table)
    _, rows = read(url, [])
    assert [getattr(row, "reason", None) for row in rows] == [None, "invalid_utf8", None]


@pytest.mark.parametrize(
    "value", [b'"b\xe9d"', b'"\\ud800"', b'{"a": ["\\ud800"]}', b'{"\\ud800": 1}', b'[{"b\xe9d": 1}]']
)
def test_a_kept_text_of_lines_that_is_not_utf8_costs_its_row_alone(value: bytes) -> None:
    url = f"{folder()}/a.jsonl"
    good = b'{"question": "Who?", "context": "I am.", "extra": "x"}'
    storage.write_bytes(url, good + b"\n" + good.replace(b'"x"', value) + b"\n" + good)
    [field], rows = read(url, ["extra"])
    assert [getattr(row, "reason", None) for row in rows] == [None, "invalid_utf8", None]
    assert pa.array([value for (value,) in kept(rows)], field.type).to_pylist() == ["x", "x"]
