"""What no config says of a model, found out by reading with it: how long a window it takes, and whether it reads right.

No list of model names has to be kept for this, and a class that transformers adds tomorrow is judged as the others are.
The price is a few windows at load.
"""

import copy
import inspect
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mrc.errors import UsageError
from mrc.models import Collator, autocast, forward, takes_global_attention
from mrc.packing import IMPLEMENTATION, Packing, set_attention
from mrc.windows import Windows

TOKENS = 192
"""Of a window that tells enough: over the 64 tokens of Reformer's chunks, under the 704 of BigBird's attention."""

_TOLERANCE = 1e-3
"""Of differences between logits, relative to the largest."""

_HALF_TOLERANCE = 5e-2
"""The same in half precision."""


def check_fits(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_seq_length: int) -> None:
    """Check that the model takes every token id of the tokenizer, and windows of `max_seq_length` tokens.

    The position limit is the model's, and no config field tells it reliably (klue/roberta: 514 positions, 512 tokens),
    so one window is read. Call it on the CPU: an index out of range there is an exception, on a GPU it is the end.

    Raises:
        UsageError: Names what the model takes at most, or what else it wants (images, a language); or it reads at
            random, or each token by itself.
    """
    known_ids = next(model.get_input_embeddings().parameters()).shape[0]
    if len(tokenizer) > known_ids:
        raise UsageError(
            f"--model {tokenizer.name_or_path}: its tokenizer has {len(tokenizer):,} tokens and its model embeds only "
            f"{known_ids:,}; they do not belong together"
        )
    ids = _ordinary_ids(model, tokenizer, max_seq_length)
    failure = failure_of(model, ids)
    if failure is None:
        _check_reading(model, tokenizer, ids)
        return
    low, high = 0, max_seq_length
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if failure_of(model, ids[:, :middle]) is None else (low, middle)
    if low == 0:
        reason = (str(failure).splitlines() or [type(failure).__name__])[0]
        raise UsageError(f"--model {tokenizer.name_or_path}: the model does not read windows of text: {reason}")
    raise UsageError(f"--max_seq_length {max_seq_length}: the model takes windows of at most {low} tokens")


def on_cpu(model: PreTrainedModel) -> PreTrainedModel:
    """Return a model that is on the CPU as it is, and of any other a copy there, as `check_fits` needs."""
    return model if model.device.type == "cpu" else copy.deepcopy(model).cpu()


