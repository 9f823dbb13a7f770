"""The torch side of a reader: load a checkpoint for question answering, run it, and its loss. No Ray.

Two kinds of model, one interface: whatever AutoModelForQuestionAnswering takes, and the encoder of a T5-family model
under dropout and a linear head. The latter is transformers' own token-classification model with the two labels
"start" and "end", so AutoModelForTokenClassification loads it anywhere; AutoModelForQuestionAnswering would put T5's
decoder between the encoder and the head instead, and silently start that with random weights.

Weights are read from safetensors alone: a pickle may run anything.
"""

import contextlib
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from mrc.batching import pad, ragged_ranges, token_mask
from mrc.cpu import CpuKernels
from mrc.errors import UsageError
from mrc.packing import Packing, packed, unpack
from mrc.pretrained import explained, is_t5_family, load_config
from mrc.windows import Windows

IGNORED = -100
"""A start or end position that the loss leaves out."""

_T5_LABELS = {0: "start", 1: "end"}
_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(model: str, *, dropout: float | None = None, fresh_head: bool = True) -> PreTrainedModel:
    """Load a model for question answering in float32.

    Args:
        model: A model folder, or a name on the hub.
        dropout: Sets every dropout probability of the config (hidden states, attention, head) where given.
        fresh_head: Whether an encoder without a question-answering head gets one with random weights, to be trained.

    Raises:
        UsageError: There is no such model, no question-answering model is known for its type, it has no head, or
            weights of its encoder are missing.
    """
    config = load_config(model)
    if dropout is not None:
        set_dropout(config, dropout)
    is_t5 = is_t5_family(config)
    if is_t5:
        config.id2label, config.label2id = _T5_LABELS, {label: i for i, label in _T5_LABELS.items()}
    auto = AutoModelForTokenClassification if is_t5 else AutoModelForQuestionAnswering
    with explained(model):
        loaded, loading = auto.from_pretrained(
            model,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
    missing = sorted(loading["missing_keys"])
    of_encoder = [name for name in missing if name.startswith(f"{loaded.base_model_prefix}.")]
    if of_encoder:
        raise UsageError(
            f"--model {model} lacks {len(of_encoder)} weights of its encoder, such as {of_encoder[0]}, which would be "
            "random: give a whole checkpoint, of the type that its config.json says"
        )
    if missing and not fresh_head:
        raise UsageError(
            f"--model {model} has no question-answering head ({', '.join(missing[:3])} are missing): its answers would "
            "be random; fine-tune it with jobs/train.py first"
        )
    return loaded  # type: ignore[no-any-return]


def set_dropout(config: Any, probability: float) -> None:
    """Set every dropout probability that a config has, whatever its family calls them."""
    for name, value in list(vars(config).items()):
        is_dropout = "dropout" in name or name.endswith(("_pdrop", "_drop"))
        if is_dropout and isinstance(value, int | float) and not isinstance(value, bool):
            setattr(config, name, probability)


def takes_global_attention(model: PreTrainedModel) -> bool:
    """Tell whether a model wants to know which tokens see all others (Longformer, LED)."""
    return "global_attention_mask" in inspect.signature(model.forward).parameters


def forward(model: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return start and end logits, float32 whatever the precision of the pass.

    Args:
        model: Of question answering, or of two labels a token.
        inputs: As `Collator.inputs` gives them, padded or packed.

    Returns:
        Shape (batch, seq_len) each, laid out as a padded batch also where the windows are packed.
    """
    device = inputs["input_ids"].device
    with CpuKernels() if device.type == "cpu" else contextlib.nullcontext():
        if "lengths" not in inputs:
            return _logits(model(**inputs))
        row = {name: tensor for name, tensor in inputs.items() if name not in ("lengths", "attention_mask")}
        # Without a mask, transformers would look for where packed windows begin in their positions.
        row["attention_mask"] = torch.ones_like(inputs["input_ids"])
        with packed(inputs["lengths"].tolist(), device):
            start, end = _logits(model(**row))
    mask = inputs["attention_mask"].bool()
    return unpack(start, mask), unpack(end, mask)


def _logits(outputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    if "start_logits" in outputs:
        start_logits, end_logits = outputs.start_logits, outputs.end_logits
    else:
        start_logits, end_logits = outputs.logits.unbind(-1)
    return start_logits.float(), end_logits.float()


class Collator:
    """Makes a model's input tensors of windows: packed where the model takes that, else padded as its tokenizer pads.

    Attributes:
        padding_side: "left" or "right"; packed windows too are laid out on that side afterwards.
        packing: How the model takes packed windows; None where they are padded.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        device: torch.device,
        packing: Packing | None = None,
    ) -> None:
        self.padding_side = str(tokenizer.padding_side)
        self.packing = packing
        self._device = device
        # A model without a padding token (GPT-2) gets any id: the mask hides it.
        self._pad_token_id = tokenizer.pad_token_id or 0
        self._pad_token_type_id = int(getattr(tokenizer, "pad_token_type_id", 0) or 0)
        parameters = inspect.signature(model.forward).parameters
        # A model with one segment (klue/roberta) fails on the second that its tokenizer gives.
        num_segments = getattr(model.config, "type_vocab_size", None)
        self._token_types = "token_type_ids" in parameters and (num_segments is None or num_segments > 1)
        # Else a model with absolute positions (GPT-2) counts them from the padding on.
        self._positions = "position_ids" in parameters and self.padding_side == "left"
        self._sep_token_id = tokenizer.sep_token_id if takes_global_attention(model) else None

    def inputs(self, windows: Windows) -> dict[str, torch.Tensor]:
        """Return what `forward` takes to read windows, on the CPU, int64.

        Padded, each of shape (num_windows, longest): `input_ids`, `attention_mask` and, where the model needs them,
        `token_type_ids`, the tokenizer's, `position_ids`, which count a window's own tokens, and
        `global_attention_mask`, on the question, all before the first separator. LED would have it nowhere by itself,
        and Longformer would fail on a context that spells a separator.

        Packed, `attention_mask` is the same, the others are of shape (1, num_tokens), and `lengths`, of shape
        (num_windows,), tells the windows' tokens.
        """
        lengths = windows.lengths
        mask = token_mask(lengths, self.padding_side).astype("int64")
        arrays = {"attention_mask": mask}
        if self.packing is not None:
            arrays |= {"lengths": lengths, "input_ids": windows.input_ids.astype("int64")[None]}
            if self.packing.first_position is not None:
                first = np.full_like(lengths, self.packing.first_position)
                arrays["position_ids"] = ragged_ranges(first, lengths)[None]
            if self._token_types and windows.token_type_ids is not None:
                arrays["token_type_ids"] = windows.token_type_ids.astype("int64")[None]
            return {name: torch.from_numpy(array) for name, array in arrays.items()}
        arrays["input_ids"] = pad(windows.input_ids, lengths, fill=self._pad_token_id, side=self.padding_side)
        if self._positions:
            arrays["position_ids"] = (mask.cumsum(axis=1) - 1).clip(min=0)
        if self._token_types and windows.token_type_ids is not None:
            arrays["token_type_ids"] = pad(
                windows.token_type_ids, lengths, fill=self._pad_token_type_id, side=self.padding_side
            )
        if self._sep_token_id is not None:
            before_separator = (arrays["input_ids"] == self._sep_token_id).cumsum(axis=1) == 0
            arrays["global_attention_mask"] = before_separator * mask
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def to_device(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Bring tensors, but for `lengths`, to the model's device.

        To a GPU they go by way of pinned memory, without waiting for the copy.
        """
        if self._device.type != "cuda":
            return dict(tensors)
        return {
            name: tensor if name == "lengths" else tensor.pin_memory().to(self._device, non_blocking=True)
            for name, tensor in tensors.items()
        }


def span_loss(
    start_logits: torch.Tensor,
    end_logits: torch.Tensor,
    start_positions: torch.Tensor,
    end_positions: torch.Tensor,
    attention_mask: torch.Tensor,
) -> torch.Tensor:
    """Return the sum over windows of the mean of start and end cross-entropy.

    Padding is kept out of the softmax, so that a window's loss does not depend on the batch it is in. A window whose
    positions are IGNORED adds 0.

    Args:
        start_logits: Shape (batch, seq_len), float32.
        end_logits: Shape (batch, seq_len), float32.
        start_positions: Shape (batch,), token of the padded window, or IGNORED.
        end_positions: Shape (batch,), token of the padded window, or IGNORED; inclusive.
        attention_mask: Shape (batch, seq_len), 0 on padding.
    """
    padding = attention_mask == 0
    losses = [
        torch.nn.functional.cross_entropy(
            logits.masked_fill(padding, torch.finfo(logits.dtype).min), positions, ignore_index=IGNORED, reduction="sum"
        )
        for logits, positions in [(start_logits, start_positions), (end_logits, end_positions)]
    ]
    return (losses[0] + losses[1]) / 2


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """Turn `auto`, `float32`, `bfloat16` or `float16` into the dtype of the forward pass on a device.

    `auto` is bfloat16 where the hardware computes in it, else float16 on a GPU and float32 on a CPU.

    Raises:
        UsageError: The precision is none of these.
    """
    if precision in _PRECISIONS:
        return _PRECISIONS[precision]
    if precision != "auto":
        raise UsageError(f"--precision {precision}: must be auto, {', '.join(_PRECISIONS)}")
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    capabilities = torch.cpu.get_capabilities()
    native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return torch.bfloat16 if native else torch.float32


def autocast(model: torch.nn.Module, dtype: torch.dtype) -> torch.autocast:
    """Return the context in which a model's forward pass runs in `dtype`: autocast, unless its weights are of it."""
    weights = next(model.parameters())
    return torch.autocast(weights.device.type, dtype=dtype, enabled=dtype not in (torch.float32, weights.dtype))
