"""The parts of training that need no cluster: what a step learns from, what is kept of it, and what is refused."""

import dataclasses
import json
import math
import os
import pathlib
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mrc import storage
from mrc.errors import RunError, UsageError
from mrc.settings import differences, resolved
from mrc.sources import SourceConfig
from mrc.training import TrainConfig, checkpoints
from mrc.training.card import model_card
from mrc.training.checkpoints import TrainState
from mrc.training.config import MAY_CHANGE
from mrc.training.data import plan_data
from mrc.training.prepare import UnitRecord, check_rejects
from mrc.training.progress import RunLog, describe, duration, read_rows, write_rows
from mrc.training.room import check_cluster
from mrc.windows import WindowConfig


def memory_url() -> str:
    return f"memory://{uuid.uuid4().hex}"


# Checkpoints


def write_model_and_trainer(folder: pathlib.Path) -> None:
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    (folder / "trainer.pt").write_bytes(b"optimizer")


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> str:
    return str(tmp_path / "checkpoints") if request.param == "local" else memory_url()


def steps_in(folder: str) -> list[int]:
    return [state.step for _, state in checkpoints.committed(folder)]


def test_a_checkpoint_comes_back_with_its_state_and_files(folder: str) -> None:
    assert checkpoints.committed(folder) == []
    state = TrainState(step=1200, best_step=600, finished=True, evaluations=[{"step": 600, "f1": 50.5}])
    for each in (state, TrainState(step=30)):
        checkpoints.save(folder, each, write_model_and_trainer)
    (_, first), (url, last) = checkpoints.committed(folder)
    assert (first, last) == (TrainState(step=30), state)
    assert storage.read_text(storage.join(url, "model", "config.json")) == "{}"
    assert storage.read_bytes(storage.join(url, "trainer.pt")) == b"optimizer"


@pytest.mark.parametrize("writes_before_the_end", range(3))
@pytest.mark.parametrize("again", [False, True])
def test_a_checkpoint_cut_short_at_any_file_is_never_listed(
    folder: str, writes_before_the_end: int, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.save(folder, TrainState(step=10), write_model_and_trainer)
    if again:
        checkpoints.save(folder, TrainState(step=20), write_model_and_trainer)
    with monkeypatch.context() as patched:
        _die_after(patched, folder, writes_before_the_end)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save(folder, TrainState(step=20), write_model_and_trainer)
    assert steps_in(folder) == [10]
    checkpoints.save(folder, TrainState(step=20), write_model_and_trainer)
    assert steps_in(folder) == [10, 20]


def _die_after(monkeypatch: pytest.MonkeyPatch, folder: str, writes: int) -> None:
    """Let so many files be written to the store, and interrupt the next one."""
    filesystem = type(storage.resolve(folder)[0])
    left = [writes]

    def dying(method: Callable[..., Any]) -> Callable[..., Any]:
        def write(*args: Any, **kwargs: Any) -> Any:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return method(*args, **kwargs)

        return write

    if storage.is_local(folder):
        monkeypatch.setattr(os, "replace", dying(os.replace))
    else:
        for name in ("put_file", "pipe_file"):
            monkeypatch.setattr(filesystem, name, dying(getattr(filesystem, name)))


def test_only_the_steps_asked_for_are_kept(folder: str) -> None:
    for step in (10, 20, 30):
        checkpoints.save(folder, TrainState(step=step), write_model_and_trainer)
    storage.write_text(storage.join(folder, "step-00000015", "trainer.pt"), "cut short")
    storage.write_text(storage.join(folder, "notes", "a.txt"), "somebody's own")
    checkpoints.keep_only(folder, {10, 30})
    assert steps_in(folder) == [10, 30]
    names = [url.rsplit("/", 1)[-1] for url in storage.list_folders(folder)]
    assert names == ["notes", "step-00000010", "step-00000030"]


def test_the_marker_is_deleted_first(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = checkpoints.save(folder, TrainState(step=10), write_model_and_trainer)
    removed: list[str] = []
    monkeypatch.setattr(storage, "remove", removed.append)
    checkpoints.discard(url)
    assert removed == [storage.join(url, "state.json"), url]


# Config


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, 0) for name in ("train_batch_size", "max_batch_tokens", "save_steps", "logging_steps", "num_workers")),
        *((name, 0) for name in ("max_steps", "eval_steps", "max_train_samples", "early_stopping_patience")),
        *((name, 0.0) for name in ("learning_rate", "num_train_epochs", "max_grad_norm", "cpus_per_worker")),
        *((name, 1.5) for name in ("warmup_ratio", "max_reject_share", "validation_split", "dropout")),
        ("validation_split", 1.0),
        ("learning_rate", math.nan),
        ("weight_decay", -0.1),
        ("max_failures", -1),
    ],
)
def test_a_value_that_no_run_can_use_is_refused_by_its_flag(name: str, value: float) -> None:
    changes: dict[str, Any] = {name: value}
    with pytest.raises(UsageError, match=rf"^--{name} {value}: must be "):
        TrainConfig(**changes)


