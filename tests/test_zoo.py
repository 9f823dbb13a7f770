"""Every class behind AutoModelForQuestionAnswering answers through the reader, or is refused for its reason."""

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from transformers import AttentionInterface, AutoTokenizer, CanineTokenizer, LayoutLMv2Tokenizer, LayoutLMv3Tokenizer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.auto.modeling_auto import MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES

from mrc import packing
from mrc.errors import UsageError
from mrc.examples import Example
from mrc.models import Collator, forward, load_model, span_loss
from mrc.pretrained import load_tokenizer
from mrc.probes import find_packing, has_unused_parameters, padding_shows
from mrc.reader import Reader
from mrc.windows import WindowConfig, make_windows
from tests.tokenizers import CORPUS
from tests.zoo import (
    ANSWERED,
    PACKED,
    PADDING_SHOWS,
    REFUSED,
    UNUSED_PARAMETERS,
    tiny_config,
    tokenizer_for,
    write_zoo_model,
)

SETTINGS: dict[str, Any] = {"max_seq_length": 64, "doc_stride": 16}
SHORT = Example(id="short", question="Who wrote it?", context="Anna wrote it.")
LONG = Example(id="long", question="When did the ship leave the harbour?", context=" ".join(CORPUS))
EXAMPLES = [
    SHORT,
    LONG,
    Example(id="reworded", question="Where is the river?", context=SHORT.context),
    Example(id="korean", question="배는 언제 항구를 떠났는가?", context=CORPUS[6]),
]

each_type = pytest.mark.parametrize("model_type", ANSWERED)
Open = Callable[[str], Reader]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Open:
    """Return a function that writes a model of a type and loads a reader from its folder, once."""
    loaded: dict[str, Reader] = {}

    def open_reader(model_type: str) -> Reader:
        if model_type not in loaded:
            loaded[model_type] = from_folder(write_zoo_model(tmp_path_factory.mktemp("zoo"), model_type))
        return loaded[model_type]

    return open_reader


def from_folder(path: str) -> Reader:
    return Reader.from_pretrained(path, device="cpu", precision="float32", **SETTINGS)


def test_every_type_has_one_verdict() -> None:
    known, verdicts = set(MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES), [*ANSWERED, *REFUSED]
    # An older transformers may have fewer.
    assert not known - set(verdicts), "transformers has types without a verdict: give each a tokenizer in tests/zoo.py"
    assert len(verdicts) == len(set(verdicts))
    assert set(ANSWERED) > set(PADDING_SHOWS)


@each_type
def test_short_contexts_are_one_window_and_long_ones_several(model_type: str, reader: Open) -> None:
    short, long = reader(model_type).answer([SHORT, LONG])
    assert short.num_windows == 1
    assert long.num_windows > 1
    for example, prediction in ((SHORT, short), (LONG, long)):
        assert prediction.answer == example.context[prediction.start : prediction.end] != ""
        for span in prediction.n_best:
            assert span.text == example.context[span.start : span.end]


@each_type
def test_answers_do_not_depend_on_the_batch(model_type: str, reader: Open) -> None:
    together = reader(model_type).answer(EXAMPLES)
    for example, expected in zip(EXAMPLES, together, strict=True):
        [alone] = reader(model_type).answer([example])
        assert (alone.answer, alone.start, alone.end) == (expected.answer, expected.start, expected.end)
        assert [span.score for span in alone.n_best] == pytest.approx(
            [span.score for span in expected.n_best], abs=1e-4
        )


@each_type
def test_answers_depend_on_the_question(model_type: str, reader: Open) -> None:
    asked = [Example(id=question, question=question, context=SHORT.context) for question in ("Who wrote?", "Where?")]
    one, other = reader(model_type).answer(asked)
    assert {span.text: span.score for span in one.n_best} != pytest.approx(
        {span.text: span.score for span in other.n_best}, abs=1e-3
    )


@each_type
def test_padding_shows_in_those_that_are_known_for_it(model_type: str, reader: Open) -> None:
    model, tokenizer = reader(model_type)._finder.model, reader(model_type)._tokenizer
    assert padding_shows(model, tokenizer, SETTINGS["max_seq_length"]) == (model_type in PADDING_SHOWS)


@each_type
def test_windows_share_a_row_in_those_that_are_known_for_it(model_type: str, reader: Open) -> None:
    assert (reader(model_type)._finder.collator.packing is not None) == (model_type in PACKED)


