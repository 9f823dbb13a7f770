"""What each step learns from: the same windows, rates and labels however a run is cut, shared out or resumed."""

import dataclasses
import functools
import math
import pathlib
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModel

from mrc import storage
from mrc.examples import Answer, Example
from mrc.models import Collator, span_loss
from mrc.sources import SourceConfig, plan_units
from mrc.training import TrainConfig
from mrc.training.feed import Feed
from mrc.training.prepare import Preparation, fingerprint, prepare_unit
from mrc.training.schedule import Schedule
from mrc.training.store import (
    LabelledWindows,
    WindowStore,
    concatenate,
    read_arrow,
    windows_from_table,
    windows_to_table,
    write_arrow,
)
from mrc.windows import PairTokenizer, WindowConfig, label_windows, make_windows
from tests.tiny import config_of, tokenizer_for
from tests.tokenizers import CORPUS
from tests.training_data import make_rows, write_jsonl

CPU = torch.device("cpu")

run_shapes = st.fixed_dictionaries(
    {
        "num_train_epochs": st.floats(0.01, 4),
        "train_batch_size": st.integers(1, 9),
        "warmup_ratio": st.floats(0, 1),
        "max_steps": st.none() | st.integers(1, 60),
        "seed": st.integers(0, 5),
    }
)


def memory_url() -> str:
    return f"memory://{uuid.uuid4().hex}"


def labelled_windows(family: str, *, seed: int = 0, num_examples: int = 6) -> LabelledWindows:
    """Return windows of examples whose answers are words of their contexts."""
    rng = np.random.default_rng(seed)
    examples = []
    for i in range(num_examples):
        context = " ".join(rng.permutation(CORPUS)[: 1 + i % 3])
        word = str(rng.choice(context.split()))
        examples.append(
            Example(
                id=str(i), question="Who?", context=context, answers=(Answer(text=word, start=context.index(word)),)
            )
        )
    windows, _ = make_windows(examples, tokenizer_for(family), WindowConfig(max_seq_length=32, doc_stride=8))
    return LabelledWindows(windows, *label_windows(windows, examples))


def assert_equal(found: LabelledWindows, expected: LabelledWindows) -> None:
    for name in ("start_positions", "end_positions"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for field in dataclasses.fields(expected.windows):
        ours, theirs = getattr(found.windows, field.name), getattr(expected.windows, field.name)
        assert (ours is None) == (theirs is None), field.name
        if theirs is not None:
            assert ours.dtype == theirs.dtype, field.name
            np.testing.assert_array_equal(ours, theirs, err_msg=field.name)


# Schedule


@given(shape=run_shapes, num_windows=st.integers(1, 40))
def test_the_learning_rate_is_that_of_transformers(shape: dict[str, Any], num_windows: int) -> None:
    schedule = Schedule.of(TrainConfig(learning_rate=3e-4, **shape), num_windows)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
    make: Any = transformers.get_linear_schedule_with_warmup
    theirs = make(optimizer, schedule.warmup_steps, schedule.total_steps)
    for step in range(schedule.total_steps):
        assert schedule.learning_rate(step) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9, abs=1e-15)
        optimizer.step()
        theirs.step()


@given(shape=run_shapes, lengths=st.lists(st.integers(1, 50), min_size=1, max_size=40), data=st.data())
def test_the_steps_from_any_start_are_the_tail_of_all(
    shape: dict[str, Any], lengths: list[int], data: st.DataObject
) -> None:
    array = np.array(lengths)
    schedule = Schedule.of(TrainConfig(**shape), len(array))
    whole = list(schedule.steps(array, start=0))
    assert [number for number, _ in whole] == list(range(schedule.total_steps))
    start = data.draw(st.integers(0, schedule.total_steps))
    tail = list(schedule.steps(array, start=start))
    assert [number for number, _ in tail] == list(range(start, schedule.total_steps))
    assert all(np.array_equal(windows, whole[number][1]) for number, windows in tail)


@given(shape=run_shapes, num_windows=st.integers(1, 40))
def test_an_epoch_is_every_window_once_and_a_run_so_many_epochs(shape: dict[str, Any], num_windows: int) -> None:
    config = TrainConfig(**shape)
    schedule = Schedule.of(config, num_windows)
    windows = [windows for _, windows in schedule.steps(np.full(num_windows, 7), start=0)]
    for first in range(0, len(windows) - schedule.steps_per_epoch + 1, schedule.steps_per_epoch):
        epoch = np.concatenate(windows[first : first + schedule.steps_per_epoch])
        assert sorted(epoch.tolist()) == list(range(num_windows))
    expected = config.max_steps or math.ceil(config.num_train_epochs * math.ceil(num_windows / config.train_batch_size))
    assert len(windows) == schedule.total_steps == expected
    assert schedule.validates_after(schedule.total_steps)


