"""A reader's answers depend on the example and nothing else, and its folder holds all that they depend on."""

import copy
import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mrc
from mrc import storage
from mrc.errors import UsageError
from mrc.examples import Example, Prediction
from mrc.finder import Logits
from mrc.models import forward, load_model
from mrc.pretrained import load_tokenizer
from mrc.reader import Reader
from mrc.spans import SpanConfig, are_close
from mrc.windows import WindowConfig, make_windows
from tests.tiny import FAMILIES, tokenizer_for, write_model, write_reader
from tests.tokenizers import CORPUS

WINDOW = WindowConfig(max_seq_length=48, doc_stride=8)
QUESTIONS = ["Who wrote the letter?", "배는 언제 항구를 떠났는가?", "Where?"]

Open = Callable[..., Reader]

# No sentence twice: two windows of the same tokens would tie, and rounding would choose.
contexts = st.lists(st.sampled_from([*CORPUS, "", "  ", "😀😀"]), max_size=6, unique=True).map(" ".join)
examples = st.lists(
    st.tuples(st.sampled_from(QUESTIONS), contexts),
    min_size=1,
    max_size=6,
).map(lambda texts: [Example(id=str(i), question=q, context=c) for i, (q, c) in enumerate(texts)])


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Open:
    """Return a function that opens a reader on a tiny model, loaded once, in float32."""
    loaded: dict[str, Any] = {}

    def open_reader(family: str = "bert", *, span: SpanConfig | None = None, **options: Any) -> Reader:
        if family not in loaded:
            folder = write_model(tmp_path_factory.mktemp(family), family, seed=3)
            loaded[family] = load_model(folder), load_tokenizer(folder)
        model, tokenizer = loaded[family]
        return Reader(model, tokenizer, WINDOW, span or SpanConfig(), **{"precision": "float32", **options})

    return open_reader


def assert_same(found: list[Prediction], expected: list[Prediction]) -> None:
    """Compare answers to the character, and what is computed up to rounding."""
    for one, other in zip(found, expected, strict=True):
        for name in ("id", "answer", "start", "end", "has_answer", "num_windows"):
            assert getattr(one, name) == getattr(other, name)
        for name in ("score", "probability", "null_score"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-4)
        assert len(one.n_best) == len(other.n_best)


@pytest.mark.parametrize("family", ["bert", "gpt2", "xlnet"])
@settings(max_examples=12, deadline=None)
@given(asked=examples, budget=st.sampled_from([1, 60, 200, 4096]), seed=st.integers(0, 99))
def test_an_answer_depends_on_its_example_alone(
    family: str, asked: list[Example], budget: int, seed: int, reader: Open
) -> None:
    order = np.random.default_rng(seed).permutation(len(asked))
    together = reader(family, max_batch_tokens=budget).answer([asked[i] for i in order])
    alone = [reader(family).answer([example])[0] for example in asked]
    assert_same(together, [alone[i] for i in order])


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=8, deadline=None)
@given(asked=examples)
def test_every_family_answers_with_text_of_the_context(family: str, asked: list[Example], reader: Open) -> None:
    for example, prediction in zip(asked, reader(family).answer(asked), strict=True):
        assert prediction.id == example.id
        assert prediction.has_answer == bool(prediction.n_best)
        # A context that is all spaces has no answer; one of words has one.
        assert prediction.has_answer == bool(example.context.strip())
        if prediction.has_answer:
            assert prediction.answer == example.context[prediction.start : prediction.end]
            assert prediction.score == prediction.n_best[0].score
        for span in prediction.n_best:
            assert span.text == example.context[span.start : span.end] == span.text.strip() != ""


def test_no_examples_have_no_answers(reader: Open) -> None:
    assert reader().answer([]) == []


def test_a_question_that_is_too_long_is_refused_by_its_id(reader: Open) -> None:
    long = Example(id="q7", question="why " * 60, context=" ".join(CORPUS))
    with pytest.raises(UsageError, match=r"^example 'q7': question_too_long: "):
        reader().answer([long])


