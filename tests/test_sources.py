"""Sources: every format gives the examples that were written, whatever the cut, the place and the name."""

import gzip
import json
import pathlib
import pickle
import re
import uuid
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrc import storage
from mrc.errors import UsageError
from mrc.examples import Example, Reject, examples_from_table, examples_to_table
from mrc.sources import SourceConfig, Unit, plan_units, read_unit
from mrc.sources.parquet import cut_row_groups
from tests.source_files import WRITERS, example_lists, make_examples, squad_table, unhurried, write_jsonl, write_squad

pytest_plugins = ["tests.s3"]

CONFIG = SourceConfig()


def read(locations: str | Sequence[str], config: SourceConfig = CONFIG, **plan: Any) -> list[Example | Reject]:
    return [row for unit in plan_units(locations, config, **plan) for row in read_unit(unit, config)]


def ids(rows: Sequence[Example | Reject]) -> list[str | None]:
    return [row.id for row in rows]


def memory_folder() -> str:
    return f"memory://{uuid.uuid4().hex}"


# Formats


@pytest.mark.parametrize("name", WRITERS)
@unhurried
@given(examples=example_lists())
def test_every_format_gives_back_what_was_written(name: str, examples: list[Example]) -> None:
    url = f"{memory_folder()}/{name}"
    WRITERS[name](url, examples)
    if name == "lines.json" and not examples:
        return  # A JSON file with nothing in it is torn, unlike JSON Lines.
    assert read(url) == examples


@unhurried
@given(example_lists())
def test_arrow_tables_give_back_examples(examples: list[Example]) -> None:
    assert examples_from_table(examples_to_table(examples)) == examples


@unhurried
@given(group_rows=st.integers(1, 20), unit_rows=st.integers(1, 30), count=st.integers(0, 40))
def test_the_cut_of_a_parquet_file_changes_no_row(group_rows: int, unit_rows: int, count: int) -> None:
    examples, url = make_examples(count), f"{memory_folder()}/a.parquet"
    with storage.open_atomic(url) as file:
        pq.write_table(examples_to_table(examples), file, row_group_size=group_rows)
    assert read(url, unit_rows=unit_rows) == examples


@unhurried
@given(st.lists(st.integers(0, 50)), st.integers(1, 40))
def test_units_tile_the_rows_and_are_near_the_size_asked_for(group_rows: list[int], unit_rows: int) -> None:
    ranges = cut_row_groups(group_rows, unit_rows)
    assert [row for start, stop in ranges for row in range(start, stop)] == list(range(sum(group_rows)))
    assert all(0 < stop - start <= max(1.5 * unit_rows, 1) for start, stop in ranges)
    assert len(ranges) <= 1 + 2 * sum(group_rows) / unit_rows


def test_small_row_groups_are_merged_and_large_ones_cut() -> None:
    assert cut_row_groups([3, 3, 3, 20], 6) == [(0, 6), (6, 9), (9, 16), (16, 22), (22, 29)]


def test_row_groups_that_many_units_share_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    url = f"{memory_folder()}/a.parquet"
    storage.write_table(url, examples_to_table(make_examples(33)))
    plan_units(url, CONFIG, unit_rows=3)
    assert not caplog.records
    plan_units(url, CONFIG, unit_rows=2)
    assert "33 rows" in caplog.text
    assert "row_group_size=2" in caplog.text


