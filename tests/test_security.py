"""Nothing of a model folder or a checkpoint is executed, and no id or file name leaves the output folder."""

import json
import os
import pathlib
import pickle
import re
import string
from typing import Any

import datasets
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray.data
import torch
from hypothesis import given
from hypothesis import strategies as st
from ray.data._internal.object_extensions.arrow import ArrowPythonObjectType
from safetensors.torch import load_file
from transformers import modeling_utils

import mrc
from mrc import launch, storage
from mrc.errors import BadFileError, UsageError
from mrc.models import load_model
from mrc.pretrained import explained, load_config, load_tokenizer
from mrc.sources import SourceConfig, Unit, plan_units, read_unit
from mrc.training.loop import read_trainer
from tests.bulk import answer, write_bulk_reader
from tests.job_runs import RunMain, assert_is_one_error
from tests.processes import ROOT
from tests.training_data import make_rows, write_jsonl


class Touch:
    """What makes a file when it is unpickled."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def ran(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return the path of what is only there if something was executed."""
    return tmp_path / "ran"


@pytest.fixture
def reader(tmp_path: pathlib.Path) -> pathlib.Path:
    write_bulk_reader(tmp_path / "reader")
    return tmp_path / "reader"


def pickle_weights(reader: pathlib.Path, ran: pathlib.Path) -> None:
    weights = load_file(reader / "model.safetensors")
    (reader / "model.safetensors").unlink()
    torch.save({**weights, "more": Touch(ran)}, reader / "pytorch_model.bin")
    torch.load(reader / "pytorch_model.bin", weights_only=False)
    ran.rmdir()  # it would run


def change_config(reader: pathlib.Path, **changes: Any) -> None:
    config = json.loads((reader / "config.json").read_text())
    (reader / "config.json").write_text(json.dumps(config | changes))


def bring_code(reader: pathlib.Path, ran: pathlib.Path, model_type: str) -> None:
    code = (
        f"import os\nos.mkdir({str(ran)!r})\nfrom transformers import BertConfig as C, BertForQuestionAnswering as M\n"
    )
    (reader / "own.py").write_text(code)
    for name, entry in {"config.json": {"AutoConfig": "own.C", "AutoModelForQuestionAnswering": "own.M"},
                        "tokenizer_config.json": {"AutoTokenizer": [None, "own.M"]}}.items():  # fmt: skip
        config = json.loads((reader / name).read_text())
        config |= {"auto_map": entry} | ({"model_type": model_type} if name == "config.json" else {})
        (reader / name).write_text(json.dumps(config))


def test_pickled_weights_are_refused_and_not_read(reader: pathlib.Path, ran: pathlib.Path, run_main: RunMain) -> None:
    pickle_weights(reader, ran)
    with pytest.raises(UsageError, match=r"its weights are pickled .*save_pretrained"):
        mrc.Reader.from_pretrained(str(reader))
    rows = write_jsonl(reader.parent / "rows.jsonl", make_rows(4, seed=1))
    job = ROOT / "jobs" / "answer.py"
    output = reader.parent / "out"
    outcome = run_main(job, f"--model={reader}", f"--input={rows}", f"--output={output}", "--dry_run=true")
    assert outcome.code == 2
    assert_is_one_error(outcome.stderr, "its weights are pickled")
    assert not ran.exists()


def test_safetensors_are_read_where_pickled_weights_are_beside(reader: pathlib.Path, ran: pathlib.Path) -> None:
    torch.save(Touch(ran), reader / "pytorch_model.bin")
    assert isinstance(mrc.Reader.from_pretrained(str(reader)), mrc.Reader)
    assert not ran.exists()