def test_a_look_sees_the_logits_of_every_window_once(reader: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mrc.finder._WINDOWS_AT_ONCE", 4)
    asked = [Example(id=str(n), question="Who?", context=" ".join(CORPUS[:n])) for n in range(1, 8)]
    windows, _ = make_windows(asked, tokenizer_for("gpt2"), WINDOW)
    seen: list[Logits] = []
    reader("gpt2", max_batch_tokens=100).read(asked, windows, look=seen.append)
    assert len(seen) > 1
    assert sorted(np.concatenate([logits.windows for logits in seen]).tolist()) == list(range(len(windows)))
    for logits in seen:
        assert logits.attention_mask.sum(dim=1).tolist() == windows.lengths[logits.windows].tolist()
        assert logits.start.shape == logits.end.shape == logits.attention_mask.shape
        assert logits.start.dtype == logits.end.dtype == torch.float32


def test_reading_turns_dropout_off(reader: Open) -> None:
    opened = reader()
    asked = [Example(id="1", question="Who?", context=CORPUS[0])]
    expected = opened.answer(asked)
    opened._finder.model.train()
    assert opened.answer(asked) == expected


def test_half_precision_still_sums_logits_in_float32(reader: Open) -> None:
    asked = [Example(id=str(n), question="Who wrote the letter?", context=text) for n, text in enumerate(CORPUS)]
    full = reader(precision="float32").answer(asked)
    half = reader(precision="bfloat16").answer(asked)
    assert [one.score for one in half] == pytest.approx([one.score for one in full], abs=0.05)
    # Sums rounded to bfloat16 would be. Many are asked for: a sum of two bfloat16 is one too now and then.
    scores = torch.tensor([span.score for one in half for span in one.n_best], dtype=torch.float64)
    assert not torch.equal(scores, scores.bfloat16().double())


# The folder


@pytest.mark.parametrize("family", ["bert", "t5", "gpt2", "xlnet"])
def test_a_saved_reader_loads_with_its_settings_and_answers_the_same(
    family: str, reader: Open, tmp_path: pathlib.Path
) -> None:
    span = SpanConfig(n_best_size=3, version_2_with_negative=True, null_score_diff_threshold=-0.25, temperature=1.5)
    saved = reader(family, span=span)
    saved.save_pretrained(tmp_path)
    loaded = mrc.Reader.from_pretrained(str(tmp_path), precision="float32")
    assert (loaded.window, loaded.span, loaded.padding_side) == (WINDOW, span, saved.padding_side)
    asked = [Example(id=str(n), question=QUESTIONS[n % 3], context=" ".join(CORPUS[n:])) for n in range(6)]
    assert_same(loaded.answer(asked), saved.answer(asked))


def test_the_temperature_of_the_folder_makes_its_probabilities(reader: Open, tmp_path: pathlib.Path) -> None:
    reader(span=SpanConfig(n_best_size=5, temperature=0.25)).save_pretrained(tmp_path)
    asked = [Example(id=str(n), question=QUESTIONS[n % 3], context=" ".join(CORPUS[n:])) for n in range(4)]
    sure, plain = Reader.from_pretrained(str(tmp_path)), Reader.from_pretrained(str(tmp_path), temperature=1.0)
    for found, expected in zip(sure.answer(asked), plain.answer(asked), strict=True):
        assert [span.text for span in found.n_best] == [span.text for span in expected.n_best]
        powers = np.array([span.probability for span in expected.n_best]) ** 4
        assert [span.probability for span in found.n_best] == pytest.approx(powers / powers.sum())
        assert found.probability > expected.probability


def test_settings_of_the_folder_can_be_overridden_by_name(reader: Open, tmp_path: pathlib.Path) -> None:
    reader().save_pretrained(tmp_path)
    loaded = Reader.from_pretrained(str(tmp_path), doc_stride=4, n_best_size=7)
    assert loaded.window == WindowConfig(max_seq_length=WINDOW.max_seq_length, doc_stride=4)
    assert loaded.span == SpanConfig(n_best_size=7)


def test_an_unknown_setting_is_refused_before_the_model_is_loaded(tmp_path: pathlib.Path) -> None:
    with pytest.raises(UsageError, match="unknown setting max_lenght: the settings are max_seq_length"):
        Reader.from_pretrained(str(tmp_path), max_lenght=3)


def test_settings_of_a_later_version_are_passed_over(reader: Open, tmp_path: pathlib.Path) -> None:
    reader().save_pretrained(tmp_path)
    settings_file = tmp_path / "reader.json"
    settings_file.write_text(json.dumps({**json.loads(settings_file.read_text()), "of_a_later_version": 1}))
    assert Reader.from_pretrained(str(tmp_path)).window == WINDOW


def test_a_folder_without_settings_gets_the_defaults_if_its_model_takes_them(tmp_path: pathlib.Path) -> None:
    path = write_reader(tmp_path, "t5")
    assert Reader.from_pretrained(path).window == WindowConfig()
    with pytest.raises(UsageError, match="--max_seq_length 384: the model takes windows of at most 96 tokens"):
        Reader.from_pretrained(write_reader(tmp_path / "bert"))


def test_an_encoder_that_was_not_trained_to_answer_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(UsageError, match=r"no question-answering head \(qa_outputs.bias, .* random; fine-tune it"):
        Reader.from_pretrained(write_model(tmp_path))


def test_a_reader_loads_from_any_url(reader: Open, tmp_path: pathlib.Path) -> None:
    reader().save_pretrained(tmp_path)
    storage.upload_tree(tmp_path, "memory://readers/one")
    assert Reader.from_pretrained("memory://readers/one").window == WINDOW
    with pytest.raises(UsageError, match="memory://readers/two"):
        Reader.from_pretrained("memory://readers/two")


def test_batches_that_do_not_fit_into_memory_are_read_in_halves(reader: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [
        Example(id=str(i), question=QUESTIONS[0], context=f"{i} " + " ".join(CORPUS[: i % 4 + 1])) for i in range(12)
    ]
    expected = reader().answer(asked)
    refused: list[int] = []

    def forward_in_little_memory(model: Any, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        if len(inputs["attention_mask"]) > most:
            refused.append(len(inputs["attention_mask"]))
            raise torch.OutOfMemoryError("out of memory")
        return forward(model, inputs)

    monkeypatch.setattr("mrc.finder.forward", forward_in_little_memory)
    most = 3
    assert_same(reader().answer(asked), expected)
    assert refused
    most = 0
    with pytest.raises(torch.OutOfMemoryError):
        reader().answer(asked)


# Bfloat16 and float32


def write_many(tmp_path: pathlib.Path) -> tuple[str, list[Example]]:
    """Write a reader whose logits are so alike that bfloat16 picks other answers, and ask it much.

    Its logits are about 3, where bfloat16 counts in 64ths, so that it picks others on every processor and with every
    vocabulary (trained WordPiece differs from run to run).
    """
    path = write_reader(tmp_path, "bert")
    model = load_model(path)
    torch.nn.init.constant_(model.get_parameter("qa_outputs.bias"), 3.0)
    model.save_pretrained(path)
    words = " ".join(CORPUS).split()
    contexts = [" ".join(words[at : at + 40]) for at in range(len(words) - 40)]
    return path, [Example(id=f"{i}-{q}", question=q, context=c) for i, c in enumerate(contexts) for q in QUESTIONS]


def open_reader(path: str, **options: Any) -> Reader:
    return Reader.from_pretrained(path, max_seq_length=64, doc_stride=16, **options)


def places(predictions: list[Prediction]) -> list[tuple[int, int]]:
    return [(prediction.start, prediction.end) for prediction in predictions]


def test_a_reader_that_is_loaded_has_the_weights_of_its_precision(tmp_path: pathlib.Path) -> None:
    path, asked = write_many(tmp_path)
    half, full = (open_reader(path, precision=name) for name in ("bfloat16", "float32"))
    assert half._finder._first.model.dtype == torch.bfloat16
    assert full._finder._first.model.dtype == torch.float32
    scores = [[prediction.score for prediction in reader.answer(asked)] for reader in (half, full)]
    assert scores[0] == pytest.approx(scores[1], abs=0.1)
    assert scores[0] != scores[1]


def test_an_exact_reader_gives_float32s_answers_where_bfloat16s_are_close(tmp_path: pathlib.Path) -> None:
    path, asked = write_many(tmp_path)
    expected = places(open_reader(path, precision="float32").answer(asked))
    assert places(open_reader(path, precision="bfloat16").answer(asked)) != expected
    exact = open_reader(path, precision="bfloat16", exact=True, exact_margin=0.05)
    assert places(exact.answer(asked)) == expected
    windows, _ = make_windows(asked, exact._tokenizer, exact.window)
    again = exact.read(asked, windows).read_again
    assert again.shape == (len(asked),)
    assert again.any()


def test_only_what_is_close_is_read_again(tmp_path: pathlib.Path) -> None:
    path, asked = write_many(tmp_path)
    half = open_reader(path, precision="bfloat16")
    windows, _ = make_windows(asked, half._tokenizer, half.window)
    close = are_close(half.read(asked, windows), 0.02, half.span)
    exact = open_reader(path, precision="bfloat16", exact=True, exact_margin=0.02)
    again = exact.read(asked, windows).read_again
    assert again.tolist() == close.tolist()
    assert again.any()
    assert not again.all()
    full = open_reader(path, precision="float32")
    for merged, chosen in ((half.read(asked, windows), ~again), (full.read(asked, windows), again)):
        first = merged.row_splits[:-1][chosen]
        both = exact.read(asked, windows)
        assert both.score[both.row_splits[:-1][chosen]].tolist() == pytest.approx(
            merged.score[first].tolist(), abs=1e-4
        )


def test_a_margin_is_measured_in_rounding_errors(tmp_path: pathlib.Path) -> None:
    path, asked = write_many(tmp_path)
    head = load_model(path)
    margins = []
    for scale in (1.0, 8.0):
        model = copy.deepcopy(head)
        for parameter in model.get_submodule("qa_outputs").parameters():
            parameter.data *= scale
        model.save_pretrained(path)
        exact = open_reader(path, precision="bfloat16", exact=True)
        margins.append(exact._finder.exact_margin)
        assert places(exact.answer(asked)) == places(open_reader(path, precision="float32").answer(asked))
    assert margins[1] == pytest.approx(8 * margins[0], rel=0.3)
    assert 0 < margins[0] < 1


def test_a_margin_changes_nothing_in_float32(tmp_path: pathlib.Path) -> None:
    path, asked = write_many(tmp_path)
    plain, exact = (open_reader(path, precision="float32", exact=exact, exact_margin=9.0) for exact in (False, True))
    assert plain.answer(asked) == exact.answer(asked)


def test_one_best_span_is_enough_to_be_exact(tmp_path: pathlib.Path) -> None:
    path, asked = write_many(tmp_path)
    exact = open_reader(path, precision="bfloat16", exact=True, exact_margin=0.05, n_best_size=1)
    assert places(exact.answer(asked)) == places(open_reader(path, precision="float32").answer(asked))
    assert all(len(prediction.n_best) == 1 for prediction in exact.answer(asked))
