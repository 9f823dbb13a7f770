"""A tiny model of every type that AutoModelForQuestionAnswering has, or the reason why there can be none.

A config is made of sizes by the names that configs have for them, which are few; what a type wants besides stands in
_PECULIAR. Weights are random, but large: as models begin, their logits are so alike that nothing wrong would show.
"""

import functools
import pathlib
from typing import Any

import torch
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    SplinterTokenizer,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from mrc.pretrained import is_t5_family
from tests.tiny import POSITIONS, save_tokenizer
from tests.tokenizers import CORPUS, VOCAB_SIZE, tokenizer_of

_TOKENIZERS = {
    "bert_cased": """
        bert convbert distilbert electra ernie megatron-bert nystromformer flaubert roc_bert roformer xlm markuplm
    """,
    "bert_uncased": "funnel mobilebert mpnet squeezebert",
    "roberta": """
        bart data2vec-text ibert led lilt longformer luke modernbert mvp roberta roberta-prelayernorm ultrabert
    """,
    "xlm_roberta": "camembert jina_embeddings_v3 mbart xlm-roberta xlm-roberta-xl xmod",
    "albert": "albert big_bird deberta-v2 fnet rembert yoso",
    "deberta": "deberta",
    "t5": "bigbird_pegasus mt5 reformer t5 umt5",
    "xlnet": "xlnet",
    "splinter": "splinter",
    "gpt2": """
        arcee bloom diffllama exaone4 falcon gpt2 gpt_neo gpt_neox gptj llama minimax ministral ministral3 mistral
        mixtral mpt nemotron opt qwen2 qwen2_moe qwen3 qwen3_moe qwen3_next seed_oss smollm3
    """,
}
_TOKENIZER_OF = {model_type: family for family, types in _TOKENIZERS.items() for model_type in types.split()}

ANSWERED = tuple(sorted(_TOKENIZER_OF))
"""The model types that answer."""

PADDING_SHOWS = {
    "convbert": "its convolution reads padding",
    "fnet": "its Fourier transform mixes all positions, and it takes no mask",
    "funnel": "its pooling averages padding in, and its positions depend on the length",
    "mobilebert": "it reads each token with its neighbours, and the last token's is padding",
    "nystromformer": "its convolution reads padding",
    "reformer": "its first chunk of tokens looks back at the last, which is padding",
    "yoso": "the mask that transformers now makes overflows in it",
}
"""Those of ANSWERED that are read in batches of equal lengths, and why."""

PACKED = frozenset(
    """
        albert arcee bert camembert data2vec-text diffllama distilbert electra ernie exaone4 gpt2 gpt_neox
        jina_embeddings_v3 llama markuplm ministral ministral3 mistral mixtral modernbert nemotron opt qwen2 qwen2_moe
        qwen3 qwen3_moe roberta roberta-prelayernorm roc_bert seed_oss smollm3 ultrabert xlm-roberta xlm-roberta-xl xmod
    """.split()
)
"""Those of ANSWERED whose windows share a row without padding."""

UNUSED_PARAMETERS = {
    "fnet": "a pooler",
    "lilt": "the last layer's layout",
    "luke": "entities",
    "markuplm": "an embedding of XPaths",
    "roformer": "positions that are computed",
    "squeezebert": "a pooler",
    "xlnet": "the embedding of a mask",
}
"""Those of ANSWERED whose answers leave parameters out, and which."""

REFUSED = {
    "canine": "not a fast one",  # its tokens are code points
    "layoutlmv2": "detectron2|bounding boxes",  # the library where it is missing, else boxes
    "layoutlmv3": "bounding boxes",
    "lxmert": "visual_feats",  # it reads an image too, and picks its answer from a list
    "mra": "reads each token by itself",  # without its CUDA kernel transformers gives zeros for its attention
}
"""The model types that cannot answer, with what the error says."""


def _named(names: str, value: Any) -> dict[str, Any]:
    return dict.fromkeys(names.split(), value)


