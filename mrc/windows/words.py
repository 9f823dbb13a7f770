"""Texts -> tokens by way of their words, of which a process tokenizes each once.

Most tokenizers split a text at white space before anything else, and what they make of a word depends on that word
alone. Most words of a text have been met before. So the tokens of a text are looked up, word by word, in a few calls of
Arrow and numpy, and the tokenizer itself reads new words only.

That holds for words that begin and end with letters, digits or common punctuation and stand between two such words.
Marks join the character before them, normalizers turn some characters into spaces and join those with others, and what
spells a token that was added to the vocabulary may take in spaces on both sides. So any other word is tokenized each
time, together with the word behind it, and where a text begins with one, together with the whole text; and so is a long
one, since scripts without spaces have words that never come again. Between its ends a word may have anything, for its
neighbours do not come near that.

Which tokenizers read words by themselves is seen from what they are put together of: the parts named below are those
whose code (tokenizers 0.23) does.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from mrc.batching import ragged_ranges
from mrc.windows.tokens import IntArray, Tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Encode = Callable[[Sequence[str]], Tokens]

_EDGE = r"(?![\u037a\ufc5e-\ufc63\ufe70-\ufe7f])[\w!-~¡§©«®°±·»¿×‐-‖‘-‧€、-】]"
"""A letter or digit (`\\w` has no marks) but those that NFKC makes a space and a mark; or punctuation that stays."""

_WORD = re.compile(rf" {{0,4}}{_EDGE}(?:.{{0,38}}(?:{_EDGE}|[\u0300-\u036f\u0900-\u0dff]))?", re.DOTALL)
"""A word with the spaces before it. At its end, unlike at its beginning, marks are in no one's way (Hindi has many)."""

_FIRST = "a"
"""What stands before words that are tokenized, so that they do not stand at the beginning of a text."""

_PROBE = "Reading 한국어 and 中文的 words: don't (O'Neil's 1,897) – “Zürich”, is it?"

_MOST_WORDS = 2**17
"""Words kept, some 30 MB. More of them, and all are forgotten: the common ones are soon back."""

_WORDS_PER_TEXT = 256
_CHARACTERS_AT_ONCE = 2**20

_NORMALIZERS = {
    "BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled", "Strip", "StripAccents",
}  # fmt: skip
_RUNS_OF_SPACES = {" {2,}", r"\s+"}
_SPLITS_AT_SPACES = {"BertPreTokenizer", "ByteLevel", "Metaspace", "Whitespace", "WhitespaceSplit"}
_SPLITS_WORDS = {"Digits", "Punctuation"}
_MODELS = {"BPE", "Unigram", "WordLevel", "WordPiece"}


