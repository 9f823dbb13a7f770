"""Models of every family load, take windows as their tokenizer makes them, and lose what Hugging Face's own would."""

import copy
import pathlib
import time
from collections.abc import Callable
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForTokenClassification,
    ByT5Tokenizer,
    PreTrainedModel,
    T5ForConditionalGeneration,
    T5ForTokenClassification,
)

from mrc.errors import UsageError
from mrc.examples import Example
from mrc.models import (
    IGNORED,
    Collator,
    autocast,
    forward,
    load_model,
    resolve_precision,
    set_dropout,
    span_loss,
)
from mrc.precision import usable_precision
from mrc.pretrained import load_tokenizer
from mrc.probes import check_fits
from mrc.windows import WindowConfig, Windows, make_windows
from tests.tiny import FAMILIES, POSITIONS, config_of, tokenizer_for, write_model
from tests.tokenizers import CORPUS, tokenizer_of

CPU = torch.device("cpu")
CONFIG = WindowConfig(max_seq_length=48, doc_stride=8)

each_family = pytest.mark.parametrize("family", FAMILIES)
Write = Callable[..., str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """Return a function that writes each tiny model once."""
    written: dict[str, str] = {}

    def write(family: str) -> str:
        if family not in written:
            written[family] = write_model(tmp_path_factory.mktemp(family), family)
        return written[family]

    return write


def load_for_reading(path: str) -> PreTrainedModel:
    """Load a model with its dropout off."""
    model = load_model(path)
    model.train(mode=False)
    return model


def windows_of(family: str, *sizes: int) -> Windows:
    """Return one window for each size, in words of its context."""
    words = " ".join(CORPUS).split()
    examples = [Example(id=str(size), question="Who left?", context=" ".join(words[:size])) for size in sizes]
    windows, _ = make_windows(examples, tokenizer_for(family), WindowConfig(max_seq_length=POSITIONS, doc_stride=8))
    return windows.take(np.unique(windows.example, return_index=True)[1])


# Loading


@each_family
def test_a_pre_trained_encoder_gets_a_head_and_float32_logits(family: str, folder: Write) -> None:
    model = load_for_reading(folder(family))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    windows = windows_of(family, 3, 8, 5)
    inputs = Collator(model, tokenizer_for(family), CPU).inputs(windows)
    with torch.inference_mode(), autocast(model, usable_precision(model, "auto")):
        logits = forward(model, inputs)
    for tensor in logits:
        assert tensor.shape == (3, windows.lengths.max())
        assert tensor.dtype == torch.float32
        assert tensor.isfinite()[inputs["attention_mask"] == 1].all()


@each_family
def test_the_loaded_tokenizer_makes_the_windows_of_the_saved_one(family: str, folder: Write) -> None:
    loaded, saved = load_tokenizer(folder(family)), copy.deepcopy(tokenizer_for(family))
    # A decoder has to read the question first.
    saved.padding_side = "left" if family == "xlnet" else "right"
    examples = [Example(id="1", question="Who left?", context=" ".join(CORPUS))]
    (ours, _), (expected, _) = (make_windows(examples, tokenizer, CONFIG) for tokenizer in (loaded, saved))
    assert ours.input_ids.tolist() == expected.input_ids.tolist()
    assert ours.null_index.tolist() == expected.null_index.tolist()
    assert loaded.padding_side == saved.padding_side


def test_a_t5_reader_is_the_encoder_of_the_folder_under_a_linear_head(folder: Write) -> None:
    model = load_model(folder("t5"))
    assert isinstance(model, T5ForTokenClassification)
    expected = T5ForConditionalGeneration.from_pretrained(folder("t5")).encoder.state_dict()
    encoder = model.transformer.encoder.state_dict()
    assert encoder.keys() == expected.keys()
    assert all(torch.equal(encoder[name], expected[name]) for name in expected)
    assert isinstance(model.classifier, torch.nn.Linear)
    assert model.config.id2label == {0: "start", 1: "end"}
    assert not any("decoder" in name for name, _ in model.named_parameters())


@pytest.mark.parametrize("family", ["bert", "t5", "gpt2"])
def test_a_saved_reader_loads_elsewhere_with_equal_logits(family: str, folder: Write, tmp_path: pathlib.Path) -> None:
    model = load_for_reading(folder(family))
    model.save_pretrained(tmp_path)
    auto = AutoModelForTokenClassification if family == "t5" else AutoModelForQuestionAnswering
    elsewhere = auto.from_pretrained(tmp_path)
    inputs = Collator(model, tokenizer_for(family), CPU).inputs(windows_of(family, 4, 9))
    with torch.inference_mode():
        for ours, theirs in zip(forward(model, inputs), forward(elsewhere, inputs), strict=True):
            assert torch.equal(ours, theirs)


def test_the_seed_decides_the_fresh_head(folder: Write) -> None:
    heads = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        heads.append(load_model(folder("bert")).state_dict()["qa_outputs.weight"])
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


@pytest.mark.parametrize("load", [load_model, load_tokenizer])
@pytest.mark.parametrize("name", ["absent/folder", "no-such-model", "{tmp}/absent", "{tmp}"])
def test_a_model_that_is_not_there_is_refused_in_one_line_at_once(
    load: Callable[[str], Any], name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    began = time.perf_counter()
    with pytest.raises(UsageError) as caught:
        load(name.format(tmp=tmp_path))
    message = str(caught.value)
    assert message.startswith(f"--model {name.format(tmp=tmp_path)}: ")
    assert "\n" not in message
    assert time.perf_counter() - began < 5


def test_a_slow_tokenizer_is_refused(tmp_path: pathlib.Path) -> None:
    config_of("t5").save_pretrained(tmp_path)
    ByT5Tokenizer().save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="offsets"):
        load_tokenizer(str(tmp_path))


def test_a_model_without_a_question_answering_head_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(UsageError, match="AutoModelForQuestionAnswering"):
        load_model(str(tmp_path))


# What fits


@pytest.mark.parametrize(
    ("family", "limit", "changes"),
    [
        ("bert", POSITIONS, {}),
        ("gpt2", POSITIONS, {}),
        # RoBERTa's positions begin behind its padding id.
        ("roberta", 64, {"max_position_embeddings": 66, "pad_token_id": 1}),
    ],
)
def test_the_position_limit_is_found_by_reading(
    family: str, limit: int, changes: dict[str, int], tmp_path: pathlib.Path
) -> None:
    model = load_for_reading(write_model(tmp_path, family, **changes))
    check_fits(model, tokenizer_for(family), limit)
    with pytest.raises(UsageError, match=rf"^--max_seq_length {limit + 40}: .* at most {limit} tokens$"):
        check_fits(model, tokenizer_for(family), limit + 40)


@pytest.mark.parametrize("family", ["t5", "xlnet"])
def test_relative_positions_have_no_limit(family: str, folder: Write) -> None:
    check_fits(load_for_reading(folder(family)), tokenizer_for(family), 10 * POSITIONS)


def test_a_tokenizer_larger_than_the_embeddings_is_refused(tmp_path: pathlib.Path) -> None:
    model = load_model(write_model(tmp_path, vocab_size=50))
    with pytest.raises(UsageError, match=r"tokens and its model embeds only 50"):
        check_fits(model, tokenizer_for("bert"), 16)


# Dropout and precision


@each_family
def test_dropout_is_set_whatever_a_family_calls_it(family: str, folder: Write) -> None:
    inputs = Collator(load_model(folder(family)), tokenizer_for(family), CPU).inputs(windows_of(family, 6))

    def passes(dropout: float) -> list[torch.Tensor]:
        model = load_model(folder(family), dropout=dropout).train()
        return [forward(model, inputs)[0].detach() for _ in range(2)]

    still, again = passes(0.0)
    assert torch.equal(still, again)
    moved, differently = passes(0.5)
    assert not torch.equal(moved, differently)


def test_set_dropout_leaves_all_else() -> None:
    config = config_of("bert")
    before = config.to_dict()
    set_dropout(config, 0.25)
    changed = {name for name, value in config.to_dict().items() if value != before[name]}
    assert changed == {"hidden_dropout_prob", "attention_probs_dropout_prob"}


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_a_named_precision_is_that_precision(name: str) -> None:
    assert resolve_precision(name, CPU) == getattr(torch, name)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^--precision fp16: "):
        resolve_precision("fp16", CPU)


@pytest.mark.parametrize("native", [True, False])
def test_auto_is_what_the_hardware_computes_in(native: bool, monkeypatch: pytest.MonkeyPatch, folder: Write) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": native, "amx_bf16": False})
    expected = torch.bfloat16 if native else torch.float32
    assert resolve_precision("auto", CPU) == expected
    assert usable_precision(load_model(folder("bert")), "auto") == expected
    # Its attention mixes dtypes by hand, and fails under autocast.
    assert usable_precision(load_model(folder("deberta")), "auto") == torch.float32


# Batches


@each_family
def test_padding_changes_no_logit(family: str, folder: Write) -> None:
    model = load_for_reading(folder(family))
    collator = Collator(model, tokenizer_for(family), CPU)
    windows = windows_of(family, 2, 9, 5)
    with torch.inference_mode():
        together = collator.inputs(windows)
        padded = [logits[together["attention_mask"] == 1] for logits in forward(model, together)]
        alone = [forward(model, collator.inputs(windows.take(np.array([i])))) for i in range(3)]
    for which in (0, 1):
        torch.testing.assert_close(padded[which], torch.cat([logits[which][0] for logits in alone]))


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_the_collator_pads_on_the_side_of_the_tokenizer(family: str, folder: Write) -> None:
    collator = Collator(load_model(folder(family)), tokenizer_for(family), CPU)
    windows = windows_of(family, 2, 9)
    inputs = collator.inputs(windows)
    short, long = windows.lengths
    expected = [1] * short + [0] * (long - short)
    mask = inputs["attention_mask"]
    assert mask[0].tolist() == (expected[::-1] if collator.padding_side == "left" else expected)
    assert inputs["input_ids"][mask == 1].tolist() == windows.input_ids.tolist()
    assert {int(token) for token in inputs["input_ids"][mask == 0]} == {tokenizer_for(family).pad_token_id}


@pytest.mark.parametrize(
    ("model_family", "tokenizer_family", "given"),
    [
        ("bert", "bert_cased", True),
        ("bert", "roberta", False),  # the tokenizer gives none: all zero
        ("distilbert", "bert_cased", False),  # the model takes none
        ("klue_roberta", "bert_cased", False),  # the model has one segment
        ("roberta", "roberta", False),
        ("xlnet", "xlnet", True),
        ("gpt2", "gpt2", False),
    ],
)
def test_token_types_go_only_where_tokenizer_and_model_have_them(
    model_family: str, tokenizer_family: str, given: bool, folder: Write
) -> None:
    tokenizer = tokenizer_of(tokenizer_family)
    examples = [Example(id="1", question="Who left?", context="Anna left.")]
    windows, _ = make_windows(examples, tokenizer, CONFIG)
    inputs = Collator(load_model(folder(model_family)), tokenizer, CPU).inputs(windows)
    assert ("token_type_ids" in inputs) == given
    if given:
        expected = (
            tokenizer("Who left?", "Anna left.") if model_family == "bert" else tokenizer("Anna left.", "Who left?")
        )
        assert inputs["token_type_ids"][0].tolist() == expected["token_type_ids"]


# The loss


@st.composite
def batches(draw: st.DrawFn) -> dict[str, torch.Tensor]:
    """Draw the arguments of span_loss for windows of any lengths, padded on the right."""
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    seed = draw(st.integers(0, 1000))
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    positions = [[draw(st.sampled_from([*range(length), IGNORED])) for length in lengths] for _ in range(2)]
    return {
        "start_logits": 5 * torch.randn(shape, generator=generator),
        "end_logits": 5 * torch.randn(shape, generator=generator),
        "start_positions": torch.tensor(positions[0]),
        "end_positions": torch.tensor(positions[1]),
        "attention_mask": (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long(),
    }


@settings(deadline=None, max_examples=50)
@given(batches(), st.integers(0, 3))
def test_the_loss_is_a_sum_over_windows_whatever_the_padding(batch: dict[str, torch.Tensor], more: int) -> None:
    wider = {
        name: tensor if name.endswith("positions") else torch.nn.functional.pad(tensor, (0, more))
        for name, tensor in batch.items()
    }
    alone = [
        span_loss(**{name: tensor[i : i + 1] for name, tensor in batch.items()})
        for i in range(len(batch["start_logits"]))
    ]
    torch.testing.assert_close(span_loss(**wider), torch.stack(alone).sum())


@settings(deadline=None, max_examples=50)
@given(batches())
def test_ignored_windows_add_nothing_and_get_no_gradient(batch: dict[str, torch.Tensor]) -> None:
    nothing = torch.full_like(batch["start_positions"], IGNORED)
    logits = batch["start_logits"].clone().requires_grad_()
    loss = span_loss(**{**batch, "start_logits": logits, "start_positions": nothing, "end_positions": nothing})
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@settings(deadline=None, max_examples=50)
@given(batches())
def test_padding_gets_no_gradient(batch: dict[str, torch.Tensor]) -> None:
    logits = batch["start_logits"].clone().requires_grad_()
    span_loss(**{**batch, "start_logits": logits}).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert not logits.grad[batch["attention_mask"] == 0].any()


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "gpt2", "llama", "electra"])
def test_the_mean_loss_is_hugging_faces_own_where_nothing_is_padded(family: str, folder: Write) -> None:
    model: PreTrainedModel = load_for_reading(folder(family))
    inputs = Collator(model, tokenizer_for(family), CPU).inputs(windows_of(family, 6, 6, 6))
    starts, ends = torch.tensor([0, 3, 5]), torch.tensor([0, 6, 5])
    expected = model(**inputs, start_positions=starts.clone(), end_positions=ends.clone()).loss
    ours = span_loss(*forward(model, inputs), starts, ends, inputs["attention_mask"]) / 3
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("fresh_head", [True, False])
def test_an_encoder_that_lacks_weights_is_refused(fresh_head: bool, tmp_path: pathlib.Path) -> None:
    """As one is whose config.json is another model's; transformers would put random numbers in their place."""
    path = write_model(tmp_path / "bert")
    weights = load_file(f"{path}/model.safetensors")
    lost = next(name for name in weights if name.endswith("layer.1.attention.self.query.weight"))
    save_file({name: tensor for name, tensor in weights.items() if name != lost}, f"{path}/model.safetensors")
    with pytest.raises(UsageError, match=r"lacks 1 weights of its encoder, such as bert\.encoder\.layer\.1\.attention"):
        load_model(path, fresh_head=fresh_head)
