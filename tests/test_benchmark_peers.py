"""What mrc's speed is measured against answers and learns as Hugging Face's run_qa does."""

import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForQuestionAnswering

from benchmarks import plain_ray
from benchmarks.run_qa import RunQA, as_dataset, train
from benchmarks.run_qa_features import train_features
from mrc.batching import pad, token_mask
from mrc.examples import Answer, Example, Prediction, examples_to_table
from mrc.spans import SpanConfig, compatible_predictions
from mrc.windows import WindowConfig, Windows, make_windows
from mrc.windows.labels import label_windows
from tests.tiny import tokenizer_for, write_reader
from tests.tokenizers import CORPUS
from tests.training_data import FACTS

THREADS = torch.get_num_threads()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Return a folder with a reader and its questions."""
    folder = tmp_path_factory.mktemp("peers")
    # Large random weights: no two spans score about the same, so that rounding changes no answer.
    write_reader(folder / "reader", seed=11, initializer_range=0.4, max_position_embeddings=384)
    pq.write_table(examples_to_table(EXAMPLES), folder / "questions.parquet")
    return folder


def long_examples() -> list[Example]:
    """Return questions with contexts of one to five windows, some with white space that run_qa takes off."""
    rng = np.random.default_rng(3)
    examples = []
    for number, length in enumerate([2, 30, 12, 45, 24, 6, 33, 18]):
        question, told, answer = FACTS[number % len(FACTS)]
        context = " ".join([*rng.choice(CORPUS, length), told, *rng.choice(CORPUS, 3)])
        gold = Answer(text=answer, start=context.rindex(answer))
        examples.append(Example(id=f"q{number}", question=f"  {question}", context=context, answers=(gold,)))
    return examples


EXAMPLES = long_examples()


def windows_of(examples: Sequence[Example]) -> Windows:
    windows, rejected = make_windows(examples, tokenizer_for("bert"), WindowConfig())
    assert not rejected
    return windows


def expected(folder: pathlib.Path, config: SpanConfig) -> list[Prediction]:
    """Return what mrc's compatible decoder answers, from windows of mrc's own making."""
    windows = windows_of(EXAMPLES)
    assert windows.lengths.max() == 384
    assert np.bincount(windows.example).max() >= 3
    inputs = {"input_ids": windows.input_ids, "token_type_ids": windows.token_type_ids}
    padded = {name: torch.from_numpy(pad(ids, windows.lengths, fill=0, side="right")) for name, ids in inputs.items()}  # type: ignore[arg-type]
    mask = torch.from_numpy(token_mask(windows.lengths, "right"))
    model = AutoModelForQuestionAnswering.from_pretrained(folder / "reader").eval()
    with torch.inference_mode():
        found = model(**padded, attention_mask=mask.long())
    offsets = pad(windows.offsets, windows.lengths, fill=-1, side="right")
    start, end = found.start_logits.numpy(), found.end_logits.numpy()
    return compatible_predictions(EXAMPLES, windows.example, start, end, offsets, config=config)


@pytest.mark.parametrize(
    "nulls",
    [
        {"version_2_with_negative": False},
        {"version_2_with_negative": True},
        {"version_2_with_negative": True, "null_score_diff_threshold": -6.8},  # some questions have no answer,
    ],
)
def test_run_qa_answers_as_the_compatible_decoder(
    folder: pathlib.Path, tmp_path: pathlib.Path, nulls: dict[str, Any]
) -> None:
    peer = RunQA(str(folder / "reader"), THREADS, **nulls)
    seconds = peer.predict_parquet(str(folder / "questions.parquet"), str(tmp_path / "answers.parquet"))

    rows = pq.read_table(tmp_path / "answers.parquet").to_pylist()
    predictions = expected(folder, SpanConfig(**nulls))
    assert [(row["id"], row["answer"]) for row in rows] == [(each.id, each.answer) for each in predictions]
    assert any(each.has_answer for each in predictions)
    for row, prediction in zip(rows, predictions, strict=True):
        listed = [entry for entry in row["n_best"] if entry["text"] not in ("", "empty")]
        assert [entry["text"] for entry in listed] == [span.text for span in prediction.n_best]
        shares = [span.probability for span in prediction.n_best]
        assert [entry["probability"] for entry in listed] == pytest.approx(shares, abs=1e-4)
    assert list(seconds) == ["read", "windows", "forward", "decode", "write"]
    assert peer.start_s > 0
    assert min(seconds.values()) > 0


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.timeout(1800)
def test_plain_ray_answers_as_the_compatible_decoder(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    seconds = plain_ray.answer(
        str(folder / "reader"), str(folder / "questions.parquet"), str(tmp_path / "answers"), threads=1
    )

    rows = pq.read_table(tmp_path / "answers").to_pylist()
    predictions = expected(folder, SpanConfig())
    answers = {each.id: each.answer if each.has_answer else "" for each in predictions}
    assert {row["id"]: row["answer"] for row in rows} == answers
    assert len(rows) == len(EXAMPLES)
    scores = {each.id: each.score for each in predictions if each.has_answer}
    assert {row["id"]: row["score"] for row in rows if row["id"] in scores} == pytest.approx(scores, abs=1e-4)
    assert list(seconds) == ["start", "answer", "write"]
    assert min(seconds.values()) > 0


def test_run_qa_learns_what_mrc_learns() -> None:
    features = train_features(as_dataset(EXAMPLES)[:], tokenizer_for("bert"))

    windows = windows_of(EXAMPLES)
    starts, ends = label_windows(windows, EXAMPLES)
    assert features["start_positions"] == starts.tolist()
    assert features["end_positions"] == ends.tolist()
    assert (starts > 0).any()
    assert (starts == 0).any()


def test_run_qa_labels_the_last_token_of_a_context_as_run_qa_does() -> None:
    """The start goes astray, to the last token of the row."""
    context = "The letter was written by Anna"
    example = Example(id="1", question="Who?", context=context, answers=(Answer(text="a", start=len(context) - 1),))
    (tokens,) = windows_of([example]).lengths

    features = train_features(as_dataset([example])[:], tokenizer_for("bert"))

    assert features["start_positions"] == [383]
    assert features["end_positions"] == [tokens - 2]


def test_run_qa_trains(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    found = train(
        str(folder / "reader"),
        EXAMPLES,
        learning_rate=1e-3,
        max_steps=3,
        batch_size=4,
        seed=1,
        output_dir=str(tmp_path),
        threads=THREADS,
    )

    assert found["steps"] == len(found["losses"]) == 3
    assert all(map(math.isfinite, found["losses"]))
    assert found["windows"] == len(windows_of(EXAMPLES))
    assert found["samples_per_s"] > 0
    assert AutoModelForQuestionAnswering.from_pretrained(tmp_path).config.model_type == "bert"