def test_a_range_decodes_its_own_row_groups_and_columns_only(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{memory_folder()}/a.parquet"
    table = examples_to_table(make_examples(40)).append_column("huge", pa.array(["x"] * 40))
    with storage.open_atomic(url) as file:
        pq.write_table(table, file, row_group_size=10)
    asked: list[dict[str, Any]] = []
    iter_batches = pq.ParquetFile.iter_batches

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(kwargs)
        return iter_batches(self, *args, **kwargs)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    rows = list(read_unit(Unit(source=url, format="parquet", start=15, stop=30), CONFIG))
    assert ids(rows) == [f"q{number}" for number in range(15, 30)]
    assert asked == [{"row_groups": [1, 2], "columns": ["id", "question", "context", "title", "answers"]}]


def test_flat_answer_columns() -> None:
    folder = memory_folder()
    rows = [
        {"uid": 7, "q": "Who?", "context": "I am Ann.", "gold": "Ann", "at": 5.0, "is_impossible": False},
        {"uid": 8, "q": "Who?", "context": "I am.", "gold": None, "at": None, "is_impossible": True},
        {"uid": 9, "q": "Who?", "context": "I am.", "gold": None, "at": None, "is_impossible": None},
    ]
    storage.write_table(f"{folder}/a.parquet", pa.Table.from_pylist(rows))
    storage.write_text(f"{folder}/b.csv", 'uid,q,context,gold,at\n7,"Who, or ""what""?","I am\nAnn.",Ann,5\n')
    config = SourceConfig(id_column="uid", question_column="q", answer_text_column="gold", answer_start_column="at")
    first, impossible, unknown, quoted = read(folder, config)
    assert isinstance(first, Example)
    assert isinstance(quoted, Example)
    assert (first.id, first.answers) == ("7", quoted.answers)
    assert (quoted.question, quoted.context) == ('Who, or "what"?', "I am\nAnn.")
    assert isinstance(impossible, Example)
    assert impossible.answers == ()
    assert isinstance(unknown, Example)
    assert unknown.answers is None


def test_long_csv_cells_and_compressed_files(tmp_path: pathlib.Path) -> None:
    context = "한 " * 100_000
    (tmp_path / "a.csv").write_text(f"question,context\nwhere?,{context}\n", encoding="utf-8")
    with gzip.open(tmp_path / "b.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(json.dumps({"question": "where?", "context": context}))
    rows = read(str(tmp_path))
    assert ids(rows) == ["a.csv#0", "b.jsonl.gz#0"]
    assert {row.context for row in rows if isinstance(row, Example)} == {context}


def test_parquet_texts_that_are_not_utf8_cost_their_row_alone() -> None:
    examples, url = make_examples(3), f"{memory_folder()}/a.parquet"
    table = squad_table(examples)
    questions = pa.array([b"good?", b"b\xe9d?", b"good?"]).view(pa.string())
    storage.write_table(url, table.set_column(1, "question", questions))
    good, bad, also_good = read(url)
    assert isinstance(good, Example)
    assert isinstance(also_good, Example)
    assert also_good.answers == examples[2].answers
    assert isinstance(bad, Reject)
    assert (bad.reason, bad.id) == ("invalid_utf8", "q1")


# Places and names


@pytest.fixture
def three_files(s3_bucket: str) -> str:
    """A folder on S3 with a file of each kind and a marker; 10, 5 and 5 examples."""
    examples = make_examples(20)
    storage.write_table(f"{s3_bucket}/in/a.parquet", examples_to_table(examples[:10]))
    write_jsonl(f"{s3_bucket}/in/b.jsonl", examples[10:15])
    write_squad(f"{s3_bucket}/in/sub/c.json", examples[15:])
    storage.write_text(f"{s3_bucket}/in/_SUCCESS", "")
    storage.write_text(f"{s3_bucket}/in/README.md", "not data")
    return f"{s3_bucket}/in"


def test_a_store_is_read_by_folder_glob_list_and_commas(three_files: str) -> None:
    everything = [f"q{number}" for number in range(20)]
    assert ids(read(three_files)) == everything
    assert ids(read(f"{three_files}/*.jsonl")) == everything[10:15]
    assert ids(read([f"{three_files}/sub", f"{three_files}/a.parquet"])) == everything[15:] + everything[:10]
    assert ids(read(f"{three_files}/b.jsonl, {three_files}/sub/c.json")) == everything[10:]
    assert ids(read(f"{three_files}/a.parquet,{three_files}/*.parquet")) == everything[:10], "named twice, read once"


def test_units_have_stable_different_names_and_pickle(three_files: str) -> None:
    units = plan_units(three_files, CONFIG, unit_rows=4)
    assert plan_units(three_files, CONFIG, unit_rows=4) == units
    assert [unit.num_rows for unit in units] == [5, 5, 5, 5]
    units += [Unit(source=units[0].source, format="parquet", start=0, stop=5, rows=rows) for rows in ((1,), (2,))]
    assert pickle.loads(pickle.dumps(units)) == units
    names = {unit.name for unit in units}
    assert len(names) == len(units)
    assert all(re.fullmatch(r"[\w.-]+", name) for name in names)
    assert Unit(source="/data/a b.parquet", format="parquet", start=5, stop=9).name == (
        "a_b.parquet-34b25fa257e0-000000000005-000000000009"
    )


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("missing.json", "no file at missing.json"),
        ("./missing", "no file at ./missing"),
        ("data/*.parquet", "no file at data/\\*.parquet"),
        ("memory://nothing/here", "no file at memory://nothing/here"),
        ("pyproject.toml", "format not known.*rename"),
        ("", "no input is named"),
        ([], "no input is named"),
        ("sample://train?sed=1", "unknown option 'sed'; the options are num_examples, seed, language"),
        ("sample://train?num_examples=-1", "num_examples is '-1'"),
    ],
)
def test_what_cannot_be_found_is_refused_at_once(location: str | list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan_units(location, CONFIG)


def test_the_sample_is_cut_like_a_file() -> None:
    location = "sample://train?num_examples=23&seed=3&language=ko"
    units = plan_units(location, CONFIG, unit_rows=7)
    assert [unit.num_rows for unit in units] == [8, 7, 8]
    whole = read(location)
    assert [row for unit in units for row in read_unit(unit, CONFIG)] == whole
    assert len(set(ids(whole))) == 23
    assert read("sample://validation?num_examples=5") != read("sample://validation?num_examples=5&seed=1")


# Files that are wrong as a whole


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet"])
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"context_column": "passage"}, "no column 'passage'.*--context_column.*it has .*'context'"),
        ({"id_column": "uid"}, "no column 'uid'.*--id_column"),
        ({"require_answers": True}, "no gold answers.*--answers_column"),
        ({"answer_text_column": "title"}, "no offsets in 'answer_start'.*--answer_start_column"),
    ],
)
def test_a_column_that_the_whole_file_lacks_is_one_error(name: str, flags: dict[str, Any], message: str) -> None:
    url = f"{memory_folder()}/{name}"
    columns = {"id": ["1"], "question": ["Who?"], "context": ["I am."], "title": ["T"]}
    if name == "a.parquet":
        storage.write_table(url, pa.table(columns))
    elif name == "a.csv":
        storage.write_text(url, "id,question,context,title\n1,Who?,I am.,T\n")
    else:
        row = json.dumps({key: values[0] for key, values in columns.items()})
        storage.write_text(url, row if name == "a.jsonl" else f"[{row}]")
    assert ids(read(url)) == ["1"]
    with pytest.raises(UsageError, match=message):
        read(url, SourceConfig(**flags))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b'{"data": [\n{"title": "x', "a.json: not JSON at line 2, column 11"),
        ("a.json", b"", "not JSON at line 1"),
        ("a.json", b'{"data": {}}', 'neither SQuAD JSON \\(a list under "data"\\) nor a list'),
        ("a.json", b'{"rows": []}', "no column 'question'.*it has 'rows'"),
        ("a.json", b"[" * 100_000, "not JSON that can be read"),
        ("a.parquet", b"PAR1 torn", "a.parquet: not a whole Parquet file.*write it again"),
        ("a.parquet", b"", "not a whole Parquet file"),
        ("a.csv", b"", "no header line"),
        ("a.csv", b'question,context\na,b\nc,"opens\nd,e\n', "quoted cell opens and never closes"),
        ("a.jsonl.gz", gzip.compress(b'{"question": "a"}\n' * 50, mtime=0)[:-12], "compressed file is torn"),
        ("a.jsonl.gz", b"not compressed", "compressed file is torn"),
    ],
)
def test_torn_files_are_named_with_the_place(name: str, content: bytes, message: str) -> None:
    url = f"{memory_folder()}/{name}"
    storage.write_bytes(url, content)
    with pytest.raises(UsageError, match=message):
        read(url)


