"""Windows -> spans, with a model on one device: a pass over batches, and one in float32 over what is close. No Ray."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mrc.batching import Layout, token_budget_batches
from mrc.cpu import plain_weights
from mrc.models import Collator, autocast, forward
from mrc.precision import block_weights, in_precision, usable_precision
from mrc.probes import check_fits, find_packing, on_cpu, padding_shows
from mrc.spans import ExampleSpans, SpanConfig, WindowSpans, are_close, bounds_repeat, merge_windows
from mrc.spans.best import window_spans
from mrc.windows import Windows

_WINDOWS_AT_ONCE = 128
"""Windows whose spans are found together: dozens of small operations find those of one or of a hundred."""

_RIVALS = 5
"""Spans of an example, at least, of which each may turn out to be the best."""


@dataclass(frozen=True)
class Logits:
    """What the model says of one batch of windows; a hook may look at it before it is gone."""

    windows: np.ndarray
    """Shape (batch,): which windows these are."""
    start: torch.Tensor
    """Shape (batch, seq_len), float32, on the device."""
    end: torch.Tensor
    """Shape (batch, seq_len), float32, on the device."""
    attention_mask: torch.Tensor
    """Shape (batch, seq_len), 0 on padding."""


Look = Callable[[Logits], None]


class _Pass(NamedTuple):
    """What reads windows."""

    model: PreTrainedModel
    dtype: torch.dtype


class SpanFinder:
    """Finds the best spans of windows, as the model, the device and the precision allow.

    Attributes:
        model: The model whose weights are to be kept: in float32, unless lighter ones are all that is read with.
        collator: Makes batches for it.
        layout: How windows share a batch.
        max_batch_tokens: Tokens of one forward pass, padding included.
        exact_margin: How close is close where float32 reads again; see `mrc.spans.are_close`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        max_seq_length: int,
        *,
        device: torch.device,
        precision: str,
        max_batch_tokens: int | None,
        exact: bool,
        cast_weights: bool,
    ) -> None:
        """Find out how a model is best read; see `mrc.reader.Reader` for what the arguments are."""
        self.model = model.to(device)  # type: ignore[arg-type]
        self._tokenizer = tokenizer
        self._longest = max_seq_length
        dtype = usable_precision(self.model, precision)
        packing = find_packing(self.model, tokenizer, max_seq_length, dtype)
        self.collator = Collator(self.model, tokenizer, device, packing)
        self.layout: Layout = "packed"
        if packing is None:
            self.layout = "equal" if padding_shows(self.model, tokenizer, max_seq_length) else "padded"
        self.max_batch_tokens = max_batch_tokens or (32_768 if device.type == "cuda" else 2_048)
        light = in_precision(self.model, tokenizer, dtype, max_seq_length) if cast_weights else self.model
        self._first, self._again = _Pass(light, dtype), None
        if exact and dtype != torch.float32:
            self._again = _Pass(self.model, torch.float32)
        else:
            self.model = light
        self.exact_margin = math.inf
        # Where the weights are of another precision, autocast has to cast them.
        if cast_weights and light.dtype == dtype and device.type == "cpu":
            for by in filter(None, (self._first, self._again)):
                block_weights(by.model, tokenizer, max_seq_length)

    @property
    def reads_twice(self) -> bool:
        """Whether float32 reads again what is close: where that was asked for and the first pass is of less."""
        return self._again is not None

    def check_fits(self, max_seq_length: int) -> None:
        """Raise UsageError where the model does not take windows of that many tokens."""
        if max_seq_length > self._longest:
            check_fits(on_cpu(self.model), self._tokenizer, max_seq_length)
            self._longest = max_seq_length

    def save_model(self, folder: str | Path) -> None:
        """Write the model as a Hugging Face folder, without its tokenizer."""
        self.model.save_pretrained(folder, state_dict=plain_weights(self.model))

    @torch.inference_mode()
    def find(self, located: Windows, num_examples: int, config: SpanConfig, look: Look | None = None) -> ExampleSpans:
        """Return the n best spans of every example.

        Args:
            located: Windows as `locate` gives them.
            num_examples: What `located.example` counts to.
            config: How logits become answers.
            look: Called with all logits of the first pass, windows by windows.
        """
        everything = np.arange(len(located))
        rivals = 0 if self._again is None else _RIVALS
        with_rivals = replace(config, n_best_size=max(rivals, config.n_best_size))
        repeats = bounds_repeat(located.offsets, located.row_splits, with_rivals.n_best_size)
        spans = self._find_spans(self._first, located, everything, repeats, with_rivals, look)
        if self._again is None:
            return merge_windows(located.example, spans, num_examples=num_examples, config=config)
        is_close = are_close(
            merge_windows(located.example, spans, num_examples=num_examples, config=with_rivals),
            self.exact_margin,
            config,
        )
        again = everything[is_close[located.example]]
        spans = spans.replaced(again, self._find_spans(self._again, located, again, repeats, with_rivals, None))
        merged = merge_windows(located.example, spans, num_examples=num_examples, config=config)
        return replace(merged, read_again=is_close)

    def _find_spans(
        self,
        by: _Pass,
        located: Windows,
        chosen: np.ndarray,
        repeats: np.ndarray,
        config: SpanConfig,
        look: Look | None,
    ) -> WindowSpans:
        """Return the best spans of the windows chosen, in that order."""
        by.model.train(mode=False)
        batches = token_budget_batches(located.lengths[chosen], self.max_batch_tokens, self.layout)
        found = [WindowSpans.none(config.n_best_size)]
        unread: list[Logits] = []
        for batch in batches:
            unread += self._read_parts(by, located, chosen[batch])
            if sum(len(logits.windows) for logits in unread) >= _WINDOWS_AT_ONCE or batch is batches[-1]:
                logits = self._join(unread)
                spans = window_spans(
                    logits.start,
                    logits.end,
                    located,
                    logits.windows,
                    side=self.collator.padding_side,
                    repeats=repeats,
                    config=config,
                )
                found.append(spans)
                unread.clear()
                if look is not None:
                    look(logits)
        spans = WindowSpans.concatenate(found)
        return spans.take(np.argsort(np.concatenate(batches))) if batches else spans

    def _read_parts(self, by: _Pass, located: Windows, batch: np.ndarray) -> list[Logits]:
        """Read a batch, in halves where it does not fit into the device's memory."""
        try:
            return [self._read_batch(by, located, batch)]
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
        middle = len(batch) // 2
        return [part for half in (batch[:middle], batch[middle:]) for part in self._read_parts(by, located, half)]

    def _read_batch(self, by: _Pass, located: Windows, batch: np.ndarray) -> Logits:
        inputs = self.collator.to_device(self.collator.inputs(located.take(batch)))
        with autocast(by.model, by.dtype):
            start, end = forward(by.model, inputs)
        return Logits(batch, start, end, inputs["attention_mask"])

    def _join(self, parts: list[Logits]) -> Logits:
        """Make one batch of several."""
        longest = max(part.start.shape[1] for part in parts)
        is_left = self.collator.padding_side == "left"

        def joined(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
            missing = ((longest - tensor.shape[1], tensor) for tensor in tensors)
            return torch.cat([torch.nn.functional.pad(t, (n, 0) if is_left else (0, n)) for n, t in missing])

        return Logits(
            np.concatenate([part.windows for part in parts]),
            joined(part.start for part in parts),
            joined(part.end for part in parts),
            joined(part.attention_mask for part in parts),
        )
