"""Files that are torn or of another format: each is told by its name, and the others are planned without it."""

import gzip
import pathlib
import re
import uuid

import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFile
from hypothesis import given
from hypothesis import strategies as st

from mrc import storage
from mrc.errors import BadFileError, UsageError
from mrc.examples import examples_to_table
from mrc.sources import SourceConfig, Unit, kept_fields, plan_units, read_unit
from tests.source_files import make_examples, unhurried, write_csv, write_jsonl, write_squad

CONFIG = SourceConfig()


def parquet_bytes(count: int = 40) -> bytes:
    url = f"memory://{uuid.uuid4().hex}/a.parquet"
    with storage.open_atomic(url) as file:
        pq.write_table(examples_to_table(make_examples(count)), file, row_group_size=10)
    return storage.read_bytes(url)


def torn_gzip() -> bytes:
    return gzip.compress(b'{"question": "Who?", "context": "I am."}\n' * 50)[:-12]


def tell_nobody(url: str, error: BadFileError) -> None:
    raise AssertionError(f"{url} is told of: {error}")


TORN = {
    "short.parquet": parquet_bytes()[:-20],
    "empty.parquet": b"",
    "other.parquet": b"question,context\nWho?,I am.\n",
    "torn.jsonl.gz": torn_gzip(),
    "torn.csv.gz": gzip.compress(b"question,context\nWho?,I am.\n")[:-9],
    "checksum.jsonl.gz": gzip.compress(b"{}\n")[:-8] + b"\0" * 8,
    "plain.csv.gz": b"question,context\n",
    "torn.json": b'[{"question": "Who?", "context"',
    "other.json": b'{"data": {}}',
    "empty.json": b"",
    "deep.json": b"[" * 100_000,
    "empty.csv": b"",
    "open.csv": b'question,context\nWho?,"I am.\nHow?,I am.\n',
    "header.csv": b'"question"s,context\nWho?,I am.\n',
    "header.tsv": b'question\t"context\nWho?\tI am.\n',
}


@pytest.mark.parametrize("name", TORN)
def test_a_torn_file_is_refused_by_name_when_it_is_planned(name: str) -> None:
    url = f"memory://{uuid.uuid4().hex}/{name}"
    storage.write_bytes(url, TORN[name])
    with pytest.raises(BadFileError, match=name) as error:
        plan_units(url, CONFIG)
    assert "\n" not in str(error.value)


def test_the_others_are_planned_where_somebody_is_told_of_the_torn_ones() -> None:
    place = f"memory://{uuid.uuid4().hex}"
    for name, content in TORN.items():
        storage.write_bytes(f"{place}/{name}", content)
    examples = make_examples(40)
    storage.write_bytes(f"{place}/a.parquet", parquet_bytes(10))
    write_jsonl(f"{place}/k.jsonl", examples[10:20])
    write_squad(f"{place}/r.json", examples[20:30])
    write_csv(f"{place}/z.csv", examples[30:])
    told: dict[str, str] = {}
    units = plan_units(place, CONFIG, unit_rows=4, on_bad_file=lambda url, error: told.update({url: str(error)}))
    assert [row for unit in units for row in read_unit(unit, CONFIG)] == examples
    assert sorted(url.rpartition("/")[2] for url in told) == sorted(TORN)
    assert all(message.startswith(f"{url}: ") for url, message in told.items())


def test_what_is_no_torn_file_is_raised_whoever_is_told() -> None:
    place = f"memory://{uuid.uuid4().hex}"
    storage.write_text(f"{place}/a.jsonl", '{"question": "Who?"}')
    storage.write_table(f"{place}/b.parquet", examples_to_table(make_examples(3)).drop_columns(["context"]))
    with pytest.raises(UsageError, match="no column 'context'") as error:
        plan_units(f"{place}/b.parquet", CONFIG, on_bad_file=tell_nobody)
    assert not isinstance(error.value, BadFileError)
    with pytest.raises(UsageError, match="no file at"):
        plan_units(f"{place}/none.parquet", CONFIG, on_bad_file=tell_nobody)