@pytest.mark.parametrize("way", ["shard", "config", "under another name"])
def test_pickled_weights_are_not_run_by_whatever_way_they_are_named(
    way: str, reader: pathlib.Path, ran: pathlib.Path
) -> None:
    pickle_weights(reader, ran)
    if way == "shard":
        index = {"metadata": {}, "weight_map": {"qa_outputs.bias": "pytorch_model.bin"}}
        (reader / "model.safetensors.index.json").write_text(json.dumps(index))
    elif way == "config":
        (reader / "pytorch_model.bin").rename(reader / "adapter_model.bin")
        change_config(reader, transformers_weights="adapter_model.bin")
    else:
        (reader / "pytorch_model.bin").rename(reader / "model.safetensors")
    with pytest.raises(UsageError, match=r"^--model [^\n]*(its weights are pickled|deserializing header)[^\n]*$"):
        mrc.Reader.from_pretrained(str(reader))
    assert not ran.exists()


def test_no_service_is_asked_to_convert_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def convert(name: str, **_: Any) -> tuple[None, None, None]:
        asked.append(name)
        return None, None, None

    monkeypatch.setattr(modeling_utils, "is_offline_mode", lambda: False)
    monkeypatch.setattr(modeling_utils, "cached_file", lambda *_, **__: None)
    monkeypatch.setattr(modeling_utils, "auto_conversion", convert)

    def look_for_weights() -> None:
        modeling_utils._get_resolved_checkpoint_files("org/name", None, None, True, None, False)

    with pytest.raises(UsageError, match="its weights are pickled"), explained("org/name"):
        look_for_weights()
    assert not asked
    monkeypatch.setenv("DISABLE_SAFETENSORS_CONVERSION", "0")
    with pytest.raises(OSError, match="safetensors"):
        look_for_weights()
    assert asked  # it would


def test_code_of_the_hub_that_a_config_names_is_refused(reader: pathlib.Path) -> None:
    change_config(reader, attn_implementation="org/own-attention")
    with pytest.raises(UsageError, match=r"code from the hub \(org/own-attention\), which is not run"):
        mrc.Reader.from_pretrained(str(reader))