def test_a_parquet_file_cut_short_is_refused_from_its_footer() -> None:
    url = f"{memory_folder()}/a.parquet"
    storage.write_table(url, examples_to_table(make_examples(50)))
    storage.write_bytes(url, storage.read_bytes(url)[:-20])
    with pytest.raises(UsageError, match="not a whole Parquet file"):
        plan_units(url, CONFIG)


def test_a_file_that_goes_after_the_plan_is_a_usage_error() -> None:
    for name in ("a.parquet", "a.jsonl"):
        url = f"{memory_folder()}/{name}"
        unit = Unit(source=url, format="parquet" if name == "a.parquet" else "jsonl", stop=3)
        with pytest.raises(UsageError, match="is gone"):
            list(read_unit(unit, CONFIG))


def test_configs_refuse_what_cannot_work() -> None:
    with pytest.raises(UsageError, match="--max_context_chars is 0"):
        SourceConfig(max_context_chars=0)
    with pytest.raises(UsageError, match="--id_column is empty"):
        SourceConfig(id_column="")
    with pytest.raises(UsageError, match="--unit_rows is 0"):
        plan_units("sample://train", CONFIG, unit_rows=0)


# Real data


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "count"),
    [("KorQuAD_v1.0_dev", 5_774), *((f"xquad.{code}", 1_190) for code in ("en", "es", "de", "vi", "tr"))],
)
def test_korquad_and_xquad_are_read_without_loss(real_data: pathlib.Path, name: str, count: int) -> None:
    rows = read(str(real_data / f"{name}.json"), SourceConfig(require_answers=True))
    assert len({row.id for row in rows if isinstance(row, Example) and row.answers}) == count == len(rows)


@pytest.mark.realdata
def test_squad_2_has_its_impossible_questions(real_data: pathlib.Path) -> None:
    rows = read(str(real_data / "squad2.dev.sample.json"))
    assert len(rows) == 6_078
    assert sum(isinstance(row, Example) and row.answers == () for row in rows) == 3_168


@pytest.mark.realdata
def test_covidqas_wrong_offsets_are_reported(real_data: pathlib.Path) -> None:
    rows = read(str(real_data / "covidqa.json"))
    rejects = [row for row in rows if isinstance(row, Reject)]
    assert len(rows) - len(rejects) == 1_146
    reasons = [reject.reason for reject in rejects]
    assert (reasons.count("answer_not_at_offset"), reasons.count("answer_offset_in_bytes")) == (230, 4)
    assert sum(" stands 1 character(s) before " in reject.detail for reject in rejects) == 192


def test_samples_and_files_may_be_named_together(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n")
    names = f"sample://train?num_examples=3&language=ko,sample://train?num_examples=2&language=en,{tmp_path}/a.jsonl"
    assert [unit.format for unit in plan_units(names, SourceConfig())] == ["sample", "sample", "jsonl"]