def padding_shows(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_seq_length: int) -> bool:
    """Tell whether a window's logits change when it is padded: such a model is read in batches of equal lengths.

    So it is where padding gets past the attention mask: into convolutions (ConvBERT), pooling (Funnel), a Fourier
    transform (FNet). A window is read alone and then padded to nearly twice its length.

    The windows are short on purpose, the shorter one first. BigBird turns its sparse attention off for good at the
    first window that is too short for it, so this is where it does so, and not at some point among the examples.
    """
    long = min(max_seq_length, TOKENS)
    windows = ordinary_windows(model, tokenizer, [long // 2 + 1, long])
    collator = Collator(model, tokenizer, model.device)
    alone, together = (collator.to_device(collator.inputs(windows.take(np.arange(n)))) for n in (1, 2))
    with reading(model):
        unpadded = torch.stack(forward(model, alone))[:, 0]
        padded = torch.stack(forward(model, together))[:, 0, together["attention_mask"][0] == 1]
    return not are_alike(padded, unpadded)


def find_packing(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_seq_length: int, dtype: torch.dtype
) -> Packing | None:
    """Tell how a model takes packed windows, and give it the attention for that; None where it does not.

    It does if windows that share a row have the logits that each has alone, and if those of the others stay the same to
    the bit when one window is changed: a convolution, a state that runs on, or a layer outside transformers'
    AttentionInterface would show. The longest window is as long as any will be, so that one which a model reads through
    a sliding window shows too. In `dtype` it is tried again: a GPU has a kernel of its own for half precision.
    """
    own = model.config._attn_implementation
    if not set_attention(model, IMPLEMENTATION):
        return None
    precisions = dict.fromkeys((torch.float32, dtype))
    try:
        for first_position in _first_positions(model):
            packing = Packing(first_position=first_position)
            if all(_packs(model, tokenizer, max_seq_length, packing, own, of) for of in precisions):
                return packing
    except Exception:  # whatever a model raises here, it does not pack
        pass
    set_attention(model, own)
    return None


def _first_positions(model: PreTrainedModel) -> list[int | None]:
    """Return what a model may call the position of a window's first token."""
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return [None]
    padding = model.config.pad_token_id
    return [0, *([padding + 1] if padding is not None else [])]


def _packs(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    max_seq_length: int,
    packing: Packing,
    own: str,
    dtype: torch.dtype,
) -> bool:
    """Tell whether windows have the logits in one row that they have alone, whatever the first of them is.

    Args:
        model: Left with the attention that packs.
        tokenizer: Gives the ids.
        max_seq_length: Of the longest window.
        packing: What is tried.
        own: The model's own attention, which reads the windows alone.
        dtype: Of the pass.
    """
    windows = ordinary_windows(model, tokenizer, [max_seq_length, max_seq_length // 2 + 1, max_seq_length // 3 + 1])
    other_ids = windows.input_ids.copy()
    other_ids[:max_seq_length] = ordinary_windows(model, tokenizer, [max_seq_length], first=max_seq_length).input_ids
    padding, collator = (Collator(model, tokenizer, model.device, each) for each in (None, packing))
    with reading(model), autocast(model, dtype):
        set_attention(model, own)
        alone = [read_windows(model, padding, windows.take(np.array([i])))[:, 0] for i in range(len(windows))]
        set_attention(model, IMPLEMENTATION)
        row = read_windows(model, collator, windows)
        changed = read_windows(model, collator, replace(windows, input_ids=other_ids))
    parts = (row[:, i, : expected.shape[1]] for i, expected in enumerate(alone))
    as_alone = (are_alike(part, expected, dtype) for part, expected in zip(parts, alone, strict=True))
    return all(as_alone) and torch.equal(row[:, 1:], changed[:, 1:])


def read_windows(model: PreTrainedModel, collator: Collator, windows: Windows) -> torch.Tensor:
    """Return the start and end logits of windows in one batch; shape (2, num_windows, longest)."""
    return torch.stack(forward(model, collator.to_device(collator.inputs(windows))))


def are_alike(logits: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype = torch.float32) -> bool:
    """Tell whether logits of a pass in a precision are what was expected, but for its rounding."""
    tolerance = _TOLERANCE if dtype == torch.float32 else _HALF_TOLERANCE
    return bool((logits - expected).abs().max() <= tolerance * expected.abs().max())


def has_unused_parameters(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_seq_length: int) -> bool:
    """Tell whether reading a window leaves parameters out, as LUKE's of entities or a pooler that no head reads.

    Workers that exchange gradients would wait for theirs, which never come.
    """
    collator = Collator(model, tokenizer, model.device)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with _mode(model, training=True):  # in which alone Reformer has gradients
        logits = read_windows(model, collator, ordinary_windows(model, tokenizer, [max_seq_length]))
        gradients = torch.autograd.grad(logits.sum(), parameters, allow_unused=True)
    return any(gradient is None for gradient in gradients)


def ordinary_windows(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, lengths: Sequence[int], *, first: int = 0
) -> Windows:
    """Return windows of ordinary tokens, each going on where the one before it ends; the first with token `first`."""
    ids = _ordinary_ids(model, tokenizer, first + sum(lengths))[0, first:].numpy()
    return Windows(
        example=np.zeros(len(lengths), np.int32),
        row_splits=np.cumsum([0, *lengths]),
        input_ids=ids.astype(np.int32),
        token_type_ids=None,
        offsets=np.full((sum(lengths), 2), -1, np.int32),
        null_index=np.zeros(len(lengths), np.int32),
    )


def _ordinary_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, seq_len: int) -> torch.Tensor:
    """Return a window of tokens that are not special, over and over; shape (1, seq_len), on the CPU.

    A padding id would not do: RoBERTa counts its positions over the tokens that are not padding.
    """
    special = {*tokenizer.all_special_ids, model.config.pad_token_id}
    ordinary = itertools.cycle(i for i in range(len(tokenizer)) if i not in special)
    return torch.tensor([list(itertools.islice(ordinary, seq_len))])


def _check_reading(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ids: torch.Tensor) -> None:
    """Raise UsageError unless a window always has the same logits, and its first token a part in the others'."""
    other = ids.clone()
    other[0, 0] = ids[0, 1:].max()
    with reading(model):
        first, again, differently = (
            torch.stack(forward(model, _bare_inputs(model, of)))[..., 1:] for of in (ids, ids, other)
        )
    if (first - again).abs().max() > _TOLERANCE * first.abs().max():
        raise UsageError(
            f"--model {tokenizer.name_or_path}: the model reads one window differently each time, so that no answer "
            "would come twice (Reformer draws its buckets at random unless its config sets hash_seed)"
        )
    if torch.equal(first, differently) and not torch.equal(ids, other):
        raise UsageError(
            f"--model {tokenizer.name_or_path}: here the model reads each token by itself, so that no answer would "
            "depend on its question (MRA does without its CUDA kernel)"
        )


def failure_of(model: PreTrainedModel, ids: torch.Tensor) -> Exception | None:
    """Return what a model raises when it reads these tokens."""
    try:
        with torch.inference_mode():
            model(**_bare_inputs(model, ids))
    except (IndexError, RuntimeError, ValueError) as error:
        return error
    return None


def _bare_inputs(model: PreTrainedModel, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the least that a model wants to read windows of one length."""
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if takes_global_attention(model):
        inputs["global_attention_mask"] = torch.zeros_like(ids)
    return inputs


@contextmanager
def reading(model: PreTrainedModel) -> Iterator[None]:
    """Turn dropout and gradients off for a while."""
    with _mode(model, training=False), torch.inference_mode():
        yield


@contextmanager
def _mode(model: PreTrainedModel, *, training: bool) -> Iterator[None]:
    was_training = model.training
    model.train(training)
    try:
        yield
    finally:
        model.train(was_training)
