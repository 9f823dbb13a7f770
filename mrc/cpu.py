"""Dropout, attention and linear layers that cost a CPU little, in place of torch's.

Torch draws one number for each value, one after another, which is a quarter of a training step in bfloat16 and a sixth
in float32; and with dropout its attention takes the slow path. Here one draw of 64 bits decides about four values: each
is dropped with a probability that is a multiple of 2^-16. Torch's own generator draws, so a seed still decides.

Torch's attention in bfloat16 is slow on a CPU too. Two products of matrices with a softmax between them, which is what
transformers calls "eager", are a quarter faster where their weights fit in the cache, and backward two to four times.

Linear layers are two thirds of a forward pass. oneDNN, torch's own library for them, multiplies by weights in blocks; a
model that is only read can have them so from the start, for a twentieth (bfloat16) or a tenth (float32) more questions.
"""

import contextlib
import ctypes
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_LEVELS = 1 << 16
_MOST_WEIGHTS = 1 << 22
"""Weights of attention up to which products are the faster way: 12 heads of a window of 591 tokens."""

_LANES = 32
"""Values of bfloat16 in a register. Torch's softmax takes what is left at a row's end one by one."""
_FEW_LEFT = 11
"""Of the lanes, as many as cost less than filling them all."""

_ROWS = 2048
"""Of a batch that blocks are chosen for."""

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""The GNU C library's names of what mallopt sets, in its malloc.h."""


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
    length, scale = key.shape[-2], options.get("scale")
    missing = -length % _LANES if _lanes_are_wasted(query, length) else 0
    if missing:
        key, value = (functional.pad(tensor, (0, 0, 0, missing)) for tensor in (key, value))
        if attn_mask is not None and attn_mask.shape[-1] == length:  # else one column is for all keys
            attn_mask = functional.pad(attn_mask, (0, missing))
    scores = (query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)) @ key.transpose(-2, -1)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, torch.finfo(scores.dtype).min)
    elif attn_mask is not None:
        scores = scores + attn_mask
    if missing:
        scores[..., length:] = -math.inf
    return _dropout(scores.softmax(dim=-1), dropout_p) @ value


def _products_are_faster(query: Tensor, key: Tensor) -> bool:
    """Tell whether attention is in half precision, by itself or by autocast, with weights that fit in the cache."""
    is_half = query.dtype in (torch.bfloat16, torch.float16) or torch.is_autocast_enabled("cpu")
    return is_half and query.shape[:-1].numel() * key.shape[-2] <= _MOST_WEIGHTS


def _lanes_are_wasted(query: Tensor, length: int) -> bool:
    """Tell whether to fill rows of weights in bfloat16, of which autocast has none: where much is left at their end."""
    is_bfloat16 = query.dtype == torch.bfloat16 and not torch.is_autocast_enabled("cpu")
    return is_bfloat16 and length % _LANES > _FEW_LEFT


_REPLACEMENTS = {functional.dropout: _dropout, functional.scaled_dot_product_attention: _attention}


class _BlockedLinear(nn.Linear):
    """A linear layer whose weight lies in blocks, as oneDNN multiplies by it."""

    def forward(self, input: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(input, self.weight, self.bias, "none", [], "")
        return out

    def block(self) -> None:
        """Lay out the weight of what was a linear layer so far."""
        blocked = torch.ops.mkldnn._reorder_linear_weight(self.weight.detach(), _ROWS)
        self.weight = nn.Parameter(blocked, requires_grad=False)

    def plain_weight(self) -> nn.Parameter:
        """Return the weight as it was, to the bit."""
        return nn.Parameter(self.weight.to_dense(), requires_grad=False)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle has: torch makes none of blocks."""
        return {**self.__dict__, "_parameters": {**self._parameters, "weight": self.plain_weight()}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.block()


def block_weights(model: nn.Module) -> None:
    """Lay the weights of a model's linear layers out in blocks; it can only be read with then.

    Raises:
        Exception: Any, where torch has no such kernel here; some layers may have been changed by then.
    """
    for module in model.modules():
        if type(module) is nn.Linear:
            _BlockedLinear.block(cast("_BlockedLinear", module))
            module.__class__ = _BlockedLinear


def unblock_weights(model: nn.Module) -> None:
    """Lay the weights of a model out as they were, to the bit."""
    for module in model.modules():
        if isinstance(module, _BlockedLinear):
            module.weight = module.plain_weight()
            module.__class__ = nn.Linear  # type: ignore[assignment]


def plain_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the state of a model, with the weights that lie in blocks as they were."""
    state: dict[str, Tensor] = model.state_dict()
    return {name: tensor.to_dense() if tensor.is_mkldnn else tensor for name, tensor in state.items()}


def keep_freed_memory() -> None:
    """Have the C library keep what this process frees, where it is the GNU one.

    By default it returns large tensors to the system at each operation and has the next one zeroed, page by page: a
    twentieth of the time that questions take.
    """
    with contextlib.suppress(AttributeError, OSError):  # no such function
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, 1 << 30)
        mallopt(_TRIM_THRESHOLD, 1 << 30)