class Words:
    """The tokens of the words that were met so far, as they stand inside a text. Pickled, it has met none.

    A word begins with the spaces before it, which tokens may take in.
    """

    def __init__(self, added: Sequence[str]) -> None:
        """Take the tokens that were added to the vocabulary, which are found before a text is split."""
        self._added = added
        self._spells_added = re.compile("|".join(map(re.escape, added)) or "(?!)").search
        self._forget()

    def __reduce__(self) -> tuple[Any, ...]:
        return Words, (self._added,)

    @classmethod
    def of(cls, backend: "Tokenizer", encode: Encode) -> "Words | None":
        """Return an empty table, or None where the tokenizer does not read each word by itself."""
        if not _reads_words(backend):
            return None
        added = [token.content for token in backend.get_added_tokens_decoder().values()]
        try:
            by_words, whole = cls(added)._tokenize([_PROBE], encode), encode([_PROBE])
        except _TokenCrossesWordsError:
            return None
        same = np.array_equal(by_words.input_ids, whole.input_ids) and np.array_equal(by_words.offsets, whole.offsets)
        return cls(added) if same else None

    def tokenize(self, texts: Sequence[str], encode: Encode) -> Tokens:
        """Return the tokens of each text, as `encode` gives them for whole texts, which is asked for what is new."""
        try:
            return Tokens.concatenate([self._tokenize(chunk, encode) for chunk in _chunks(texts)])
        except _TokenCrossesWordsError:
            return encode(texts)

    def _forget(self) -> None:
        self._numbers: dict[str, int] = {}
        self._tokens = Tokens.concatenate([])

    def _tokenize(self, texts: Sequence[str], encode: Encode) -> Tokens:
        words, which, text, at = _split(texts)
        number = self._numbers_of(words, encode)[which]
        # A run of words that are not in the table, with the word behind it, is one word that is tokenized now. So is a
        # text that begins with one or with a space: a normalizer that drops its first characters moves all its offsets.
        read_whole = np.fromiter((each.startswith(" ") for each in texts), np.bool_, len(texts))
        read_whole[text[(at == 0) & (number < 0)]] = True
        has_left = np.append(False, text[1:] == text[:-1])[: len(text)]
        in_run = (number < 0) | (has_left & (np.roll(number, 1) < 0)) | read_whole[text]
        begins_run = in_run & ~(has_left & np.roll(in_run, 1))
        kept = begins_run | ~in_run
        number, text, at, begins_run = number[kept], text[kept], at[kept], begins_run[kept]
        length = np.fromiter(map(len, texts), np.int64, len(texts))
        stop = np.append(at[1:], 0)[: len(at)]
        stop = np.where(stop > 0, stop, length[text])  # the last word of a text has no neighbour, or one at 0
        runs = zip(text[begins_run].tolist(), at[begins_run].tolist(), stop[begins_run].tolist(), strict=True)
        unknown = [texts[i][begin:end] for i, begin, end in runs]
        groups = [[i] if begin == 0 else [-1, i] for i, begin in enumerate(at[begins_run].tolist())]
        number[begins_run] = len(self._numbers) + np.arange(len(unknown))

        pool = self._tokens
        if unknown:
            pool = Tokens.concatenate([pool, _tokenize_words(unknown, groups, encode)])
        num_tokens = pool.lengths[number]
        tokens = ragged_ranges(pool.row_splits[number], num_tokens)
        return Tokens.of(
            np.bincount(text, weights=num_tokens, minlength=len(texts)).astype(np.int64),
            pool.input_ids[tokens],
            pool.offsets[tokens] + np.repeat(at.astype(np.int32), num_tokens)[:, None],
        )

    def _numbers_of(self, words: Sequence[str], encode: Encode) -> IntArray:
        """Return the place of each word in the table, or -1 where it does not belong there."""
        if len(self._numbers) > _MOST_WORDS:
            self._forget()
        number = np.fromiter(map(self._numbers.get, words, repeat(-1)), np.int64, len(words))
        added = [
            i
            for i in np.flatnonzero(number < 0).tolist()
            if _WORD.fullmatch(words[i]) and not self._spells_added(words[i])
        ]
        if added:
            new = [words[i] for i in added]
            is_inner = [word[0] == " " for word in new]
            inner = [i for i, inside in enumerate(is_inner) if inside]
            groups = [[-1, *inner[begin : begin + _WORDS_PER_TEXT]] for begin in range(0, len(inner), _WORDS_PER_TEXT)]
            groups += [[i] for i, inside in enumerate(is_inner) if not inside]
            self._tokens = Tokens.concatenate([self._tokens, _tokenize_words(new, groups, encode)])
            number[added] = len(self._numbers) + np.arange(len(new))
            self._numbers.update(zip(new, number[added].tolist(), strict=True))
        return number


def _split(texts: Sequence[str]) -> tuple[list[str], IntArray, IntArray, IntArray]:
    """Cut texts before each run of spaces.

    Returns:
        Each word once; and for each word of each text, in order, shape (num_words,) each: which word it is, its text,
        and its first character in that text.
    """
    encoded = [text.encode() for text in texts]
    raw = np.frombuffer(b"".join(encoded), np.uint8)
    sizes = np.fromiter(map(len, encoded), np.int64, len(encoded))
    begins = np.cumsum(sizes) - sizes
    is_cut = np.zeros(len(raw) + 1, np.bool_)
    is_space = raw == ord(" ")
    is_cut[:-1] |= is_space
    is_cut[1:-1] &= ~(is_space[1:] & is_space[:-1])
    is_cut[begins] = is_cut[-1] = True
    cuts = np.flatnonzero(is_cut)
    words = pa.LargeStringArray.from_buffers(len(cuts) - 1, pa.py_buffer(cuts), pa.py_buffer(raw)).dictionary_encode()
    # Of texts that begin at the same byte all but the last are empty.
    text = np.searchsorted(begins, cuts[:-1], side="right") - 1
    characters = np.concatenate([[0], np.cumsum((raw & 0xC0) != 0x80)])  # before each byte
    at = characters[cuts[:-1]] - characters[begins[text]]
    return words.dictionary.to_pylist(), words.indices.to_numpy(), text, at