_SIZES = {
    # Width
    **_named("hidden_size d_model n_embd dim emb_dim embedding_size input_embedding_size output_embedding_size", 32),
    **_named("word_embed_proj_dim true_hidden_size intra_bottleneck_size pooler_hidden_size prediction_head_size", 32),
    **_named("pronunciation_embed_dim shape_embed_dim entity_emb_size", 32),
    **_named("intermediate_size moe_intermediate_size shared_expert_intermediate_size feed_forward_size", 64),
    **_named("d_ff d_inner hidden_dim ffn_dim ffn_hidden_size encoder_ffn_dim decoder_ffn_dim", 64),
    # Depth
    **_named("num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers num_decoder_layers", 2),
    **_named("l_layers r_layers x_layers", 2),
    # Heads
    **_named("num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads", 2),
    **_named("num_key_value_heads num_kv_heads linear_num_key_heads linear_num_value_heads", 2),
    **_named("head_dim d_head d_kv attention_head_size linear_key_head_dim linear_value_head_dim", 16),
    **_named("num_experts num_local_experts", 4),
    "num_experts_per_tok": 2,
    # Length: whatever is a window in a model is narrower than ours.
    **_named("max_position_embeddings n_positions max_seq_len", POSITIONS),
    **_named("max_encoder_position_embeddings max_decoder_position_embeddings", POSITIONS),
    **_named("sliding_window local_attention attention_window window_size", 16),
}

_SPARSE = {"block_size": 8, "num_random_blocks": 1}  # sparse from 57 tokens on
_DISENTANGLED = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False}
_PECULIAR: dict[str, dict[str, Any]] = {
    "big_bird": _SPARSE,
    "bigbird_pegasus": _SPARSE,
    "deberta": _DISENTANGLED,
    "deberta-v2": _DISENTANGLED,
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 8},
    "lilt": {"hidden_size": 48},  # six coordinates of a box share it
    "qwen3_next": {"layer_types": ["linear_attention", "full_attention"]},
    "reformer": {
        "attn_layers": ["local", "lsh"],
        "axial_pos_embds_dim": [16, 16],
        "axial_pos_shape": [8, 16],
        "is_decoder": False,
        "hash_seed": 0,  # else each pass draws other buckets
        "local_attn_chunk_length": 16,
        "lsh_attn_chunk_length": 16,
    },
    "xmod": {"default_language": "en_XX"},
}


def tokenizer_for(model_type: str) -> PreTrainedTokenizerFast:
    """Return the tokenizer that a model type is read with; shared, not to be changed."""
    family = _TOKENIZER_OF.get(model_type, "bert_cased")
    return _splinter() if family == "splinter" else tokenizer_of(family)


@functools.cache
def _splinter() -> PreTrainedTokenizerFast:
    """Return WordPiece with `[CLS] A [QUESTION] . [SEP] B [SEP]`: Splinter's head looks from the question's token."""
    trained: PreTrainedTokenizerFast = SplinterTokenizer().train_new_from_iterator(  # type: ignore[no-untyped-call]
        CORPUS, VOCAB_SIZE, show_progress=False
    )
    return trained


def tiny_config(model_type: str, **changes: Any) -> PreTrainedConfig:
    """Return a tiny config for the vocabulary of the type's tokenizer."""
    tokenizer = tokenizer_for(model_type)
    make = CONFIG_MAPPING[model_type]
    values = {"vocab_size": len(tokenizer), **_SIZES}
    for token in ("pad", "bos", "eos", "cls", "sep", "question"):
        values[f"{token}_token_id"] = getattr(tokenizer, f"{token}_token_id", None)
    known = {name: value for name, value in values.items() if name in make.__dataclass_fields__ and value is not None}
    return make(**{**known, **_PECULIAR.get(model_type, {}), **changes})


def write_zoo_model(folder: pathlib.Path, model_type: str, **changes: Any) -> str:
    """Write a tiny model of a type, its head too, with its tokenizer, and return the folder's path."""
    torch.manual_seed(0)
    config = tiny_config(model_type, **changes)
    auto = AutoModelForTokenClassification if is_t5_family(config) else AutoModelForQuestionAnswering
    model: PreTrainedModel = auto.from_config(config)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.2)
    model.save_pretrained(folder)
    save_tokenizer(tokenizer_for(model_type), folder)
    return str(folder)