fragments = st.lists(
    st.binary(max_size=4)
    | st.sampled_from(
        [b"question,context\n", b'{"question": "Who?", "context": "I am."}', b"\n", b"\r", b'"', b"\xef\xbb\xbf"]
    ),
    max_size=8,
).map(b"".join)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.jsonl.gz", "a.parquet"])
@unhurried
@given(content=fragments, unit_rows=st.integers(1, 3), is_compressed=st.booleans())
def test_whatever_bytes_a_file_has_it_is_read_or_refused(
    name: str, content: bytes, unit_rows: int, is_compressed: bool
) -> None:
    url = f"memory://{uuid.uuid4().hex}/{name}"
    storage.write_bytes(url, gzip.compress(content) if name.endswith(".gz") and is_compressed else content)
    refusal, counts = "", []
    try:
        units = plan_units(url, CONFIG, unit_rows=unit_rows)
        counts = [(len(list(read_unit(unit, CONFIG))), unit.num_rows) for unit in units]
    except UsageError as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert all(found == planned for found, planned in counts)


@unhurried
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=20))
def test_whatever_bytes_the_pages_of_a_parquet_file_have_they_are_read_or_refused(
    flips: list[tuple[float, int]],
) -> None:
    content = bytearray(parquet_bytes())
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    for place, value in flips:
        content[4 + int(place * (footer - 4))] = value
    url = f"memory://{uuid.uuid4().hex}/a.parquet"
    storage.write_bytes(url, bytes(content))
    [unit] = plan_units(url, CONFIG)
    refusal, rows = "", []
    try:
        rows = list(read_unit(unit, CONFIG))
    except BadFileError as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert refusal or len(rows) == unit.num_rows


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_a_parquet_file_with_a_whole_footer_and_torn_pages_is_told_when_it_is_read(
    place: str, tmp_path: pathlib.Path
) -> None:
    folder = str(tmp_path) if place == "disk" else f"memory://{uuid.uuid4().hex}"
    url, whole = f"{folder}/a.parquet", parquet_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    half = footer // 2
    storage.write_bytes(url, whole[:half] + b"\xff" * (footer - half) + whole[footer:])
    units = plan_units(url, CONFIG, unit_rows=10)
    assert [unit.num_rows for unit in units] == [10, 10, 10, 10]
    assert list(read_unit(units[0], CONFIG)) == make_examples(10)
    with pytest.raises(BadFileError) as error:
        list(read_unit(units[3], CONFIG))
    assert str(error.value).startswith(f"{units[3].source}: not a whole Parquet file (")
    assert "\n" not in str(error.value)


def test_a_compressed_file_that_is_torn_after_the_plan_is_told_when_it_is_read() -> None:
    url = f"memory://{uuid.uuid4().hex}/a.jsonl.gz"
    storage.write_bytes(url, torn_gzip())
    unit = Unit(source=url, format="jsonl", start=0, stop=50)
    with pytest.raises(BadFileError, match=r"a.jsonl.gz: the compressed file is torn"):
        list(read_unit(unit, CONFIG))


def test_a_torn_footer_is_told_where_kept_columns_are_looked_up() -> None:
    url = f"memory://{uuid.uuid4().hex}/a.parquet"
    storage.write_bytes(url, TORN["short.parquet"])
    with pytest.raises(BadFileError, match=r"a.parquet: not a whole Parquet file"):
        kept_fields([Unit(source=url, format="parquet", stop=3)], ["title"])


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl"])
def test_a_store_that_fails_is_not_a_torn_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionResetError(104, "reset by peer")

    url = f"memory://{uuid.uuid4().hex}/{name}"
    storage.write_bytes(url, parquet_bytes() if name == "a.parquet" else b"{}")
    monkeypatch.setattr(type(storage.resolve(url)[0]), "open", fail)
    with pytest.raises(ConnectionResetError):
        plan_units(url, CONFIG, on_bad_file=tell_nobody)


@pytest.mark.parametrize("error", [OSError("the connection broke"), OSError(5, "input/output error")])
def test_a_read_that_the_store_fails_is_not_a_torn_file(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its rows would be left out where torn files are to be skipped, and not read again."""

    def fail(*_: object) -> bytes:
        raise error

    url = f"memory://{uuid.uuid4().hex}/a.parquet"
    storage.write_bytes(url, parquet_bytes())
    units = plan_units(url, CONFIG, unit_rows=10)
    monkeypatch.setattr(MemoryFile, "read", fail)
    with pytest.raises(OSError, match=re.escape(str(error))):
        plan_units(url, CONFIG, on_bad_file=tell_nobody)
    with pytest.raises(OSError, match=re.escape(str(error))):
        list(read_unit(units[3], CONFIG))
