"""Whole runs on a real Ray cluster: they learn what a plain loop learns, on any number of workers, and report it."""

import functools
import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForTokenClassification,
    AutoTokenizer,
    get_linear_schedule_with_warmup,
)

import mrc
from mrc import storage
from mrc.errors import RunError, UsageError
from mrc.examples import Example
from mrc.metrics import expected_calibration_error, get_scorer, score_example, score_predictions
from mrc.sources import SourceConfig, read_unit
from mrc.spans import SpanConfig
from mrc.training import Result, TrainConfig, checkpoints, plan, run, summary
from mrc.training.data import hold_out, plan_data
from mrc.training.schedule import Schedule
from mrc.windows import WindowConfig
from tests.tiny import write_model
from tests.training_data import bad_rows, make_rows, write_jsonl
from tests.zoo import write_zoo_model

pytest_plugins = ["tests.s3"]
pytestmark = pytest.mark.usefixtures("ray_cluster")

WINDOW = WindowConfig(max_seq_length=48, doc_stride=16)
SHARED: dict[str, Any] = {
    "learning_rate": 1e-3,
    "num_train_epochs": 2.0,
    "train_batch_size": 8,
    "dropout": 0.0,
    "weight_decay": 0.1,
    "max_grad_norm": 0.5,
    "warmup_ratio": 0.2,
    "precision": "float32",
    "logging_steps": 1,
    "seed": 7,
}
GOOD = make_rows(24, seed=1)


class Run(NamedTuple):
    """A finished run."""

    config: TrainConfig
    result: Result

    @property
    def output(self) -> pathlib.Path:
        return pathlib.Path(self.config.output)

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """Return the rows of one kind in the run's log."""
        lines = (self.output / "logs" / "metrics.jsonl").read_text().splitlines()
        return [row for row in map(json.loads, lines) if row["kind"] == kind]

    def last_weights(self) -> dict[str, torch.Tensor]:
        """Return the weights after the last step."""
        url, _ = checkpoints.committed(str(self.output / "checkpoints"))[-1]
        return AutoModelForQuestionAnswering.from_pretrained(f"{url}/model").state_dict()  # type: ignore[no-any-return]