def test_epochs_have_orders_of_their_own() -> None:
    schedule = Schedule.of(TrainConfig(num_train_epochs=2, train_batch_size=50), 50)
    (_, first), (_, second) = schedule.steps(np.arange(50) % 7, start=0)
    assert first.tolist() != second.tolist()


def test_validation_comes_with_the_epochs_or_when_it_is_asked_for() -> None:
    def validations(**shape: Any) -> list[int]:
        schedule = Schedule.of(TrainConfig(train_batch_size=1, **shape), 4)
        return [done for done in range(1, schedule.total_steps + 1) if schedule.validates_after(done)]

    assert validations(num_train_epochs=2.5) == [4, 8, 10]
    assert validations(num_train_epochs=2, eval_steps=3) == [3, 6, 8]
    assert validations(max_steps=3) == [3]


# Store


@given(family=st.sampled_from(["bert", "roberta", "gpt2"]), seed=st.integers(0, 20), data=st.data())
@settings(deadline=None, max_examples=25)
def test_windows_come_back_from_their_files_as_they_were(family: str, seed: int, data: st.DataObject) -> None:
    folder = memory_url()
    parts = [labelled_windows(family, seed=seed + i, num_examples=1 + i) for i in range(3)]
    urls = [storage.join(folder, f"{i}.arrow") for i in range(3)]
    for url, part in zip(urls, parts, strict=True):
        write_arrow(url, windows_to_table(part))
        assert_equal(windows_from_table(read_arrow(url)), part)
    store, whole = WindowStore(urls), concatenate(parts)
    assert store.lengths.tolist() == whole.windows.lengths.tolist()
    chosen = data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=10, unique=True))
    first = np.cumsum([0, *map(len, parts)])
    grouped = sorted(chosen, key=lambda i: int(np.searchsorted(first, i, side="right")))
    assert_equal(store.take(np.array(chosen)), whole.take(np.array(grouped)))


def test_a_unit_without_windows_has_a_file_like_any_other(tmp_path: pathlib.Path) -> None:
    nothing = labelled_windows("bert").take(np.array([], dtype=np.int64))
    url = str(tmp_path / "nothing.arrow")
    write_arrow(url, windows_to_table(nothing))
    assert_equal(windows_from_table(read_arrow(url)), nothing)


def test_windows_have_another_name_when_anything_they_depend_on_changes() -> None:
    def name(
        *,
        tokenizer: str = "{}",
        window: int = 384,
        column: str = "id",
        without_answer: str = "null",
        stamps: Sequence[str] = ("a 1",),
    ) -> str:
        source, config = SourceConfig(id_column=column), WindowConfig(max_seq_length=window)
        return fingerprint(tokenizer, source, config, without_answer, stamps)

    others = [
        name(tokenizer="{ }"),
        name(window=256),
        name(column="key"),
        name(without_answer="ignore"),
        name(stamps=["a 2"]),
        name(stamps=["a 1", "b"]),
    ]
    assert name() == name()
    assert len({name(), *others}) == 7


def test_windows_without_their_answer_teach_the_null_position_or_are_left_out(tmp_path: pathlib.Path) -> None:
    source = SourceConfig(require_answers=True)
    [unit] = plan_units(write_jsonl(tmp_path / "rows.jsonl", make_rows(30, seed=1, unanswerable=True)), source)
    preparation = Preparation(
        side="train",
        folder=str(tmp_path / "null"),
        rejects_folder=str(tmp_path / "rejects"),
        tokenizer=PairTokenizer.of(tokenizer_for("bert")),
        source=source,
        window=WindowConfig(max_seq_length=32, doc_stride=8),
    )
    ignoring = dataclasses.replace(preparation, folder=str(tmp_path / "ignore"), windows_without_answer="ignore")
    records = [prepare_unit(unit, each) for each in (preparation, ignoring)]
    whole, kept = (windows_from_table(read_arrow(each.url(unit, "windows.arrow"))) for each in (preparation, ignoring))
    assert [record.windows for record in records] == [len(whole), len(kept)]
    assert records[1].digest != records[0].digest
    assert dataclasses.replace(records[1], windows=len(whole), digest=records[0].digest) == records[0]
    unanswerable = whole.windows.example % 3 == 0
    has_answer = whole.start_positions != whole.windows.null_index
    assert not (unanswerable & has_answer).any()
    assert_equal(kept, whole.take(np.flatnonzero(unanswerable | has_answer)))
    assert sum(unanswerable) + 20 <= len(kept) < len(whole)


