"""Questions -> windows padded to 384 tokens, as run_qa's `prepare_validation_features` and `prepare_train_features`."""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import BatchEncoding, PreTrainedTokenizerBase

MAX_SEQ_LENGTH = 384
DOC_STRIDE = 128

Columns = Mapping[str, list[Any]]


def validation_features(rows: Columns, tokenizer: PreTrainedTokenizerBase) -> BatchEncoding:
    """Return windows with the id of each one's question, and offsets that are None outside the context."""
    encoded = _cut(rows, tokenizer)
    encoded["example_id"] = [rows["id"][row] for row in encoded.pop("overflow_to_sample_mapping")]
    context = _context_index(tokenizer)
    encoded["offset_mapping"] = [
        [pair if part == context else None for pair, part in zip(pairs, encoded.sequence_ids(window), strict=True)]
        for window, pairs in enumerate(encoded["offset_mapping"])
    ]
    return encoded


def train_features(rows: Columns, tokenizer: PreTrainedTokenizerBase) -> BatchEncoding:
    """Return windows with the tokens at which the answer starts and ends, the CLS where it is not in the window."""
    encoded = _cut(rows, tokenizer)
    golds = [rows["answers"][row] for row in encoded.pop("overflow_to_sample_mapping")]
    offsets = encoded.pop("offset_mapping")
    labels = [_label(encoded, window, offsets[window], gold, tokenizer) for window, gold in enumerate(golds)]
    encoded["start_positions"] = [start for start, _ in labels]
    encoded["end_positions"] = [end for _, end in labels]
    return encoded


def _context_index(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return which of the two texts of a window the context is: the first where padding stands on the left."""
    return 1 if tokenizer.padding_side == "right" else 0


def _cut(rows: Columns, tokenizer: PreTrainedTokenizerBase) -> BatchEncoding:
    texts = [question.lstrip() for question in rows["question"]], rows["context"]
    context = _context_index(tokenizer)
    encoded: BatchEncoding = tokenizer(
        texts[1 - context],
        texts[context],
        truncation="only_second" if context == 1 else "only_first",
        max_length=min(MAX_SEQ_LENGTH, tokenizer.model_max_length),
        stride=DOC_STRIDE,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding="max_length",
    )
    return encoded


def _label(
    encoded: BatchEncoding,
    window: int,
    offsets: Sequence[tuple[int, int]],
    gold: Mapping[str, list[Any]],
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[int, int]:
    """Return the tokens between which the first gold answer stands.

    An answer that begins in the window's last token of the context starts, as in run_qa, in the row's last token: the
    offsets of what comes after the context are (0, 0), so the search for a later start runs through it.
    """
    ids = encoded["input_ids"][window]
    null = next((ids.index(token) for token in (tokenizer.cls_token_id, tokenizer.bos_token_id) if token in ids), 0)
    context = [k for k, part in enumerate(encoded.sequence_ids(window)) if part == _context_index(tokenizer)]
    if not gold["text"]:
        return null, null
    start, end = gold["answer_start"][0], gold["answer_start"][0] + len(gold["text"][0])
    if start < offsets[context[0]][0] or end > offsets[context[-1]][1]:
        return null, null
    after = next((k for k in range(context[0], len(ids)) if offsets[k][0] > start), len(ids))
    before = next(k for k in range(context[-1], -1, -1) if offsets[k][1] < end)
    return after - 1, before + 1