def test_a_folders_own_code_is_not_run(
    reader: pathlib.Path, ran: pathlib.Path, run_main: RunMain, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_code(reader, ran, "own")
    monkeypatch.setattr(launch, "start_ray", lambda *_: None)  # what the model is looked at beside
    for load in (load_config, load_model):
        with pytest.raises(UsageError, match="brings Python code of its own, which is not run"):
            load(str(reader))
    flags = [f"--model={reader}", "--train_data=sample://train?num_examples=4", f"--output={reader.parent / 'out'}"]
    outcome = run_main(ROOT / "jobs" / "train.py", *flags)
    assert outcome.code == 2
    assert_is_one_error(outcome.stderr, "brings Python code of its own")
    assert not ran.exists()


def test_a_known_type_is_transformers_own_whatever_code_is_beside(reader: pathlib.Path, ran: pathlib.Path) -> None:
    bring_code(reader, ran, "bert")
    assert type(load_model(str(reader))).__module__.startswith("transformers.models.bert.")
    assert load_tokenizer(str(reader)).is_fast
    assert not ran.exists()


def test_a_checkpoint_that_could_run_something_is_not_read(tmp_path: pathlib.Path, ran: pathlib.Path) -> None:
    torch.save({"optimizer": Touch(ran), "scaler": {}}, tmp_path / "trainer.pt")
    with pytest.raises(UsageError, match=r"could run anything, and is not read.*--overwrite"):
        read_trainer(tmp_path, torch.device("cpu"))
    assert not ran.exists()
    torch.save({"optimizer": {"step": torch.tensor(3.0)}, "scaler": {}}, tmp_path / "trainer.pt")
    assert read_trainer(tmp_path, torch.device("cpu"))["optimizer"]["step"] == 3


def write_extended(path: pathlib.Path, name: str, values: list[Any], storage_type: pa.DataType, **more: Any) -> str:
    """Write a Parquet file whose questions are of a type that a package defines."""
    metadata = {"ARROW:extension:name": name, "ARROW:extension:metadata": more.pop("metadata", b"")}
    field = pa.field("question", storage_type, metadata=metadata)
    columns = {"question": pa.array(values, storage_type), **more}
    schema = pa.schema([field, *(pa.field(column, pa.string()) for column in more)])
    pq.write_table(pa.table(columns, schema=schema), path)
    return str(path)


def test_a_column_of_pickles_is_refused_and_not_read(
    reader: pathlib.Path, ran: pathlib.Path, tmp_path: pathlib.Path, run_main: RunMain
) -> None:
    evil = pickle.dumps(Touch(ran))
    kind = ArrowPythonObjectType()
    path = write_extended(
        tmp_path / "rows.parquet", kind.extension_name, [evil], pa.large_binary(), id=["1"], context=["Ada wrote it."]
    )
    pq.read_table(path)["question"].to_pylist()
    ran.rmdir()  # it would run
    outcome = run_main(
        ROOT / "jobs" / "answer.py", f"--model={reader}", f"--input={path}", f"--output={tmp_path / 'o'}"
    )
    assert outcome.code == 2
    assert_is_one_error(outcome.stderr, "column 'question' .*whose values run Python code")
    with pytest.raises(BadFileError, match="'question'"):
        storage.read_table(path)
    # Where the column is not asked for, nothing is the matter with the others.
    other = SourceConfig(question_column="context")
    [row] = [row for unit in plan_units(path, other) for row in read_unit(unit, other)]
    assert isinstance(row, mrc.Example)
    assert row.question == "Ada wrote it."
    assert not ran.exists()


WRAPPERS = {
    "list": pa.list_,
    "fixed list": lambda kind: pa.list_(kind, 2),
    "map": lambda kind: pa.map_(pa.string(), kind),
    "struct": lambda kind: pa.struct({"a": pa.int8(), "b": kind}),
    "dictionary": lambda kind: pa.dictionary(pa.int8(), kind),
}


@given(names=st.lists(st.sampled_from(list(WRAPPERS)), max_size=4))
def test_types_that_run_code_are_found_however_deep(names: list[str]) -> None:
    def schema(kind: pa.DataType) -> pa.Schema:
        for name in names:
            kind = WRAPPERS[name](kind)
        return pa.schema({"a": pa.int8(), "b": kind})

    for own in (pa.string(), pa.json_(), pa.uuid(), pa.fixed_shape_tensor(pa.int8(), [2])):
        storage.check_inert(schema(own), "here")
    with pytest.raises(BadFileError, match="here: column 'b'"):
        storage.check_inert(schema(ArrowPythonObjectType()), "here")


def test_pickled_metadata_of_a_tensor_is_not_read(ran: pathlib.Path, tmp_path: pathlib.Path) -> None:
    assert ray.data  # which knows the type
    kind, metadata = "ray.data.arrow_tensor_v2", pickle.dumps(Touch(ran))
    path = write_extended(tmp_path / "rows.parquet", kind, [[1.0]], pa.large_list(pa.float32()), metadata=metadata)
    with pytest.raises(BadFileError, match=r"rows\.parquet: not a whole Parquet file"):
        plan_units(path, SourceConfig())
    assert not ran.exists()


def test_a_saved_data_set_of_pickles_is_refused_and_not_read(ran: pathlib.Path, tmp_path: pathlib.Path) -> None:
    data = datasets.Dataset(pa.table({"question": pa.array([pickle.dumps(Touch(ran))], pa.large_binary())}))
    data.save_to_disk(tmp_path / "saved")
    [path] = (tmp_path / "saved").glob("*.arrow")
    pickles = ArrowPythonObjectType().wrap_array(data.data["question"].combine_chunks())
    table = pa.table({"question": pickles})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(UsageError, match="arrow_pickled_object"):
        plan_units(str(tmp_path / "saved"), SourceConfig())
    assert not ran.exists()


@pytest.mark.parametrize("text", ["model: !!python/object/apply:os.mkdir ['{ran}']", "model: {{class_path: os.mkdir}}"])
def test_a_file_of_flags_runs_nothing(text: str, ran: pathlib.Path, tmp_path: pathlib.Path, run_main: RunMain) -> None:
    (tmp_path / "flags.yaml").write_text(text.format(ran=ran))
    outcome = run_main(ROOT / "jobs" / "answer.py", f"--config={tmp_path / 'flags.yaml'}", "--input=sample://test")
    assert outcome.code == 2
    assert_is_one_error(outcome.stderr, "")
    assert not ran.exists()


@pytest.mark.parametrize("name", ["script.py", ""])
def test_a_script_is_no_data_set(
    name: str, reader: pathlib.Path, ran: pathlib.Path, tmp_path: pathlib.Path, run_main: RunMain
) -> None:
    folder = tmp_path / "script"
    folder.mkdir()
    (folder / "script.py").write_text(f"import os\nos.mkdir({str(ran)!r})\n")
    flags = [f"--model={reader}", f"--train_data={folder / name}", f"--output={tmp_path / 'out'}"]
    outcome = run_main(ROOT / "jobs" / "train.py", *flags)
    assert outcome.code == 2
    assert_is_one_error(outcome.stderr, "script")
    assert not ran.exists()


HOSTILE = st.text(st.sampled_from([*string.ascii_letters, *"._-/\\ \n\0\x1b%:;$`'\"*?[]한"]), min_size=1, max_size=90)


@given(source=HOSTILE, start=st.integers(0, 10**9))
def test_a_units_name_is_a_plain_file_name(source: str, start: int) -> None:
    unit = Unit(source=source, start=start, stop=start + 1, format="jsonl")
    assert re.fullmatch(r"[\w.-]{1,120}", unit.name)
    assert os.path.basename(unit.name) == unit.name
    assert unit.name[0] not in "._-"  # a hidden file's, or a flag's
    assert len(os.fsencode(unit.name)) <= 120


def test_a_name_in_a_store_leads_nowhere_else(tmp_path: pathlib.Path) -> None:
    for name in ("config.json", "../../escaped", "deep/../../escaped", "..two/dots.../are..fine"):
        fsspec.filesystem("memory").pipe_file(f"/hostile/{len(name)}/in/{name}", b"x")
    for name in ("../../escaped", "deep/../../escaped"):
        with pytest.raises(UsageError, match=r"memory://.*escaped: a name with '\.\.' in it leads out of memory://"):
            storage.download_tree(f"memory://hostile/{len(name)}/in", tmp_path / "a" / "b" / "c")
    storage.download_tree(f"memory://hostile/{len('..two/dots.../are..fine')}/in", tmp_path / "whole")
    written = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert written == ["whole/..two/dots.../are..fine"]


@pytest.mark.usefixtures("ray_cluster")
def test_what_ids_and_file_names_say_stays_in_the_output_folder(reader: pathlib.Path, tmp_path: pathlib.Path) -> None:
    rows = make_rows(4, seed=2)
    ids = ["../../escaped", "/etc/escaped", "..\\escaped", "a\x1b[2J\nb"]
    for row, name in zip(rows, ids, strict=True):
        row["id"] = name
    folder = tmp_path / "in" / "..." / "$(touch escaped)"
    folder.mkdir(parents=True)
    write_jsonl(folder / f"(1) {'한' * 60}..%2f..%2fescaped;\n.jsonl", rows)
    outside = {path for path in tmp_path.rglob("*") if "out" not in path.parts}
    done = answer(model=str(reader), input=str(folder), output=str(tmp_path / "out" / "deep"))
    assert sorted(row["id"] for row in done.rows()) == sorted(ids)
    assert {path for path in tmp_path.rglob("*") if "out" not in path.parts} == outside
    assert len(storage.list_files(str(done.output / "predictions"))) == len(done.files("predictions"))  # none is hidden
    inside = {path.parent for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert inside == {done.output, *(done.output / name for name in ("predictions", "commits", "metrics"))}


def test_control_characters_do_not_reach_the_terminal(reader: pathlib.Path, run_main: RunMain) -> None:
    outcome = run_main(ROOT / "jobs" / "answer.py", f"--model={reader}", "--input=no\x1b[2J\nfile\u202e.jsonl")
    assert outcome.code == 2
    assert_is_one_error(outcome.stderr, r"no\\x1b\[2J\\nfile\\u202e\.jsonl")
