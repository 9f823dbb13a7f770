"""Text files cut at their lines: units give the rows of the whole file, with their numbers, from where they begin."""

import csv
import gzip
import io
import json
import uuid
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrc import storage
from mrc.examples import Example, Reject
from mrc.sources import SourceConfig, Unit, plan_units, read_unit, select_rows
from tests.source_files import WRITERS, example_lists, make_examples, unhurried, write_csv, write_jsonl

CONFIG = SourceConfig()
TEXT_WRITERS = {name: write for name, write in WRITERS.items() if not name.endswith(".parquet")}
MANY_ROWS = 10_000

few = settings(unhurried, max_examples=25)

Rows = list[Example | Reject]


def read(units: Sequence[Unit]) -> Rows:
    return [row for unit in units for row in read_unit(unit, CONFIG)]


def write(name: str, content: bytes) -> str:
    url = f"memory://{uuid.uuid4().hex}/{name}"
    storage.write_bytes(url, gzip.compress(content) if name.endswith(".gz") else content)
    return url


def whole(url: str) -> Rows:
    """The rows of a file in one unit, from its first byte."""
    units = plan_units(url, CONFIG, unit_rows=MANY_ROWS)
    assert len(units) <= 1
    return read(units)


def assert_cut(url: str, unit_rows: int) -> list[Unit]:
    """Cut a file, compare what its units say and hold with the file in one piece, and return them."""
    rows, units = whole(url), plan_units(url, CONFIG, unit_rows=unit_rows)
    assert read(units) == rows
    assert [len(read([unit])) for unit in units] == [unit.num_rows for unit in units]
    assert [row for unit in units for row in range(unit.start, unit.stop)] == list(range(len(rows)))
    assert all(2 * unit.num_rows <= 3 * unit_rows for unit in units)
    assert all(2 * unit.num_rows >= unit_rows for unit in units[1:])
    assert len({unit.name for unit in units}) == len(units)
    for number, row in enumerate(rows):
        assert not isinstance(row, Reject) or row.row == number
    return units


# Lines as people's programs write them: broken, empty, in any script. A good one stands last, so that the file as a
# whole has the columns.

GOOD_ROW = {"question": "누가?", "context": "Ann did."}

json_lines = st.one_of(
    st.builds(
        lambda question, context, escaped: json.dumps(
            {"question": question, "context": context}, ensure_ascii=escaped
        ).encode("utf-8", "backslashreplace"),
        st.sampled_from(["Who?", "누가?", "", "😀\u2028?"]),
        st.text(alphabet='aé한😀\n\r\u2028",{ ', max_size=8),
        st.booleans(),
    ),
    st.sampled_from(
        [b"", b" \t", b"\r", "\u3000".encode(), b"{", b"[1]", b'"', b"\x00", b"\xff\xfe", b"{} {}", b"\xef\xbb\xbf{}"]
    ),
    st.sampled_from([b'{"question": "b\xe9d?", "context": "c"}', b'{"question": "\\ud800?", "context": "c"}']),
)


@st.composite
def json_files(draw: st.DrawFn) -> bytes:
    end = draw(st.sampled_from([b"\n", b"\r\n"]))
    lines = [*draw(st.lists(json_lines, max_size=12)), json.dumps(GOOD_ROW).encode()]
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + end.join(lines) + draw(st.sampled_from([b"", end]))


def csv_line(cells: Sequence[str], delimiter: str) -> bytes:
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, lineterminator="").writerow(cells)
    return file.getvalue().encode()


@st.composite
def csv_files(draw: st.DrawFn, delimiter: str) -> bytes:
    cell = st.text(alphabet='aé한😀\n\r\u2028",\t ', max_size=6)
    lines = st.one_of(
        st.tuples(cell, cell).map(lambda cells: csv_line(cells, delimiter)),
        st.sampled_from([b"", b"  ", b"one", b'"a"b', b'"a\nb"c', b"\x00", b"\xff\xfe", b'"\n"', b'a""b']),
        st.just(f"b\udce9d{delimiter}c".encode("utf-8", "surrogateescape")),
    )
    end = draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    header = csv_line(draw(st.sampled_from([["question", "context"], ["context", "question"]])), delimiter)
    content = end.join([header, *draw(st.lists(lines, max_size=12)), csv_line(["누가?", "Ann did."], delimiter)])
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + content + draw(st.sampled_from([b"", end]))


# Properties


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("name", TEXT_WRITERS)
@few
@given(examples=example_lists(), unit_rows=st.integers(1, 7))
def test_the_cut_of_a_text_file_changes_no_example(
    name: str, ending: str, examples: list[Example], unit_rows: int
) -> None:
    plain = write(name, b"")
    TEXT_WRITERS[name](plain, examples)
    url = write(name + ending, storage.read_bytes(plain))
    if name == "lines.json" and not examples:
        return  # A JSON file with nothing in it is torn, unlike JSON Lines.
    assert_cut(url, unit_rows)
    assert whole(url) == examples


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json"])
@few
@given(content=json_files(), unit_rows=st.integers(1, 7))
def test_the_cut_of_broken_json_lines_changes_no_row(name: str, content: bytes, unit_rows: int) -> None:
    # By its first line a JSON file is told to be one of lines.
    first = json.dumps(GOOD_ROW).encode() + b"\n" if name == "a.json" else b""
    assert_cut(write(name, first + content), unit_rows)


