"""In which precision, and with which weights, a model is best read where it is: found out by reading with it."""

import copy
import platform

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mrc import cpu
from mrc.models import Collator, autocast, resolve_precision
from mrc.probes import TOKENS, are_alike, failure_of, ordinary_windows, read_windows, reading

_WORSE = 4.0
"""How many times autocast's error a model with weights of half the precision may have."""

_X86 = ("x86_64", "AMD64")
"""What `platform.machine` calls it."""


def usable_precision(model: PreTrainedModel, precision: str) -> torch.dtype:
    """Return `resolve_precision` for a model where it is, with `auto` down to float32 where its code needs that.

    Some models mix dtypes by hand and fail under autocast (DeBERTa); two tokens tell, and no list of names has to.
    """
    dtype = resolve_precision(precision, model.device)
    if precision == "auto" and dtype != torch.float32:
        with autocast(model, dtype):
            two_tokens = torch.zeros((1, 2), dtype=torch.int64, device=model.device)
            return dtype if failure_of(model, two_tokens) is None else torch.float32
    return dtype


def in_precision(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype, max_seq_length: int
) -> PreTrainedModel:
    """Return a copy of a model with weights in the precision that it is read in, or the model itself.

    Half the weights to load for each batch, and no casts on the way. Only bfloat16, whose range is float32's; and only
    where this comes nearly as close to float32 as autocast does: code that counts positions in the precision of its
    weights does not.
    """
    if dtype != torch.bfloat16:
        return model
    windows = ordinary_windows(model, tokenizer, [max_seq_length])
    collator = Collator(model, tokenizer, model.device)
    cast: PreTrainedModel = copy.deepcopy(model).to(dtype)  # type: ignore[arg-type]
    with reading(model), reading(cast):
        exact = read_windows(model, collator, windows)
        try:
            with autocast(model, dtype):
                allowed = _WORSE * (read_windows(model, collator, windows) - exact).abs().max()
            error = (read_windows(cast, collator, windows) - exact).abs().max()
        except RuntimeError:  # dtypes that are mixed by hand
            return model
    return cast if error <= allowed else model


def block_weights(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_seq_length: int) -> None:
    """Have a model on the CPU multiply by weights in blocks, where it then reads as before.

    The kernels for that are not public in torch, and code that multiplies by a layer's weight itself knows no blocks.
    Whether they are faster was measured on x86 alone.
    """
    if platform.machine() not in _X86:
        return
    window = ordinary_windows(model, tokenizer, [min(max_seq_length, TOKENS)])
    collator = Collator(model, tokenizer, model.device)
    with reading(model):
        expected = read_windows(model, collator, window)
        try:
            cpu.block_weights(model)
            reads_as_before = are_alike(read_windows(model, collator, window), expected, model.dtype)
        except Exception:  # whatever is missing or does not fit
            reads_as_before = False
    if not reads_as_before:
        cpu.unblock_weights(model)
