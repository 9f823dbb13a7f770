"""Windows end to end in one row, (1, num_tokens), with no padding and no mask: each attends to itself only.

All but attention works on single tokens, so it need not know where windows begin. Attention does: a function registered
with transformers' AttentionInterface splits queries, keys and values at the windows' lengths and lets transformers' own
"sdpa" read each window alone; on a GPU, where it can, one kernel for windows of any lengths reads them all. The models
are transformers' own. Which of them may be read like this is for `mrc.probes.find_packing` to find out.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import logging as hf_logging

try:
    from torch.nn.attention import varlen
except ImportError:  # torch before 2.10
    varlen = None  # type: ignore[assignment]

IMPLEMENTATION = "mrc_packed"
"""Name of the attention function, as `attn_implementation` has it."""


@dataclass(frozen=True, kw_only=True)
class Packing:
    """How a model takes packed windows."""

    first_position: int | None
    """Position of a window's first token: 0, or as RoBERTa counts, after its padding id; None where it takes none."""


@dataclass(frozen=True)
class _Row:
    """The windows in the row that a model is reading."""

    lengths: list[int]
    splits: Tensor
    """Shape (num_windows + 1,), int32, on the device: where windows begin and end."""


_row: ContextVar[_Row | None] = ContextVar("mrc_packed_row", default=None)


@contextmanager
def packed(lengths: Sequence[int], device: torch.device) -> Iterator[None]:
    """Tell the attention of models called inside how long the windows in their one row are, in tokens."""
    splits = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    if device.type == "cuda":
        splits = splits.pin_memory().to(device, non_blocking=True)
    token = _row.set(_Row(list(lengths), splits))
    try:
        yield
    finally:
        _row.reset(token)


def unpack(values: Tensor, mask: Tensor) -> Tensor:
    """Lay one packed row out as windows of a padded batch, with 0 on the padding.

    Args:
        values: Shape (1, num_tokens).
        mask: Shape (num_windows, longest), bool: True on tokens.

    Returns:
        Shape (num_windows, longest).
    """
    return torch.zeros_like(mask, dtype=values.dtype).masked_scatter(mask, values)


def set_attention(model: PreTrainedModel, implementation: str) -> bool:
    """Give a model another attention function, such as IMPLEMENTATION, and tell whether it takes any.

    A model that does not go through the interface is left as it is.
    """
    verbosity = hf_logging.get_verbosity()
    hf_logging.set_verbosity(logging.CRITICAL)  # it warns of models outside the interface
    try:
        model.set_attn_implementation(implementation)
    except ValueError:  # of a model that has reasons not to be given "sdpa"
        return False
    finally:
        hf_logging.set_verbosity(verbosity)
    return bool(model.config._attn_implementation == implementation)


def _attend(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attend inside each window of the row that is being read; without such a row, as "sdpa".

    Args:
        module: The attention layer.
        query: Shape (1, heads, num_tokens, head_size).
        key: Shape (1, key heads, num_tokens, head_size).
        value: Shape (1, key heads, num_tokens, head_size).
        attention_mask: See `_mask`.
        **options: `scaling`, `dropout` and others of the interface.

    Returns:
        Shape (1, num_tokens, heads, head_size), and None for the weights.
    """
    row, attend = _row.get(), ALL_ATTENTION_FUNCTIONS["sdpa"]
    if row is None:
        out, _ = attend(module, query, key, value, attention_mask, **options)
        return out, None
    if options.get("position_bias") is not None:
        raise ValueError("a bias over all pairs of tokens in a row does not pack")
    if attention_mask is None and _kernel_takes(query, options):
        return _attend_on_gpu(module, query, key, value, row, options), None
    parts = zip(*(torch.split(tensor, row.lengths, dim=2) for tensor in (query, key, value)), strict=True)
    masks = (None if attention_mask is None else attention_mask[..., :length, :length] for length in row.lengths)
    found = [attend(module, *part, mask, **options)[0] for part, mask in zip(parts, masks, strict=True)]
    return torch.cat(found, dim=1), None


def _kernel_takes(query: Tensor, options: dict[str, Any]) -> bool:
    """Tell whether one kernel can read all windows: a GPU's, in half precision, and without dropout."""
    return (
        varlen is not None
        and query.device.type == "cuda"
        and query.dtype in (torch.float16, torch.bfloat16)
        and not options.get("dropout")
    )


def _attend_on_gpu(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, row: _Row, options: dict[str, Any]
) -> Tensor:
    is_causal = options.get("is_causal")
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    longest = max(row.lengths)
    query, key, value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    out = varlen.varlen_attn(
        query,
        key,
        value,
        row.splits,
        row.splits,
        longest,
        longest,
        scale=options.get("scaling"),
        window_size=(-1, 0) if causal else (-1, -1),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(out, Tensor)
    return out[None]


def _mask(*, q_length: int, kv_length: int, **options: Any) -> Tensor | None:
    """Return the mask that "sdpa" would have for the longest window alone, whose corner is any shorter window's.

    None where attention is full or plainly causal. Without a packed row, "sdpa"'s own.
    """
    row, mask = _row.get(), ALL_MASK_ATTENTION_FUNCTIONS["sdpa"]
    if row is not None:
        q_length = kv_length = max(row.lengths)
        options |= {"attention_mask": None}
    found: Tensor | None = mask(q_length=q_length, kv_length=kv_length, **options)
    return found


AttentionInterface.register(IMPLEMENTATION, _attend)
AttentionMaskInterface.register(IMPLEMENTATION, _mask)