@pytest.mark.parametrize("side", ["train", "validation"])
def test_a_digest_is_of_the_questions_and_not_of_their_file(side: str, tmp_path: pathlib.Path) -> None:
    def digest(rows: list[dict[str, Any]]) -> str:
        place = tmp_path / uuid.uuid4().hex
        place.mkdir()
        [unit] = plan_units(write_jsonl(place / "rows.jsonl", rows), source)
        return prepare_unit(unit, Preparation(side=side, folder=f"{place}/windows", **shared)).digest

    source = SourceConfig(require_answers=True)
    shared: dict[str, Any] = {
        "rejects_folder": str(tmp_path / "rejects"),
        "tokenizer": PairTokenizer.of(tokenizer_for("bert")),
        "source": source,
        "window": WindowConfig(),
    }
    rows = make_rows(6, seed=1)
    assert digest(rows) == digest(rows)
    second = {**rows[0], "answers": {"text": ["Anna", "letter"], "answer_start": []}}
    second["answers"]["answer_start"] = [rows[0]["context"].index(text) for text in second["answers"]["text"]]
    others = [rows[:5], rows[::-1], [{**rows[0], "question": "Who wrote?"}, *rows[1:]], [second, *rows[1:]]]
    digests = [digest(rows), *map(digest, others)]
    # A second gold answer is no other lesson, but another measure.
    assert len(set(digests)) == len(digests) - (side == "train")


# Feed


@functools.cache
def prepared(family: str) -> tuple[WindowStore, Collator]:
    """Return the windows of `labelled_windows` as a run finds them, and what makes batches of them."""
    url = storage.join(memory_url(), "w.arrow")
    write_arrow(url, windows_to_table(labelled_windows(family)))
    model = AutoModel.from_config(config_of(family))  # type: ignore[no-untyped-call]
    return WindowStore([url]), Collator(model, tokenizer_for(family), CPU)


def feed_of(family: str, config: TrainConfig, *, rank: int = 0, world_size: int = 1) -> Feed:
    store, collator = prepared(family)
    return Feed(store, Schedule.of(config, len(store.lengths)), collator, rank=rank, world_size=world_size)


def told(batches: Sequence[dict[str, torch.Tensor]]) -> list[tuple[Any, ...]]:
    """Return what batches tell of each window: its tokens, and the tokens at which its answer starts and ends."""
    rows = []
    for batch in batches:
        for i, mask in enumerate(batch["attention_mask"].bool()):
            ids = batch["input_ids"][i]
            labels = [int(batch[name][i]) for name in ("start_positions", "end_positions")]
            ends = [(label - int(mask.int().argmax()), int(ids[label])) for label in labels]
            rows.append((tuple(ids[mask].tolist()), *ends))
    return sorted(rows, key=repr)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@given(
    world_size=st.integers(1, 5),
    budget=st.sampled_from([1, 70, 4096]),
    batch_size=st.integers(1, 6),
    start=st.integers(0, 3),
)
@settings(deadline=None, max_examples=15)
def test_the_shares_of_all_workers_are_the_step(
    family: str, world_size: int, budget: int, batch_size: int, start: int
) -> None:
    config = TrainConfig(train_batch_size=batch_size, max_batch_tokens=budget, num_train_epochs=1)
    feeds = [feed_of(family, config, rank=rank, world_size=world_size) for rank in range(world_size)]
    undivided = feed_of(family, TrainConfig(train_batch_size=batch_size, num_train_epochs=1))
    for step, *shares in zip(undivided.steps(start), *(feed.steps(start) for feed in feeds), strict=True):
        for share in shares:
            assert (share.number, share.num_windows) == (step.number, step.num_windows)
        # Of more workers than windows, the last have none and a batch that counts for nothing.
        batches = [batch for share in shares[: step.num_windows] for batch in share.batches]
        assert told(batches) == told(step.batches)
        assert all(len(batch["input_ids"]) == 1 or batch["input_ids"].numel() <= budget for batch in batches)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_labels_point_at_the_same_tokens_on_either_padding_side(family: str) -> None:
    [step] = feed_of(family, TrainConfig(train_batch_size=100, num_train_epochs=1)).steps(0)
    labelled = labelled_windows(family)
    windows = labelled.windows
    expected = []
    for i, (start, end) in enumerate(zip(labelled.start_positions, labelled.end_positions, strict=True)):
        ids = windows.input_ids[windows.row_splits[i] : windows.row_splits[i + 1]].tolist()
        ends = [(int(at), ids[at]) for at in (start, end)]
        expected.append((tuple(ids), *ends))
    assert told(step.batches) == sorted(expected, key=repr)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_worker_without_a_share_has_a_loss_of_nothing(family: str) -> None:
    step = next(feed_of(family, TrainConfig(train_batch_size=1), rank=3, world_size=4).steps(0))
    [batch] = step.batches
    logits = torch.randn(batch["input_ids"].shape)
    assert span_loss(logits, logits, batch["start_positions"], batch["end_positions"], batch["attention_mask"]) == 0


def test_a_feed_passes_on_what_its_thread_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WindowStore, "take", lambda store, indices: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(feed_of("bert", TrainConfig()).steps(0))
