"""How a fast tokenizer reads texts, and how it puts a pair of them together."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mrc.errors import UsageError
from mrc.windows.tokens import IntArray, Tokens
from mrc.windows.words import Words

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

_TEXTS_PER_CALL = 256
"""Texts tokenized in one call: a call makes Python objects for every token, of which only arrays are kept."""

_PROBE = "a b 1 가 あ ?"
"""Any text in which every tokenizer finds some token."""

_WORDS = "reading 한국어 and 中文的 words"
"""Any text that shows whether words are taken apart."""


@dataclass(frozen=True)
class PairTemplate:
    """What stands around a pair of texts, as five parts: prefix, first text, middle, second text, suffix."""

    special_ids: tuple[list[int], list[int], list[int]]
    """Ids of the prefix, the middle and the suffix; any of them may be empty."""

    type_ids: tuple[list[int], list[int], list[int], list[int], list[int]] | None
    """Type ids of each part (a text has one for all its tokens); None where the model takes none."""

    context_first: bool
    """The context is the first text, as Hugging Face's run_qa has it for tokenizers that pad on the left."""

    null_part: int
    """The part that holds the null token: the first special token that is CLS, else BOS, else the window's first."""

    null_shift: int
    """Where in that part the null token is."""

    keeps_first_space: bool
    """Whether the first token of an overflow window keeps a leading space in its offsets; see keep_first_space."""

    @property
    def null_is_last(self) -> bool:
        """Whether the null token stands behind both texts."""
        return self.null_part == 4

    @property
    def num_special(self) -> int:
        """Special tokens in a window."""
        return sum(map(len, self.special_ids))


def read_template(tokenizer: "PreTrainedTokenizerBase") -> PairTemplate:
    """Read off a probe how the tokenizer puts a pair of texts together.

    Raises:
        UsageError: The tokenizer is not a fast one, takes more than text, or puts no pair together.
    """
    if not tokenizer.is_fast:
        raise UsageError(
            f"{type(tokenizer).__name__} is a slow tokenizer, which gives no character offsets: "
            "choose a --model with a fast tokenizer (tokenizer.json)"
        )
    with _state_kept(tokenizer.backend_tokenizer):
        try:
            pair = tokenizer([_PROBE], [_PROBE], return_token_type_ids=True, verbose=False)
        except ValueError as error:  # LayoutLM's want a box for each word
            raise UsageError(
                f"{type(tokenizer).__name__} does not take plain text: {error}: choose another --model"
            ) from error
        keeps_first_space = _probe_first_space(tokenizer)
    ids, type_ids, text_of = pair["input_ids"][0], pair["token_type_ids"][0], pair.sequence_ids(0)
    first, second = ([i for i, text in enumerate(text_of) if text == which] for which in (0, 1))
    if not first or not second or first[-1] > second[0]:
        raise UsageError(
            f"{type(tokenizer).__name__} does not put a pair of texts one after the other: choose another --model"
        )
    cuts = [0, first[0], first[-1] + 1, second[0], second[-1] + 1, len(ids)]
    prefix, first_types, middle, second_types, suffix = (slice(*cut) for cut in pairwise(cuts))
    special_ids = (ids[prefix], ids[middle], ids[suffix])
    null_part, null_shift = _find_null(special_ids, tokenizer)
    return PairTemplate(
        special_ids=special_ids,
        type_ids=(
            (
                type_ids[prefix],
                type_ids[first_types][:1],
                type_ids[middle],
                type_ids[second_types][:1],
                type_ids[suffix],
            )
            if "token_type_ids" in tokenizer.model_input_names
            else None
        ),
        context_first=tokenizer.padding_side == "left",
        null_part=null_part,
        null_shift=null_shift,
        keeps_first_space=keeps_first_space,
    )