def test_differences_name_what_makes_another_run_and_nothing_else() -> None:
    old = resolved(TrainConfig(), WindowConfig())
    same = {
        "output": "b",
        "num_workers": 4,
        "max_batch_tokens": 1,
        "logging_steps": 1,
        "save_steps": 1,
        "save_minutes": 1.0,
        "overwrite": True,
        # It is fitted; a run from before there was one goes on.
        "temperature": 2.0,
    }
    assert differences(old, {**old, **same}, MAY_CHANGE) == []
    changed = {**old, "learning_rate": 1.0, "max_seq_length": 512}
    assert differences(old, changed, MAY_CHANGE) == ["--learning_rate: 2e-05 -> 1.0", "--max_seq_length: 384 -> 512"]
    assert differences(yaml.safe_load(yaml.safe_dump(old)), old, MAY_CHANGE) == []


@pytest.mark.parametrize(
    ("config", "nodes", "expected"),
    [
        ({"num_workers": 2}, [{"CPU": 2.0}], False),
        ({"num_workers": 2, "cpus_per_worker": 1.0}, [{"CPU": 1.0}, {"CPU": 2.0}], False),
        ({"num_workers": 2}, [{"CPU": 4.0, "GPU": 2.0}], True),
        ({"num_workers": 2, "use_gpu": False}, [{"CPU": 4.0, "GPU": 1.0}], False),
        ({"num_workers": 64, "wait_for_nodes": True}, [{"CPU": 1.0}], False),
        ({"num_workers": 64, "wait_for_nodes": True, "use_gpu": True}, [{}], True),
        ({"num_workers": 3}, [{"CPU": 2.0}], "need 2.5 CPUs and the cluster has 2"),
        ({"num_workers": 3}, [{"CPU": 9.0, "GPU": 2.0}], "needs 3 GPUs and the cluster has 2"),
        ({"use_gpu": True}, [{"CPU": 9.0}, {}], "needs 1 GPUs and the cluster has 0"),
        ({"num_workers": 2, "cpus_per_worker": 2.0}, [{"CPU": 3.0}, {"CPU": 2.0}], False),
        (
            {"num_workers": 2, "cpus_per_worker": 2.0},
            [{"CPU": 3.0}, {"CPU": 1.0}, {"CPU": 1.0}],
            "2 CPU each and the cluster's nodes have room for 1: use fewer",
        ),
    ],
)
def test_a_cluster_that_is_too_small_is_refused_with_the_numbers(
    config: dict[str, Any], nodes: list[dict[str, float]], expected: bool | str
) -> None:
    if isinstance(expected, bool):
        assert check_cluster(TrainConfig(**config), nodes) is expected
    else:
        with pytest.raises(UsageError, match=rf"^--num_workers .* {expected}"):
            check_cluster(TrainConfig(**config), nodes)


def record(**changes: Any) -> UnitRecord:
    return UnitRecord(
        **{
            "rows": 10,
            "examples": 8,
            "windows": 9,
            "korean": 0,
            "unanswerable": 0,
            "rejects": {},
            "digest": "",
            **changes,
        }
    )


def test_too_many_rejects_stop_a_run_with_their_reasons() -> None:
    records = [record(rejects={"bad_offset": 2}), record(rejects={"no_question": 1, "bad_offset": 1}, examples=9)]
    check_rejects(records, max_share=0.2, side="train", rejects_folder="out/rejects")
    with pytest.raises(
        RunError, match=r"^--train_data: 4 of 20 rows rejected \(3 bad_offset, 1 no_question\), more than"
    ):
        check_rejects(records, max_share=0.19, side="train", rejects_folder="out/rejects")
    with pytest.raises(RunError, match=r"^--validation_data: not one usable question in 10 rows \(10 bad_offset\)"):
        check_rejects(
            [record(examples=0, rejects={"bad_offset": 10})], max_share=1, side="validation", rejects_folder=""
        )


def test_questions_without_a_window_stop_a_run() -> None:
    with pytest.raises(RunError, match=r"^--train_data: no window holds .* ignore leaves the others out: raise --max_"):
        check_rejects([record(windows=0)], max_share=0.1, side="train", rejects_folder="out/rejects")
    check_rejects([record(windows=0), record()], max_share=0.1, side="train", rejects_folder="out/rejects")


# Data


@pytest.fixture
def squad_file(tmp_path: pathlib.Path) -> str:
    rows = [
        {
            "id": str(i),
            "question": "Who?",
            "context": f"Ann {i // 2}",
            "answers": {"text": ["Ann"], "answer_start": [0]},
        }
        for i in range(10)
    ]
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_the_plan_takes_samples_of_both_sides(squad_file: str) -> None:
    config = TrainConfig(train_data=squad_file, validation_data=squad_file, max_train_samples=4, max_eval_samples=3)
    data = plan_data(config, SourceConfig())
    assert [unit.stop for unit in (*data.train, *data.validation)] == [4, 3]
    assert data.train_source.require_answers
    drawn = plan_data(dataclasses.replace(config, sample_seed=1), SourceConfig())
    assert drawn.train[0].rows is not None
    assert len(drawn.train[0].rows) == 4


