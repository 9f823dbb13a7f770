"""Dropout and attention that cost a CPU little, in place of torch's.

Torch draws one number for each value, one after another, which is a quarter of a training step in bfloat16 and a sixth
in float32; and with dropout its attention takes the slow path. Here one draw of 64 bits decides about four values: each
is dropped with a probability that is a multiple of 2^-16. Torch's own generator draws, so a seed still decides.

Torch's attention in bfloat16 is slow on a CPU too. Two products of matrices with a softmax between them, which is what
transformers calls "eager", are a quarter faster where their weights fit in the cache, and backward two to four times.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_LEVELS = 1 << 16
_MOST_WEIGHTS = 1 << 22
"""Weights of attention up to which products are the faster way: 12 heads of a window of 591 tokens."""


class CpuKernels(TorchFunctionMode):
    """Inside it `dropout` and `scaled_dot_product_attention` of torch.nn.functional are these.

    They do what torch's do, with other random numbers and, in half precision, with scores that are rounded to it.
    """

    def __torch_function__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Do what torch calls for each of its functions."""
        replacement = _REPLACEMENTS.get(func, func)
        return replacement(*args, **(kwargs or {}))


def _dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Do what functional.dropout does, whose arguments these are."""
    dropped = round(p * _LEVELS)
    if not training or not 0 < dropped < _LEVELS or inplace:
        return functional.dropout(input, p, training, inplace)
    draws = torch.empty(-(-input.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    levels = draws.view(torch.int16)[: input.numel()].view(input.shape)
    mask = (levels >= dropped - _LEVELS // 2).to(input.dtype)
    return input * mask.mul_(_LEVELS / (_LEVELS - dropped))


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, **options: Any
) -> Tensor:
    """Do what functional.scaled_dot_product_attention does, whose arguments these are."""
    if options.get("is_causal") or options.get("enable_gqa") or not (dropout_p or _products_are_faster(query, key)):
        return functional.scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, **options)
    scale = options.get("scale")
    scores = (query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)) @ key.transpose(-2, -1)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, torch.finfo(scores.dtype).min)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return _dropout(scores.softmax(dim=-1), dropout_p) @ value


def _products_are_faster(query: Tensor, key: Tensor) -> bool:
    """Tell whether attention is in half precision, by itself or by autocast, with weights that fit in the cache."""
    is_half = query.dtype in (torch.bfloat16, torch.float16) or torch.is_autocast_enabled("cpu")
    return is_half and query.shape[:-1].numel() * key.shape[-2] <= _MOST_WEIGHTS


_REPLACEMENTS = {functional.dropout: _dropout, functional.scaled_dot_product_attention: _attention}
