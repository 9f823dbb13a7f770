"""Tiny models with random weights under the tokenizers of `tests.tokenizers`, as folders that people fine-tune from."""

import copy
import pathlib
from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    AlbertConfig,
    AutoModel,
    AutoModelForSeq2SeqLM,
    BertConfig,
    DebertaConfig,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    T5Config,
    XLMRobertaConfig,
    XLNetConfig,
)

from mrc.models import load_model
from tests.tokenizers import tokenizer_of

POSITIONS = 96
"""Positions of the models that have absolute ones."""

_BERT_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": POSITIONS,
}
_DECODER_SPECIALS = {"bos_token_id": 0, "eos_token_id": 0}

_CONFIGS: dict[str, tuple[str, Callable[..., PreTrainedConfig], dict[str, Any]]] = {
    "bert": ("bert_cased", BertConfig, _BERT_SIZES),
    "electra": ("bert_uncased", ElectraConfig, {**_BERT_SIZES, "embedding_size": 32}),
    "distilbert": (
        "bert_cased",
        DistilBertConfig,
        {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "max_position_embeddings": POSITIONS},
    ),
    "albert": ("albert", AlbertConfig, {**_BERT_SIZES, "embedding_size": 16}),
    "deberta": ("deberta", DebertaConfig, _BERT_SIZES),
    "roberta": ("roberta", RobertaConfig, _BERT_SIZES),
    "xlm_roberta": ("xlm_roberta", XLMRobertaConfig, _BERT_SIZES),
    # As klue/roberta: the model has one segment, and the tokenizer gives two.
    "klue_roberta": ("bert_cased", RobertaConfig, {**_BERT_SIZES, "type_vocab_size": 1}),
    "t5": ("t5", T5Config, {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}),
    "xlnet": ("xlnet", XLNetConfig, {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64}),
    "gpt2": (
        "gpt2",
        GPT2Config,
        {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": POSITIONS, **_DECODER_SPECIALS},
    ),
    "llama": (
        "gpt2",
        LlamaConfig,
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "max_position_embeddings": POSITIONS,
            **_DECODER_SPECIALS,
        },
    ),
}

FAMILIES = tuple(_CONFIGS)
"""The models that `write_model` can make."""


def tokenizer_for(family: str) -> PreTrainedTokenizerFast:
    """Return the shared tokenizer of a model family."""
    return tokenizer_of(_CONFIGS[family][0])


def config_of(family: str, **changes: Any) -> PreTrainedConfig:
    """Return a family's tiny config, for the vocabulary of its tokenizer."""
    tokenizer = tokenizer_for(family)
    _, make, sizes = _CONFIGS[family]
    return make(**{"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, **sizes, **changes})


def write_model(folder: pathlib.Path, family: str = "bert", *, seed: int = 0, **changes: Any) -> str:
    """Write a pre-trained encoder (of T5 the whole model) and its tokenizer as a folder, and return its path.

    Args:
        folder: Made anew.
        family: One of FAMILIES.
        seed: Of the weights.
        **changes: Fields of the model's config.
    """
    config = config_of(family, **changes)
    torch.manual_seed(seed)
    auto = AutoModelForSeq2SeqLM if family == "t5" else AutoModel
    model = auto.from_config(config)  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
    save_tokenizer(tokenizer_for(family), folder)
    return str(folder)


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: pathlib.Path) -> None:
    """Write a tokenizer as it is now; by itself it writes what it was made with, not what was set since."""
    now = copy.deepcopy(tokenizer)
    now.init_kwargs |= {"padding_side": now.padding_side, "model_input_names": now.model_input_names}
    now.save_pretrained(folder)


def write_reader(folder: pathlib.Path, family: str = "bert", *, seed: int = 0, **changes: Any) -> str:
    """Write what `write_model` does with a question-answering head, as training would leave it; return its path."""
    write_model(folder, family, seed=seed, **changes)
    torch.manual_seed(seed)
    load_model(str(folder)).save_pretrained(folder)
    return str(folder)