# Reformer trains on windows of one length only.
@pytest.mark.parametrize("model_type", sorted({*ANSWERED} - {"reformer"}))
def test_parameters_are_left_out_by_those_that_are_known_for_it(model_type: str, tmp_path: pathlib.Path) -> None:
    path = write_zoo_model(tmp_path, model_type)
    model, tokenizer = load_model(path), load_tokenizer(path)
    assert has_unused_parameters(model, tokenizer, SETTINGS["max_seq_length"]) == (model_type in UNUSED_PARAMETERS)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.fixture(scope="module")
def process_group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    rendezvous = tmp_path_factory.mktemp("group") / "rendezvous"
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize("model_type", ["bert", "longformer", "mixtral", *UNUSED_PARAMETERS])
def test_workers_that_share_gradients_need_to_look_for_unused_ones_just_there(
    model_type: str, tmp_path: pathlib.Path
) -> None:
    def learn(find_unused_parameters: bool) -> None:
        model = load_model(path)
        collator = Collator(model, tokenizer, torch.device("cpu"))
        windows, _ = make_windows(EXAMPLES, tokenizer, WindowConfig(**SETTINGS))
        shared = DistributedDataParallel(model, find_unused_parameters=find_unused_parameters)
        for i in range(2):
            inputs = collator.inputs(windows.take(np.array([i])))
            torch.autograd.backward(torch.cat(forward(shared, inputs)).sum())

    path = write_zoo_model(tmp_path, model_type)
    tokenizer = load_tokenizer(path)
    if model_type in UNUSED_PARAMETERS:
        with pytest.raises(RuntimeError, match="find_unused_parameters=True"):
            learn(False)
    learn(model_type in UNUSED_PARAMETERS)


# X-MOD mixes dtypes by hand, and is read in float32.
@pytest.mark.parametrize("model_type", sorted(PACKED - {"xmod"}))
def test_what_shares_a_row_does_so_in_half_precision_too(model_type: str, tmp_path: pathlib.Path) -> None:
    path = write_zoo_model(tmp_path, model_type)
    assert find_packing(load_model(path), load_tokenizer(path), SETTINGS["max_seq_length"], torch.bfloat16)