def train(config: TrainConfig, *, window: WindowConfig = WINDOW, span: SpanConfig | None = None) -> Run:
    return Run(config, run(plan(config, SourceConfig(), window, span or SpanConfig())))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Return a folder with models and data."""
    folder = tmp_path_factory.mktemp("training")
    for family in ("bert", "t5"):
        write_model(folder / family, family)
    write_jsonl(folder / "train.jsonl", [*GOOD, *bad_rows()])
    write_jsonl(folder / "validation.jsonl", make_rows(12, seed=2))
    return folder


@pytest.fixture(scope="module")
def config(folder: pathlib.Path) -> functools.partial[TrainConfig]:
    """Return the config of all runs but for their differences."""
    places = {
        "model": str(folder / "bert"),
        "train_data": str(folder / "train.jsonl"),
        "validation_data": str(folder / "validation.jsonl"),
    }
    return functools.partial(TrainConfig, **{"max_reject_share": 0.2, **places, **SHARED})


@pytest.fixture(scope="module")
def one(config: functools.partial[TrainConfig], folder: pathlib.Path, ray_cluster: str) -> Run:
    """Train with one worker, each step in one pass."""
    return train(config(output=str(folder / "one")))


# What is learned


def test_two_workers_and_small_batches_learn_what_one_worker_learns(
    one: Run, config: functools.partial[TrainConfig], folder: pathlib.Path
) -> None:
    two = train(config(output=str(folder / "two"), num_workers=2, max_batch_tokens=100))
    assert_same_weights(two.last_weights(), one.last_weights())
    for name in ("loss", "learning_rate"):
        assert [row[name] for row in two.rows("train")] == pytest.approx(
            [row[name] for row in one.rows("train")], rel=1e-4
        )
    for ours, theirs in zip(two.rows("validation"), one.rows("validation"), strict=True):
        assert {name: ours[name] for name in ("exact_match", "f1", "total")} == {
            name: theirs[name] for name in ("exact_match", "f1", "total")
        }
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert ours["temperature"] == pytest.approx(theirs["temperature"], rel=1e-2)


@pytest.mark.slow
def test_two_workers_train_a_model_whose_answers_leave_parameters_out(
    config: functools.partial[TrainConfig], folder: pathlib.Path
) -> None:
    model = write_zoo_model(folder / "xlnet", "xlnet")
    trained = train(
        config(model=model, output=str(folder / "two xlnet"), num_workers=2, max_steps=3, validation_data=None)
    )
    before, after = AutoModelForQuestionAnswering.from_pretrained(model).state_dict(), trained.last_weights()
    assert "transformer.mask_emb" in (same := {name for name in before if torch.equal(before[name], after[name])})
    assert len(same) < len(before) / 2
    assert [row["step"] for row in trained.rows("train")] == [1, 2, 3]


def test_a_plain_loop_over_hugging_faces_features_learns_the_same(one: Run) -> None:
    losses, weights = plain_loop(one.config)
    assert one.result.steps == len(losses) > 10
    assert [row["loss"] for row in one.rows("train")] == pytest.approx(losses, rel=1e-4)
    assert_same_weights(one.last_weights(), weights)


def plain_loop(config: TrainConfig) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Fine-tune as run_qa does, on windows padded to one length, and return each step's loss and the last weights."""
    features, starts, ends = hugging_face_features(config.model)
    sizes = AutoConfig.from_pretrained(config.model, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    torch.manual_seed(config.seed)
    model = AutoModelForQuestionAnswering.from_pretrained(config.model, config=sizes).train()
    undecayed = ("bias", "LayerNorm.weight")
    groups = [
        {"params": [p for n, p in model.named_parameters() if n.endswith(undecayed)], "weight_decay": 0.0},
        {
            "params": [p for n, p in model.named_parameters() if not n.endswith(undecayed)],
            "weight_decay": config.weight_decay,
        },
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
    schedule = Schedule.of(config, len(starts))
    warmup = get_linear_schedule_with_warmup(optimizer, schedule.warmup_steps, schedule.total_steps)  # type: ignore[no-untyped-call]
    losses = []
    for _, windows in schedule.steps(features["attention_mask"].sum(dim=1).numpy(), start=0):
        inputs = {name: tensor[windows] for name, tensor in features.items()}
        outputs, padding = model(**inputs), inputs["attention_mask"] == 0
        start, end = (logits.masked_fill(padding, -torch.inf) for logits in (outputs.start_logits, outputs.end_logits))
        cross_entropy = torch.nn.functional.cross_entropy
        loss = (cross_entropy(start, starts[windows]) + cross_entropy(end, ends[windows])) / 2
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        optimizer.step()
        warmup.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses, model.state_dict()


def hugging_face_features(model: str) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    """Return the tokenizer's own overflow windows of the good rows, with start and end tokens as run_qa labels them."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    features = tokenizer(
        [row["question"] for row in GOOD],
        [row["context"] for row in GOOD],
        truncation="only_second",
        max_length=WINDOW.max_seq_length,
        stride=WINDOW.doc_stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding="max_length",
    )
    labels = [run_qa_label(features, i, tokenizer.cls_token_id) for i in range(len(features["input_ids"]))]
    tensors = {name: torch.tensor(features[name]) for name in ("input_ids", "attention_mask", "token_type_ids")}
    starts, ends = torch.tensor(labels).unbind(dim=1)
    return tensors, starts, ends


def run_qa_label(features: Any, i: int, cls_token_id: int) -> tuple[int, int]:
    """Return the start and end token of one window."""
    offsets, text_of = features["offset_mapping"][i], features.sequence_ids(i)
    cls_index = features["input_ids"][i].index(cls_token_id)
    answers = GOOD[features["overflow_to_sample_mapping"][i]]["answers"]
    start_char = answers["answer_start"][0]
    end_char = start_char + len(answers["text"][0])
    first, last = text_of.index(1), len(text_of) - 1 - text_of[::-1].index(1)
    if not (offsets[first][0] <= start_char and offsets[last][1] >= end_char):
        return cls_index, cls_index
    while first < len(offsets) and offsets[first][0] <= start_char:
        first += 1
    while offsets[last][1] >= end_char:
        last -= 1
    return first - 1, last + 1


def assert_same_weights(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    # Two that change no softmax: their gradients are rounding, of which Adam makes steps.
    names = [name for name in expected if not name.endswith(("key.bias", "qa_outputs.bias"))]
    ours, theirs = ({name: weights[name] for name in names} for weights in (found, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_eight_questions_are_learned_by_heart_and_then_it_stops(
    config: functools.partial[TrainConfig], folder: pathlib.Path
) -> None:
    few = write_jsonl(folder / "eight.jsonl", make_rows(8, seed=3, most_others=1))
    # By heart after 80 steps with each of three seeds: far from the schedule's end, whatever the machine's sums.
    changes = {"learning_rate": 3e-3, "num_train_epochs": 400.0, "warmup_ratio": 0.1}
    changes |= {"eval_steps": 40, "early_stopping_patience": 3}
    # One window a question: the loss does not teach the windows of a context to agree.
    learned = train(
        config(
            output=str(folder / "eight"), **{"train_data": few, "validation_data": few, "logging_steps": 40, **changes}
        ),
        window=WindowConfig(max_seq_length=96, doc_stride=16),
    )
    validations = learned.rows("validation")
    assert learned.result.train_windows == 8
    assert learned.result.metrics["f1"] == learned.result.metrics["exact_match"] == 100
    assert learned.result.steps == learned.result.best_step + 120 == validations[-1]["step"]
    assert validations[-1]["step"] < validations[-1]["total_steps"] == 400
    assert [row["step"] for row in validations if row["is_best"]][-1] == learned.result.best_step


# What is left behind


def test_the_folder_is_a_hugging_face_model_and_a_reader_that_scores_what_was_reported(one: Run) -> None:
    model = AutoModelForQuestionAnswering.from_pretrained(one.result.model)
    tokenizer = AutoTokenizer.from_pretrained(one.result.model)
    assert model(**tokenizer("Who?", "Anna.", return_tensors="pt")).start_logits.shape[0] == 1
    reader = mrc.Reader.from_pretrained(one.result.model, precision="float32")
    assert (reader.window, reader.span) == (WINDOW, SpanConfig(temperature=one.result.metrics["temperature"]))
    assert_scores(reader, one)
    card = (one.output / "model" / "README.md").read_text()
    assert f"| f1 | {one.result.metrics['f1']:.4g} |" in card


def assert_scores(reader: mrc.Reader, finished: Run) -> None:
    """Check that a reader's answers to the validation questions score what the run reported."""
    source = SourceConfig(require_answers=True)
    [unit] = plan_data(finished.config, source).validation
    examples = [item for item in read_unit(unit, source) if isinstance(item, Example)]
    predictions, scorer = reader.answer(examples), get_scorer(finished.result.scorer)
    scores = score_predictions({each.id: each.answer for each in predictions}, examples, scorer).result()
    assert scores == {name: finished.result.metrics[name] for name in scores}
    pairs = zip(predictions, examples, strict=True)
    is_right = [score_example(prediction.answer, example, scorer).exact_match for prediction, example in pairs]
    error = expected_calibration_error([prediction.probability for prediction in predictions], is_right)
    assert error == pytest.approx(finished.result.metrics["calibration_error"], abs=1e-4)
    assert finished.result.metrics["total"] == finished.result.validation_questions == len(examples)


def test_the_log_is_whole_and_tensorboard_reads_it(one: Run) -> None:
    steps, validations = one.rows("train"), one.rows("validation")
    assert [row["step"] for row in steps] == list(range(1, one.result.steps + 1))
    assert [row["epoch"] for row in validations] == [1.0, 2.0]
    board = EventAccumulator(str(one.output / "logs" / "tensorboard"))
    board.Reload()
    logged = [(event.step, event.value) for event in board.Scalars("train/loss")]
    assert logged == [(row["step"], pytest.approx(row["loss"])) for row in steps]
    assert [event.step for event in board.Scalars("validation/f1")] == [row["step"] for row in validations]


def test_rejected_rows_are_counted_and_kept_with_their_reasons(one: Run) -> None:
    assert (one.result.train_questions, one.result.rejects) == (24, 3)
    [url] = storage.list_files(str(one.output / "rejects"))
    rejects = storage.read_table(url).to_pylist()
    assert [(reject["row"], reject["id"]) for reject in rejects] == [(24, "wrong"), (25, "silent"), (26, "1-2")]
    assert len({reject["reason"] for reject in rejects}) == 3
    assert "3 rows" in summary(one.result)


def test_the_same_command_again_only_reads_the_result(one: Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in one.output.rglob("*")}
    ours = plan(one.config, SourceConfig(), WINDOW, SpanConfig())
    assert run(ours, lambda: pytest.fail("the cluster was asked")) == one.result
    assert {path: path.stat().st_mtime_ns for path in one.output.rglob("*")} == before
    assert not (one.output / "windows").exists()
    assert yaml.safe_load((one.output / "config.yaml").read_text())["learning_rate"] == one.config.learning_rate


def test_another_run_in_the_same_folder_is_refused_by_its_differences(
    one: Run, config: functools.partial[TrainConfig]
) -> None:
    with pytest.raises(UsageError, match=r"holds another run \(--doc_stride: 16 -> 8; --seed: 7 -> 8\)"):
        plan(
            config(output=one.config.output, **{"seed": 8}),
            SourceConfig(),
            WindowConfig(max_seq_length=48, doc_stride=8),
            SpanConfig(),
        )


# SQuAD 2.0 and T5


def test_a_t5_encoder_learns_with_a_tuned_null_threshold(
    config: functools.partial[TrainConfig], folder: pathlib.Path
) -> None:
    paths = [write_jsonl(folder / f"null{seed}.jsonl", make_rows(18, seed=seed, unanswerable=True)) for seed in (4, 5)]
    data = {"model": str(folder / "t5"), "train_data": paths[0], "validation_data": paths[1]}
    span = SpanConfig(version_2_with_negative=True)
    learned = train(config(output=str(folder / "t5-run"), num_workers=2, max_steps=12, **data), span=span)
    fitted = {name: learned.result.metrics[name] for name in ("null_score_diff_threshold", "temperature")}
    reader = mrc.Reader.from_pretrained(learned.result.model, precision="float32")
    assert reader.span == SpanConfig(version_2_with_negative=True, **fitted)
    assert (learned.result.scorer, learned.result.metrics["NoAns_total"]) == ("squad_v2", 6)
    assert_scores(reader, learned)
    # Answering all or nothing are thresholds too, so the tuned one is no worse.
    assert learned.result.metrics["f1"] >= 100 * 6 / 18
    elsewhere = AutoModelForTokenClassification.from_pretrained(learned.result.model)
    assert elsewhere.config.id2label == {0: "start", 1: "end"}


# What is refused


def test_more_rejects_than_allowed_stop_a_run_before_it_trains(
    config: functools.partial[TrainConfig], tmp_path: pathlib.Path
) -> None:
    with pytest.raises(
        RunError, match=r"^--train_data: 3 of 27 rows rejected \(.*\), more than --max_reject_share 0.1;"
    ):
        train(config(output=str(tmp_path), max_reject_share=0.1))
    assert not (tmp_path / "checkpoints").exists()
    assert storage.list_files(str(tmp_path / "rejects"))
    # Nothing was learned yet, so the mistake may be mended in the same folder.
    other = config(output=str(tmp_path), seed=8)
    assert plan(other, SourceConfig(), WindowConfig(max_seq_length=40, doc_stride=8), SpanConfig()).train.seed == 8


def test_other_data_than_a_checkpoint_is_of_is_refused_and_leaves_its_own_rejects_only(
    config: functools.partial[TrainConfig], tmp_path: pathlib.Path
) -> None:
    rows = make_rows(12, seed=1)
    mine = config(train_data=str(tmp_path / "data.jsonl"), output=str(tmp_path / "out"), max_reject_share=0.1)
    write_jsonl(tmp_path / "data.jsonl", [*rows, *bad_rows()[:2]])
    with pytest.raises(RunError, match="2 of 14 rows rejected"):
        train(mine)
    [rejects] = storage.list_files(f"{mine.output}/rejects")
    assert len(storage.read_table(rejects)) == 2
    write_jsonl(tmp_path / "data.jsonl", rows)
    state = checkpoints.TrainState(step=3, data={"train": "of others"})
    checkpoints.save(f"{mine.output}/checkpoints", state, lambda folder: None)
    with pytest.raises(UsageError, match=r"^the training data is not what the run in .* has a checkpoint of step 3: "):
        train(mine)
    assert not (tmp_path / "out" / "rejects" / "train").exists()
    assert len(storage.list_folders(f"{mine.output}/windows/train")) == 1


def test_starting_over_deletes_what_a_run_wrote_and_nothing_else(
    config: functools.partial[TrainConfig], tmp_path: pathlib.Path
) -> None:
    for name in ("result.json", "checkpoints/step-00000003/state.json", "notes/mine.txt"):
        storage.write_text(str(tmp_path / name), "{}")
    with pytest.raises(RunError, match="--max_reject_share"):
        train(config(output=str(tmp_path), max_reject_share=0.1, overwrite=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "notes", "rejects", "windows"]


# Holding out


def held_out(rows: Sequence[dict[str, Any]], path: pathlib.Path, **changes: Any) -> tuple[list[Any], list[Any]]:
    """Return the items, good and bad, that each side reads after a split."""
    config = TrainConfig(train_data=write_jsonl(path, rows), validation_split=0.4, split_by="context", **changes)
    data = hold_out(plan_data(config, SourceConfig()), config)
    train_items = [item for unit in data.train for item in read_unit(unit, data.train_source)]
    return train_items, [item for unit in data.validation for item in read_unit(unit, data.validation_source)]


def test_a_context_is_on_one_side_and_a_bad_row_is_rejected_once(tmp_path: pathlib.Path) -> None:
    rows = make_rows(12, seed=1)
    second = [{**row, "id": f"second {row['id']}"} for row in rows]
    again = [
        {**row, "context": rows[i - 1]["context"], "answers": rows[i - 1]["answers"]} for i, row in enumerate(rows)
    ]
    sides = held_out([*rows, *second, *bad_rows()[:2], *again], tmp_path / "data.jsonl")
    good = [[item for item in side if isinstance(item, Example)] for side in sides]
    contexts = [{example.context for example in side} for side in good]
    assert contexts[0] & contexts[1] == set()
    assert sorted(example.id for side in good for example in side) == sorted(row["id"] for row in [*rows, *second])
    assert 0.3 < len(good[1]) / 24 < 0.5
    rejected = [item.row for side in sides for item in side if not isinstance(item, Example)]
    assert sorted(rejected) == list(range(24, 38))


def test_samples_are_taken_after_the_split(tmp_path: pathlib.Path) -> None:
    sides = held_out(make_rows(20, seed=1), tmp_path / "data.jsonl", max_train_samples=5, max_eval_samples=3)
    assert list(map(len, sides)) == [5, 3]
    drawn = held_out(make_rows(20, seed=1), tmp_path / "data.jsonl", max_train_samples=5, sample_seed=2)
    assert len(drawn[0]) == 5
    assert drawn[0] != sides[0]