class _TokenCrossesWordsError(Exception):
    """The tokenizer does not read each word by itself."""


def _tokenize_words(words: Sequence[str], groups: Sequence[Sequence[int]], encode: Encode) -> Tokens:
    """Return the tokens of words, with offsets from the beginning of each, the space too.

    Args:
        words: What is new.
        groups: The words of each text to tokenize, behind one another; -1 is `_FIRST`.
        encode: Tokenizes texts.
    """
    spelled = [*words, _FIRST]
    tokens = encode(["".join([spelled[i] for i in group]) for group in groups])
    word = np.fromiter(chain.from_iterable(groups), np.int64)
    # Places are characters of all texts, end to end.
    ends = np.cumsum(np.fromiter(map(len, spelled), np.int64, len(spelled))[word])
    begins = np.concatenate([[0], ends[:-1]])[: len(ends)]
    last = np.cumsum(np.array([len(group) for group in groups], np.int64)) - 1
    first = np.concatenate([[0], last + 1])[: len(groups)]
    spans = tokens.offsets + np.repeat(begins[first], tokens.lengths)[:, None]
    owner = np.searchsorted(begins, spans[:, 0], side="right") - 1
    owner = np.minimum(owner, np.repeat(last, tokens.lengths))  # of a token without characters at a text's end
    if np.any(np.diff(owner) < 0) or np.any(spans[:, 1] > ends[owner]):
        raise _TokenCrossesWordsError
    length = np.bincount(owner, minlength=len(word))
    slot = np.empty(len(words), np.int64)
    slot[word[word >= 0]] = np.flatnonzero(word >= 0)
    picked = ragged_ranges((np.cumsum(length) - length)[slot], length[slot])
    offsets = (spans - begins[owner][:, None]).astype(np.int32)
    return Tokens.of(length[slot], tokens.input_ids[picked], offsets[picked])


def _chunks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut texts into runs of about so many characters, since each takes some arrays of that length."""
    begin = size = 0
    for i, text in enumerate(texts):
        size += len(text)
        if size >= _CHARACTERS_AT_ONCE:
            yield texts[begin : i + 1]
            begin, size = i + 1, 0
    if begin < len(texts):
        yield texts[begin:]


def _reads_words(backend: "Tokenizer") -> bool:
    """Say whether a tokenizer splits at spaces before it looks for tokens, and no part of it sees two words at once."""
    added = backend.get_added_tokens_decoder().values()
    return (
        type(backend.model).__name__ in _MODELS
        and not getattr(backend.model, "dropout", None)
        and _normalizes_words(_parts(backend.normalizer))
        and _splits_at_spaces(_parts(backend.pre_tokenizer))
        and not any(token.normalized or any(map(str.isspace, token.content)) for token in added)
    )


def _parts(component: Any) -> list[dict[str, Any]]:
    """Return the settings of a component's parts, one after the other."""
    if component is None:
        return []
    try:
        state = json.loads(component.__getstate__())
    except Exception:  # one that is written in Python
        return [{"type": "unknown"}]
    parts: list[dict[str, Any]] = state.get("normalizers") or state.get("pretokenizers") or [state]
    return parts


def _normalizes_words(parts: Sequence[dict[str, Any]]) -> bool:
    return all(part["type"] in _NORMALIZERS or (part["type"] == "Replace" and _is_within_words(part)) for part in parts)


def _is_within_words(replacement: dict[str, Any]) -> bool:
    pattern = replacement["pattern"]
    if "String" in pattern:
        return not any(map(str.isspace, pattern["String"]))
    return pattern["Regex"] in _RUNS_OF_SPACES and replacement["content"] == " "


def _splits_at_spaces(parts: Sequence[dict[str, Any]]) -> bool:
    kinds = {part["type"] for part in parts}
    joins = any(part.get("split") is False or part.get("use_regex") is False for part in parts)
    return bool(kinds & _SPLITS_AT_SPACES) and kinds <= _SPLITS_AT_SPACES | _SPLITS_WORDS and not joins