def test_a_row_that_fails_in_half_precision_is_not_read(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_a_kernel(module: Any, query: torch.Tensor, *others: Any, **options: Any) -> Any:
        if query.dtype == torch.bfloat16:
            raise RuntimeError("no kernel for this head")
        return attend(module, query, *others, **options)

    attend = ALL_ATTENTION_FUNCTIONS[packing.IMPLEMENTATION]
    path = write_zoo_model(tmp_path, "bert")
    model, tokenizer = load_model(path), load_tokenizer(path)
    AttentionInterface.register(packing.IMPLEMENTATION, without_a_kernel)
    try:
        assert find_packing(model, tokenizer, 64, torch.bfloat16) is None
        assert model.config._attn_implementation == "sdpa"
        assert find_packing(model, tokenizer, 64, torch.float32)
    finally:
        AttentionInterface.register(packing.IMPLEMENTATION, attend)


@pytest.mark.parametrize("model_type", sorted(PACKED))
def test_a_window_has_the_same_logits_packed_and_alone(model_type: str, tmp_path: pathlib.Path) -> None:
    path = write_zoo_model(tmp_path, model_type)
    tokenizer, own, packing_model = load_tokenizer(path), load_model(path), load_model(path)
    windows, _ = make_windows(EXAMPLES, tokenizer, WindowConfig(**SETTINGS))
    found = find_packing(packing_model, tokenizer, SETTINGS["max_seq_length"], torch.float32)
    # The longest window stands neither first nor last.
    order = np.argsort(-windows.lengths, kind="stable")[[1, 0, *range(2, len(windows))]]
    collator = Collator(packing_model, tokenizer, packing_model.device, found)
    inputs = collator.inputs(windows.take(order))
    assert inputs["input_ids"].shape == (1, windows.lengths.sum())
    with torch.inference_mode():
        together = torch.stack(forward(packing_model, inputs))
        for row, index in enumerate(order):
            alone = Collator(own, tokenizer, own.device).inputs(windows.take(np.array([index])))
            expected = torch.stack(forward(own, alone))[:, 0]
            torch.testing.assert_close(together[:, row, : expected.shape[1]], expected, rtol=1e-4, atol=1e-4)
            assert not together[:, row, expected.shape[1] :].any()


@pytest.mark.parametrize("model_type", ["bert", "modernbert", "mistral"])
def test_packed_windows_teach_what_padded_ones_do(model_type: str, tmp_path: pathlib.Path) -> None:
    path = write_zoo_model(tmp_path, model_type)
    tokenizer, gradients = load_tokenizer(path), []
    windows, _ = make_windows(EXAMPLES, tokenizer, WindowConfig(**SETTINGS))
    positions = torch.arange(len(windows))
    for packs in (False, True):
        model = load_model(path, dropout=0.0).train()
        found = find_packing(model, tokenizer, SETTINGS["max_seq_length"], torch.float32) if packs else None
        inputs = Collator(model, tokenizer, model.device, found).inputs(windows)
        span_loss(*forward(model, inputs), positions, positions, inputs["attention_mask"]).backward()  # type: ignore[no-untyped-call]
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    padded, packed = gradients
    assert padded.keys() == packed.keys()
    for name, gradient in padded.items():
        torch.testing.assert_close(packed[name], gradient, rtol=1e-3, atol=1e-5 + 1e-3 * float(gradient.abs().max()))


# Refusals


def own_tokenizer(model_type: str) -> Any:
    """Return a tokenizer of the class that a type's published models have, where that is what is wrong."""
    own = {"canine": CanineTokenizer, "layoutlmv2": LayoutLMv2Tokenizer, "layoutlmv3": LayoutLMv3Tokenizer}
    return own[model_type]() if model_type in own else tokenizer_for(model_type)


@pytest.mark.parametrize("model_type", REFUSED)
def test_the_others_are_refused_in_one_line(model_type: str, tmp_path: pathlib.Path) -> None:
    # Without its library LayoutLMv2 cannot even be made: any weights will do.
    write_zoo_model(tmp_path, "bert" if model_type == "layoutlmv2" else model_type)
    tiny_config(model_type).save_pretrained(tmp_path)
    own_tokenizer(model_type).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=REFUSED[model_type]) as caught:
        from_folder(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model_type", "missing", "message"),
    [
        ("xmod", "default_language", "does not read windows of text: Input language unknown"),
        ("reformer", "hash_seed", "differently each time"),
    ],
)
def test_some_answer_only_if_their_config_says_more_than_published_ones_do(
    model_type: str, missing: str, message: str, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(UsageError, match=message):
        from_folder(write_zoo_model(tmp_path, model_type, **{missing: None}))


# What single types want


def test_a_context_may_spell_a_separator(reader: Open) -> None:
    # By itself Longformer looks for exactly three, to find the question.
    spelled = Example(id="1", question="Who wrote it?", context="Anna </s> wrote it </s> in 1897.")
    [prediction] = reader("longformer").answer([spelled])
    assert prediction.answer in spelled.context


@pytest.mark.parametrize("model_type", ["big_bird", "bigbird_pegasus"])
def test_attention_does_not_turn_dense_at_some_point(model_type: str, tmp_path: pathlib.Path) -> None:
    opened = from_folder(write_zoo_model(tmp_path, model_type))
    [before] = opened.answer([LONG])
    opened.answer([SHORT])
    [after] = opened.answer([LONG])
    assert after == before


@pytest.mark.parametrize("model_type", ["gpt2", "bloom", "xlnet"])
def test_a_decoder_reads_the_question_first_whatever_its_tokenizer_says(
    model_type: str, tmp_path: pathlib.Path
) -> None:
    path = write_zoo_model(tmp_path, model_type)
    assert AutoTokenizer.from_pretrained(path).padding_side == "left"
    loaded = load_tokenizer(path)
    assert loaded.padding_side == ("left" if model_type == "xlnet" else "right")
    # What is written says so too: elsewhere the model has to be read as it was trained.
    loaded.save_pretrained(path)
    assert AutoTokenizer.from_pretrained(path).padding_side == loaded.padding_side


def test_nothing_is_left_as_the_probes_need_it(tmp_path: pathlib.Path) -> None:
    path = write_zoo_model(tmp_path, "bert")
    model = load_model(path).train()
    assert not padding_shows(model, load_tokenizer(path), 64)
    assert model.training
    assert torch.is_grad_enabled()