def test_nothing_is_validated_where_nothing_is_named(squad_file: str) -> None:
    data = plan_data(TrainConfig(train_data=squad_file), SourceConfig())
    assert (data.validation, data.holds_out) == ((), False)


# Progress


def row(step: int, kind: str = "train", **changes: Any) -> dict[str, Any]:
    common = {"kind": kind, "step": step, "total_steps": 90, "epoch": step / 30, "loss": 1 / step}
    train = {"learning_rate": 1e-5, "windows_per_s": 9.0, "questions_per_s": 8.0, "left_s": 65.0}
    validation = {"exact_match": 50.0, "f1": 62.5, "total": 1234, "seconds": 3.0, "is_best": True}
    return {**common, **(train if kind == "train" else validation), **changes}


def logged(output: str) -> list[tuple[str, int, float]]:
    text = storage.read_text(storage.join(output, "logs", "metrics.jsonl"))
    return [(line["kind"], line["step"], line["loss"]) for line in map(json.loads, text.splitlines())]


@pytest.mark.parametrize("remote", [False, True])
def test_a_run_that_goes_on_writes_the_steps_after_its_checkpoint_again(remote: bool, tmp_path: pathlib.Path) -> None:
    output = memory_url() if remote else str(tmp_path / "out")
    log = RunLog(output)
    for each in (row(10), row(20), row(20, "validation"), row(30)):
        log.write(each)
    log.close()
    again = RunLog(output, resumed_step=20)
    again.write(row(30, loss=0.125))
    again.close()
    assert logged(output) == [("train", 10, 0.1), ("train", 20, 0.05), ("validation", 20, 0.05), ("train", 30, 0.125)]
    events = [name for name in storage.list_files(storage.join(output, "logs")) if "tfevents" in name]
    assert len(events) == 2


def test_a_run_that_goes_on_tells_what_a_killed_driver_did_not(folder: str) -> None:
    rows = [row(10), row(20), row(20, "validation"), row(30)]
    url = checkpoints.save(folder, TrainState(step=30), lambda local: write_rows(local, rows))
    output = storage.join(folder, "out")
    metrics = storage.join(output, "logs", "metrics.jsonl")
    for heard in range(len(rows) + 1):
        # The last line was cut short, with the process that wrote it.
        text = "".join(json.dumps(each) + "\n" for each in rows[:heard]) + '{"kind": "tr'
        storage.write_text(metrics, text)
        RunLog(output, resumed_step=30, reported=read_rows(url)).close()
        assert [json.loads(line) for line in storage.read_text(metrics).splitlines()] == rows


def test_a_line_says_what_a_person_wants_to_know() -> None:
    assert describe(row(10)) == (
        "step 10/90  epoch 0.33  loss 0.1000  learning rate 1.00e-05  8.0 questions/s  1 min 5 s left"
    )
    assert describe(row(30, "validation", epoch=1.0)) == (
        "step 30/90  epoch 1.00  validation: exact match 50.00  F1 62.50  loss 0.0333  1,234 questions in 3 s"
        "  (best so far)"
    )


@given(st.floats(0, 1e6))
def test_a_duration_reads_as_people_say_it(seconds: float) -> None:
    units = {"s": 1, "min": 60, "h": 3600}
    words = duration(seconds).split()
    said = sum(int(number) * units[unit] for number, unit in zip(words[::2], words[1::2], strict=True))
    assert abs(said - seconds) <= (0.5 if seconds < 3599 else 60)


# The model card


@pytest.mark.parametrize(
    ("is_t5", "auto"), [(True, "AutoModelForTokenClassification"), (False, "AutoModelForQuestionAnswering")]
)
@pytest.mark.parametrize(
    "metrics", [{}, {"exact_match": 81.25, "f1": 90.0, "calibration_error": 0.0213, "seconds": 12.0, "total": 8}]
)
def test_a_card_says_how_to_load_the_model_and_what_it_scored(is_t5: bool, auto: str, metrics: dict[str, Any]) -> None:
    config = resolved(TrainConfig(model="path/to: base", train_data="한국어.json"), WindowConfig())
    result = {
        "metrics": metrics,
        "scorer": "korquad",
        "validation_questions": 8,
        "train_questions": 1234,
        "train_windows": 2000,
        "steps": 90,
        "best_step": 60,
    }
    _, front, body = model_card(config, result, is_t5=is_t5).split("---\n", 2)
    assert yaml.safe_load(front)["base_model"] == "path/to: base"
    assert f"{auto}.from_pretrained" in body
    assert yaml.safe_load(body.split("```yaml\n")[1].split("```")[0]) == config
    assert ("| exact_match | 81.25 |" in body) == bool(metrics)
    assert ("| calibration_error | 0.0213 |" in body) == ("expected calibration error" in body) == bool(metrics)
    assert ("not validated" in body) != bool(metrics)
    assert "| seconds" not in body