@dataclass(frozen=True)
class PairTokenizer:
    """What windows take of a fast tokenizer; pickled, it spares other processes transformers, which is slow to import.

    It shares its backend with the tokenizer that it is of, and leaves it as it was.
    """

    backend: "Tokenizer"

    template: PairTemplate

    splits_special: bool
    """Whether special tokens that are spelled out in a text are read as text."""

    truncation_side: str
    """The end at which a context loses what is another window's: "left" or "right"."""

    words: Words | None = field(default=None, compare=False, repr=False)
    """The words that were met so far; None where the backend does not read each word by itself."""

    @classmethod
    def of(cls, tokenizer: "PairTokenizer | PreTrainedTokenizerBase") -> "PairTokenizer":
        """Take what windows need.

        Raises:
            UsageError: The tokenizer is not a fast one, takes more than text, or puts no pair together.
        """
        if isinstance(tokenizer, PairTokenizer):
            return tokenizer
        template = read_template(tokenizer)
        whole = cls(
            tokenizer.backend_tokenizer, template, bool(tokenizer.split_special_tokens), tokenizer.truncation_side
        )
        with _state_kept(tokenizer.backend_tokenizer):
            expected = tokenizer([_WORDS], add_special_tokens=False, verbose=False)["input_ids"][0]
        if whole.tokenize([_WORDS]).input_ids.tolist() != expected:
            raise UsageError(
                f"{type(tokenizer).__name__} changes texts before its tokenizer.json reads them: choose another --model"
            )
        return replace(whole, words=Words.of(tokenizer.backend_tokenizer, whole.tokenize))

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Return the tokens of each text, which are those of the whole text without special tokens."""
        return self._encode(texts) if self.words is None else self.words.tokenize(texts, self._encode)

    def _encode(self, texts: Sequence[str]) -> Tokens:
        """Give each text to the backend."""
        parts = []
        with _state_kept(self.backend):
            self.backend.no_truncation()
            self.backend.no_padding()
            self.backend.encode_special_tokens = self.splits_special
            for begin in range(0, len(texts), _TEXTS_PER_CALL):
                found = self.backend.encode_batch(texts[begin : begin + _TEXTS_PER_CALL], add_special_tokens=False)
                lengths = np.fromiter(map(len, found), np.int64)
                num_tokens = int(lengths.sum())
                ids = np.fromiter(chain.from_iterable(each.ids for each in found), np.int32, num_tokens)
                flat = chain.from_iterable(chain.from_iterable(each.offsets for each in found))
                offsets = np.fromiter(flat, np.int32, 2 * num_tokens).reshape(-1, 2)
                parts.append(Tokens.of(lengths, ids, offsets))
        return Tokens.concatenate(parts)


def keep_first_space(
    offsets: npt.NDArray[np.int32], input_ids: IntArray, first: IntArray, tokenizer: PairTokenizer
) -> None:
    """Give the first context token of later windows the offsets that the tokenizer's own overflow gives it, in place.

    Byte-level post-processors that trim offsets leave one leading space to the first token of every encoding, for the
    space that `add_prefix_space` put before the text. The rule sees overflow windows as encodings of their own, so the
    token " Paris" is (3, 8) in the middle of a window and (2, 8) at the head of one (tokenizers, `process_offsets` in
    pre_tokenizers/byte_level.rs). Only where PairTemplate.keeps_first_space.

    Args:
        offsets: Shape (num_tokens, 2), changed in place.
        input_ids: Shape (num_tokens,).
        first: Shape (n,): positions of the tokens concerned.
        tokenizer: Spells the tokens.
    """
    spelled = [tokenizer.backend.id_to_token(number) or "" for number in input_ids[first].tolist()]
    bare = [token.lstrip("Ġ \t\r\n") for token in spelled]
    spaced = first[[len(rest) < len(token) for rest, token in zip(bare, spelled, strict=True)]]
    only_space = first[[not rest for rest in bare]]
    offsets[spaced, 0] -= 1
    offsets[only_space, 1] = offsets[only_space, 0]


def _find_null(special_ids: Sequence[list[int]], tokenizer: "PreTrainedTokenizerBase") -> tuple[int, int]:
    """Return the part of the template, and the place in it, of the token that stands for no answer."""
    for token_id in (tokenizer.cls_token_id, tokenizer.bos_token_id):
        for part, ids in zip((0, 2, 4), special_ids, strict=True):
            if token_id in ids:
                return part, ids.index(token_id)
    return 0, 0


def _probe_first_space(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Tell whether a token has other offsets at the head of an overflow window than inside the text."""
    one_by_one = tokenizer(
        [_PROBE],
        add_special_tokens=False,
        truncation=True,
        max_length=1,
        stride=0,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    whole = tokenizer([_PROBE], add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return bool(list(chain.from_iterable(one_by_one["offset_mapping"])) != whole["offset_mapping"][0])


@contextlib.contextmanager
def _state_kept(backend: "Tokenizer") -> Iterator[None]:
    """Restore the truncation and padding of a backend, which every call to a tokenizer sets."""
    truncation, padding, split_special = backend.truncation, backend.padding, backend.encode_special_tokens
    try:
        yield
    finally:
        backend.encode_special_tokens = split_special
        backend.no_truncation()
        if truncation is not None:
            backend.enable_truncation(**truncation)
        if padding is not None:
            backend.enable_padding(**padding)