@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", ","), ("a.tsv", "\t"), ("a.csv.gz", ",")])
@few
@given(data=st.data(), unit_rows=st.integers(1, 7))
def test_the_cut_of_broken_csv_changes_no_row(name: str, delimiter: str, data: st.DataObject, unit_rows: int) -> None:
    assert_cut(write(name, data.draw(csv_files(delimiter))), unit_rows)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.jsonl.gz", "a.json"])
@few
@given(
    count=st.integers(1, 40), unit_rows=st.integers(1, 9), size=st.integers(1, 50), seed=st.none() | st.integers(0, 3)
)
def test_selected_rows_of_a_text_file_are_the_same_whatever_the_cut(
    name: str, count: int, unit_rows: int, size: int, seed: int | None
) -> None:
    plain = write("a.json", b"")
    (write_csv if name == "a.csv" else write_jsonl)(plain, make_examples(count))
    url = write(name, storage.read_bytes(plain))
    cut, uncut = (plan_units(url, CONFIG, unit_rows=rows) for rows in (unit_rows, MANY_ROWS))
    chosen = select_rows(cut, size, seed)
    assert read(chosen) == read(select_rows(uncut, size, seed))
    assert sum(unit.num_rows for unit in chosen) == min(size, count)
    assert len({unit.name for unit in chosen}) == len(chosen)


@few
@given(content=json_files(), unit_rows=st.integers(1, 4))
def test_a_unit_of_json_lines_reads_nothing_before_its_first_row(content: bytes, unit_rows: int) -> None:
    url = write("a.jsonl", content)
    for unit in plan_units(url, CONFIG, unit_rows=unit_rows):
        storage.write_bytes(url, content)
        expected = read([unit])
        # An open quote without a line end would swallow whatever is read together with it.
        storage.write_bytes(url, b'"' * unit.offset + content[unit.offset :])
        assert read([unit]) == expected


@few
@given(content=csv_files(","), unit_rows=st.integers(1, 4))
def test_a_unit_of_csv_reads_the_header_and_nothing_else_before_its_first_row(content: bytes, unit_rows: int) -> None:
    url = write("a.csv", content)
    units = plan_units(url, CONFIG, unit_rows=unit_rows)
    header = content[: units[0].offset]
    for unit in units:
        storage.write_bytes(url, content)
        expected = read([unit])
        storage.write_bytes(url, header + b'"' * (unit.offset - len(header)) + content[unit.offset :])
        assert read([unit]) == expected


# Examples


def test_units_of_a_file_begin_at_the_byte_of_their_first_row() -> None:
    url = write("a.jsonl", "\ufeff\n{}\n\n  \n{}\r\n한\n{}".encode())
    cuts = [(unit.start, unit.stop, unit.offset) for unit in plan_units(url, CONFIG, unit_rows=1)]
    # An offset before lines that are no rows is as good as one behind them.
    assert cuts == [(0, 1, 3), (1, 2, 7), (2, 3, 15), (3, 4, 19)]
    gz = write("a.jsonl.gz", storage.read_bytes(url))
    assert {unit.offset for unit in plan_units(gz, CONFIG, unit_rows=1)} == {0}


def test_a_header_may_have_line_ends_in_quotes() -> None:
    url = write("a.csv", b'question,"no\n\nte",context\r\nWho?,1,I am.\r\nWho?,"2\n3",She is.\r\n')
    assert [row.context for row in read(assert_cut(url, 1)) if isinstance(row, Example)] == ["I am.", "She is."]


def test_what_is_over_at_the_end_goes_where_it_makes_units_most_equal() -> None:
    def sizes(count: int) -> list[int]:
        url = write("a.jsonl", b"{}\n" * count)
        return [unit.num_rows for unit in plan_units(url, CONFIG, unit_rows=4)]

    assert [sizes(count) for count in (0, 1, 4, 5, 6, 9, 10)] == [[], [1], [4], [5], [4, 2], [4, 5], [4, 4, 2]]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_repeated_id_is_found_inside_its_unit(name: str) -> None:
    rows = [json.dumps({**GOOD_ROW, "id": key}) for key in "abab"]
    url = write(name, "\n".join(rows).encode())
    assert [row.id for row in read(plan_units(url, CONFIG, unit_rows=2)) if isinstance(row, Example)] == list("abab")
    repeated = [row for row in whole(url) if isinstance(row, Reject)]
    assert [(row.row, row.reason) for row in repeated] == [(2, "duplicate_id"), (3, "duplicate_id")]
