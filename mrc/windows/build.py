"""Examples -> windows: the same as Hugging Face's run_qa gets from the tokenizer, each distinct text tokenized once."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from mrc.batching import ragged_ranges
from mrc.errors import UsageError
from mrc.examples import Example
from mrc.windows.pairs import PairTemplate, PairTokenizer, keep_first_space
from mrc.windows.tokens import IntArray, Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_WINDOW_GROWTH = 8
"""A long question may cut a context into about this many times the windows that an empty question would."""


@dataclass(frozen=True, kw_only=True)
class WindowConfig:
    """How contexts are cut into windows.

    Raises:
        UsageError: A value is out of its range.
    """

    max_seq_length: int = 384
    """Most tokens in a window: special tokens, question and context together."""

    doc_stride: int = 128
    """Overlap of neighbouring windows in context tokens: Hugging Face's meaning (for BERT's run_squad, the step)."""

    max_question_length: int | None = None
    """Questions are cut after this many tokens; None cuts none and rejects what leaves too little room."""

    def __post_init__(self) -> None:
        if self.doc_stride < 0:
            raise UsageError(f"--doc_stride {self.doc_stride} is below 0: it is the overlap of windows in tokens")
        if self.max_seq_length <= self.doc_stride:
            raise UsageError(
                f"--max_seq_length {self.max_seq_length} is not over --doc_stride {self.doc_stride}, the overlap of "
                "windows, so they could not move on: lower --doc_stride"
            )
        if self.max_question_length is not None and self.max_question_length < 1:
            raise UsageError(f"--max_question_length {self.max_question_length} is below 1: give tokens, or null")


@dataclass(frozen=True)
class Windows:
    """Windows of any lengths, end to end: the tokens of window w are `row_splits[w]:row_splits[w + 1]`."""

    example: npt.NDArray[np.int32]
    """Shape (num_windows,): index of the window's example among the examples given."""

    row_splits: npt.NDArray[np.int64]
    """Shape (num_windows + 1,): where windows begin and end, in tokens."""

    input_ids: npt.NDArray[np.int32]
    """Shape (num_tokens,)."""

    token_type_ids: npt.NDArray[np.int8] | None
    """Shape (num_tokens,); None where the model takes none (`model_input_names` of its tokenizer)."""

    offsets: npt.NDArray[np.int32]
    """Shape (num_tokens, 2): half-open characters of the original context; (-1, -1) outside the context."""

    null_index: npt.NDArray[np.int32]
    """Shape (num_windows,): the token of the window that stands for "no answer here".

    The CLS token, else the BOS token, else the window's first token: as in Hugging Face's run_qa, which however takes a
    CLS spelled out in the text for the window's own where that one stands last (XLNet).
    """

    def __len__(self) -> int:
        return len(self.example)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each window; shape (num_windows,)."""
        return np.diff(self.row_splits)

    def take(self, indices: IntArray) -> "Windows":
        """Return the windows at `indices`, shape (n,), in that order."""
        lengths = self.lengths[indices]
        tokens = ragged_ranges(self.row_splits[indices], lengths)
        return Windows(
            example=self.example[indices],
            row_splits=_row_splits(lengths),
            input_ids=self.input_ids[tokens],
            token_type_ids=None if self.token_type_ids is None else self.token_type_ids[tokens],
            offsets=self.offsets[tokens],
            null_index=self.null_index[indices],
        )

    def without(self, examples: Collection[int], num_examples: int) -> "Windows":
        """Return the windows as numbered once some of `num_examples` examples, which have none, are left out."""
        kept = np.ones(num_examples, dtype=bool)
        kept[list(examples)] = False
        return replace(self, example=(np.cumsum(kept) - 1).astype(np.int32)[self.example])


class Rejection(NamedTuple):
    """An example without windows: its index, a reason code, and what was seen with the remedy."""

    example: int
    reason: str
    detail: str


class _Pieces(NamedTuple):
    """For each window a run of tokens: shape (num_windows,) each, `start` counted in all of `tokens`."""

    tokens: Tokens
    start: IntArray
    length: IntArray


def make_windows(
    examples: Sequence[Example], tokenizer: "PairTokenizer | PreTrainedTokenizerBase", config: WindowConfig
) -> tuple[Windows, list[Rejection]]:
    """Cut examples into windows, as the tokenizer itself would for Hugging Face's run_qa.

    That is `tokenizer(question.strip(), context, truncation="only_second", max_length=max_seq_length,
    stride=doc_stride, return_overflowing_tokens=True, return_offsets_mapping=True)`, and for tokenizers that pad on the
    left the context first and "only_first".

    A context that fits beside its question is one window, an empty one too. Else a window moves on by
    `max_seq_length - special tokens - question tokens - doc_stride`, and where that step is under
    `(max_seq_length - doc_stride) / MAX_WINDOW_GROWTH` the example is rejected. At 384 and 128, BERT's questions may
    have 221 tokens; with 252 every context token would begin a window, and from 253 the tokenizer panics.

    Args:
        examples: The examples of one unit, in texts that UTF-8 can encode.
        tokenizer: A fast one, or what PairTokenizer.of took of it, which spares every call its probes. It is left as it
            was, but other threads must not use it meanwhile.
        config: Lengths in tokens.

    Returns:
        Windows in the order of the examples, at least one for each that is not rejected; and the rejected, for
        "question_too_long" or "no_tokens" (neither text gives any token and the tokenizer adds none).

    Raises:
        UsageError: The tokenizer is unfit, or the config leaves no room even for a question of one token.
    """
    tokenizer = PairTokenizer.of(tokenizer)
    template = tokenizer.template
    limit, min_step = _question_limit(config, template)
    questions, question_of = _distinct(example.question.strip() for example in examples)
    contexts, context_of = _distinct(example.context for example in examples)
    question_tokens, context_tokens = tokenizer.tokenize(questions), tokenizer.tokenize(contexts)
    question_length, context_length = question_tokens.lengths[question_of], context_tokens.lengths[context_of]
    if config.max_question_length is not None:
        question_length = np.minimum(question_length, config.max_question_length)

    room = config.max_seq_length - template.num_special - question_length
    too_long = (context_length > room) & (room - config.doc_stride < min_step)
    no_tokens = question_length + context_length + template.num_special == 0
    example, start, stop = _cut(context_length, room, config.doc_stride, ~(too_long | no_tokens))
    if tokenizer.truncation_side == "left":
        start, stop = context_length[example] - stop, context_length[example] - start

    question = _Pieces(question_tokens, question_tokens.row_splits[question_of[example]], question_length[example])
    context = _Pieces(context_tokens, context_tokens.row_splits[context_of[example]] + start, stop - start)
    windows = _assemble(template, example, question, context)
    if template.keeps_first_space:
        later = start > 0
        first = windows.row_splits[:-1] + _context_shift(template, question)
        keep_first_space(windows.offsets, windows.input_ids, first[later], tokenizer)
    rejections = [
        Rejection(int(i), "question_too_long", _too_long_detail(config, int(question_length[i]), int(room[i]), limit))
        if too_long[i]
        else Rejection(int(i), "no_tokens", "the tokenizer finds no token in the question nor in the context")
        for i in np.flatnonzero(too_long | no_tokens)
    ]
    return windows, rejections


def _question_limit(config: WindowConfig, template: PairTemplate) -> tuple[int, int]:
    """Return the most question tokens that a context of any length allows, and the smallest step, in tokens."""
    min_step = -(-(config.max_seq_length - config.doc_stride) // MAX_WINDOW_GROWTH)
    limit = config.max_seq_length - template.num_special - config.doc_stride - min_step
    if limit < 1:
        raise UsageError(
            f"--max_seq_length {config.max_seq_length} leaves no room for a question beside --doc_stride "
            f"{config.doc_stride}, {template.num_special} special tokens and a step of {min_step}: raise "
            "--max_seq_length or lower --doc_stride"
        )
    return limit, min_step


def _too_long_detail(config: WindowConfig, question_length: int, room: int, limit: int) -> str:
    return (
        f"the question has {question_length} tokens, which leaves the context {room} of --max_seq_length "
        f"{config.max_seq_length}, too few to move on with --doc_stride {config.doc_stride}: cut questions with "
        f"--max_question_length {limit}, or raise --max_seq_length"
    )


def _distinct(texts: Iterable[str]) -> tuple[list[str], IntArray]:
    """Return each text once, and for every text given the index of its like."""
    index: dict[str, int] = {}
    which = np.fromiter((index.setdefault(text, len(index)) for text in texts), np.int64)
    return list(index), which


def _cut(
    length: IntArray, room: IntArray, overlap: int, accepted: npt.NDArray[np.bool_]
) -> tuple[IntArray, IntArray, IntArray]:
    """Return, for each window, its example and its half-open run of context tokens.

    The rule is that of `Encoding.truncate` in tokenizers: windows begin every `room - overlap` tokens, and the first to
    reach the end of the context is the last. With a room of 5 and an overlap of 2, 9 tokens are 0-5, 3-8, 6-9.

    Args:
        length: Shape (num_examples,): tokens of the context.
        room: Shape (num_examples,): context tokens that a window holds.
        overlap: Tokens that neighbouring windows share.
        accepted: Shape (num_examples,): the examples that get windows.
    """
    step = np.maximum(room - overlap, 1)
    count = np.where(accepted, 1 + np.maximum(-((room - length) // step), 0), 0)
    example = np.repeat(np.arange(len(length)), count)
    start = ragged_ranges(np.zeros_like(count), count) * step[example]
    return example, start, np.minimum(start + room[example], length[example])


def _context_shift(template: PairTemplate, question: _Pieces) -> IntArray:
    """Return where in its window each context begins, in tokens; shape (num_windows,)."""
    prefix, middle, _ = map(len, template.special_ids)
    return np.full_like(question.length, prefix) if template.context_first else prefix + question.length + middle


def _assemble(template: PairTemplate, example: IntArray, question: _Pieces, context: _Pieces) -> Windows:
    """Join the pieces of each window and the special tokens around them.

    The template's five parts, with all tokens of all texts in them, are laid end to end as one pool. A window is five
    runs of the pool, and all windows are one gather from it.
    """
    first, second = (context, question) if template.context_first else (question, context)
    prefix, middle, suffix = (np.array(ids, np.int32) for ids in template.special_ids)
    pool_ids = [prefix, first.tokens.input_ids, middle, second.tokens.input_ids, suffix]
    sizes = np.array([len(ids) for ids in pool_ids])

    starts = np.tile(np.cumsum(sizes) - sizes, (len(example), 1))
    lengths = np.tile(sizes, (len(example), 1))
    for part, pieces in ((1, first), (3, second)):
        starts[:, part] += pieces.start
        lengths[:, part] = pieces.length
    tokens = ragged_ranges(starts.ravel(), lengths.ravel())

    pool_offsets = [np.full((size, 2), -1, np.int32) for size in sizes]
    pool_offsets[1 if template.context_first else 3] = context.tokens.offsets
    token_type_ids = None
    if template.type_ids is not None:
        pool_types = [
            np.broadcast_to(np.array(of, np.int8), size) for of, size in zip(template.type_ids, sizes, strict=True)
        ]
        token_type_ids = np.concatenate(pool_types)[tokens]
    return Windows(
        example=example.astype(np.int32),
        row_splits=_row_splits(lengths.sum(axis=1)),
        input_ids=np.concatenate(pool_ids)[tokens],
        token_type_ids=token_type_ids,
        offsets=np.concatenate(pool_offsets)[tokens],
        null_index=(lengths[:, : template.null_part].sum(axis=1) + template.null_shift).astype(np.int32),
    )


def _row_splits(lengths: IntArray) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
