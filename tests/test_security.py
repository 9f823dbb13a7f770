"""Nothing of a model folder or a checkpoint is executed, and no id or file name leaves the output folder."""

import json
import os
import pathlib
import re
import string
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import mrc
from mrc.errors import UsageError
from mrc.models import load_model
from mrc.pretrained import load_config, load_tokenizer
from mrc.sources import Unit
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


def test_a_folders_own_code_is_not_run(reader: pathlib.Path, ran: pathlib.Path, run_main: RunMain) -> None:
    bring_code(reader, ran, "own")
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


HOSTILE = st.text(st.sampled_from([*string.ascii_letters, *"./\\ \n\0\x1b%:;$`'\"*?[]한"]), min_size=1, max_size=90)


@given(source=HOSTILE, start=st.integers(0, 10**9))
def test_a_units_name_is_a_plain_file_name(source: str, start: int) -> None:
    unit = Unit(source=source, start=start, stop=start + 1, format="jsonl")
    assert re.fullmatch(r"[\w.-]{1,120}", unit.name)
    assert os.path.basename(unit.name) == unit.name
    assert unit.name.strip(".")


@pytest.mark.usefixtures("ray_cluster")
def test_what_ids_and_file_names_say_stays_in_the_output_folder(reader: pathlib.Path, tmp_path: pathlib.Path) -> None:
    rows = make_rows(4, seed=2)
    ids = ["../../escaped", "/etc/escaped", "..\\escaped", "a\x1b[2J\nb"]
    for row, name in zip(rows, ids, strict=True):
        row["id"] = name
    folder = tmp_path / "in" / "..." / "$(touch escaped)"
    folder.mkdir(parents=True)
    write_jsonl(folder / "a..%2f..%2fescaped;\n.jsonl", rows)
    outside = {path for path in tmp_path.rglob("*") if "out" not in path.parts}
    done = answer(model=str(reader), input=str(folder), output=str(tmp_path / "out" / "deep"))
    assert sorted(row["id"] for row in done.rows()) == sorted(ids)
    assert {path for path in tmp_path.rglob("*") if "out" not in path.parts} == outside
    inside = {path.parent for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert inside == {done.output, *(done.output / name for name in ("predictions", "commits", "metrics"))}


def test_control_characters_do_not_reach_the_terminal(reader: pathlib.Path, run_main: RunMain) -> None:
    outcome = run_main(ROOT / "jobs" / "answer.py", f"--model={reader}", "--input=no\x1b[2J\nfile\u202e.jsonl")
    assert outcome.code == 2
    assert_is_one_error(outcome.stderr, r"no\\x1b\[2J\\nfile\\u202e\.jsonl")
