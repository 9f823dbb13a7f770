"""Tokens by way of words: those of the whole text, whatever was read before, and each word is tokenized once."""

import copy
import pathlib
import pickle
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from benchmarks.measuring import read_examples
from mrc.windows import PairTokenizer, words
from mrc.windows.tokens import Tokens
from tests.test_window_tokenizers import CountingBackend
from tests.test_windows import ODDITIES, TEXTS, WORDS
from tests.tokenizers import CORPUS, FAMILIES, tokenizer_of

PROSE = st.lists(st.sampled_from([*WORDS, *ODDITIES]), max_size=30).map(" ".join)
"""Texts whose words stand alone, unlike most of TEXTS."""

each_family = pytest.mark.parametrize("family", FAMILIES)


def expected(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
    """Return the ids and offsets of each text, as the tokenizer reads it."""
    encoded = [tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False) for text in texts]
    return [(each["input_ids"], each["offset_mapping"]) for each in encoded]


def as_lists(tokens: Tokens) -> list[tuple[list[int], list[tuple[int, int]]]]:
    cuts = zip(tokens.row_splits[:-1].tolist(), tokens.row_splits[1:].tolist(), strict=True)
    return [
        (tokens.input_ids[begin:end].tolist(), [(start, stop) for start, stop in tokens.offsets[begin:end].tolist()])
        for begin, end in cuts
    ]


def counting(family: str) -> tuple[PairTokenizer, Counter[str]]:
    """Return a tokenizer, and the texts that its backend is given from now on."""
    backend = CountingBackend(tokenizer_of(family).backend_tokenizer)
    return replace(PairTokenizer.of(tokenizer_of(family)), backend=backend), backend.texts  # type: ignore[arg-type]


@each_family
@settings(max_examples=60)
@given(batches=st.lists(st.lists(PROSE | TEXTS, max_size=4), max_size=4))
def test_tokens_are_those_of_whole_texts_whatever_was_read_before(family: str, batches: list[list[str]]) -> None:
    tokenizer = PairTokenizer.of(tokenizer_of(family))
    assert tokenizer.words is not None
    for texts in batches:
        assert as_lists(tokenizer.tokenize(texts)) == expected(tokenizer_of(family), texts)


@each_family
def test_few_words_at_once_and_few_that_are_kept(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_MOST_WORDS", 7)
    monkeypatch.setattr(words, "_WORDS_PER_TEXT", 3)
    monkeypatch.setattr(words, "_CHARACTERS_AT_ONCE", 90)
    tokenizer = PairTokenizer.of(tokenizer_of(family))
    for texts in (CORPUS, ["", *reversed(CORPUS), ""], [" ".join(CORPUS)], [], CORPUS[:2]):
        assert as_lists(tokenizer.tokenize(texts)) == expected(tokenizer_of(family), texts)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "  ", "a", " a", "a ", "the  dog", "the dog\nand the dog", "the\tdog", "the dog\u00a0and",
        "the [SEP] dog", "the </s> dog", "dog<mask> dog", "e\u0301 \u0301e", "the \u00a8dog", "\ufdfa the \ufe70dog",
        "किताब में नाम है", "नाम \u094dहै", "the 😀 😀 dog", "dog 😀", "the dog.\n\nThe dog", "the \n dog", "a     dog",
        "\x07 the dog", "\u200bthe dog", "x" * 41 + " dog", "漢字かな交じり文。" * 9, "Łódź 한강 [dog] ``dog''",
    ],
)  # fmt: skip
@each_family
def test_texts_at_the_border_of_what_is_looked_up(family: str, text: str) -> None:
    tokenizer = PairTokenizer.of(tokenizer_of(family))
    for _ in range(2):
        assert as_lists(tokenizer.tokenize([text, CORPUS[0]])) == expected(tokenizer_of(family), [text, CORPUS[0]])


def test_each_word_is_tokenized_once() -> None:
    tokenizer, read = counting("bert_cased")
    tokenizer.tokenize(["the dog and the cat", "a cat and the dog", "the the"])
    assert read == {"a dog and the cat": 1, "the": 1, "a": 1}
    read.clear()
    tokenizer.tokenize(["a dog the the cat", "the cat"])
    assert not read
    tokenizer.tokenize(["the dog leaps", "the \u0301dog and the cat"])
    assert read == {"a leaps": 1, "a \u0301dog and": 1}


def test_a_process_that_is_sent_a_tokenizer_meets_its_own_words() -> None:
    tokenizer = PairTokenizer.of(tokenizer_of("bert_cased"))
    size = len(pickle.dumps(tokenizer))
    tokenizer.tokenize(CORPUS)
    pickled = pickle.dumps(tokenizer)
    assert len(pickled) == size
    assert as_lists(pickle.loads(pickled).tokenize(CORPUS)) == expected(tokenizer_of("bert_cased"), CORPUS)


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["xquad.de.json", "xquad.vi.json", "KorQuAD_v1.0_dev.json", "covidqa.json"])
@pytest.mark.parametrize("family", ["bert_uncased", "roberta", "multilingual_e5"])
def test_tokens_of_real_texts(family: str, name: str, real_data: pathlib.Path) -> None:
    read = read_examples(str(real_data / name), 300)
    texts = list(dict.fromkeys(text for each in read for text in (each.question, each.context)))
    tokenizer = PairTokenizer.of(tokenizer_of(family))
    for _ in range(2):
        assert as_lists(tokenizer.tokenize(texts)) == expected(tokenizer_of(family), texts)


def _joins_words(backend: Tokenizer) -> None:
    backend.pre_tokenizer = pre_tokenizers.Metaspace(split=False)


def _joins_words_by_bytes(backend: Tokenizer) -> None:
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(use_regex=False)


def _splits_nowhere(backend: Tokenizer) -> None:
    backend.pre_tokenizer = pre_tokenizers.Digits()


def _replaces_what_may_be_two_words(backend: Tokenizer) -> None:
    backend.normalizer = normalizers.Replace(Regex("lazy.dog"), "fox")


def _replaces_two_words(backend: Tokenizer) -> None:
    backend.normalizer = normalizers.Replace("lazy dog", "fox")


def _has_a_token_of_two_words(backend: Tokenizer) -> None:
    backend.add_tokens([AddedToken("lazy dog", normalized=False)])


def _has_a_token_that_is_normalized(backend: Tokenizer) -> None:
    backend.add_tokens([AddedToken("Lazy", normalized=True)])


@pytest.mark.parametrize(
    "change",
    [
        _joins_words, _joins_words_by_bytes, _splits_nowhere, _replaces_what_may_be_two_words, _replaces_two_words,
        _has_a_token_of_two_words, _has_a_token_that_is_normalized,
    ],
)  # fmt: skip
def test_a_tokenizer_that_may_see_two_words_at_once_reads_whole_texts(change: Callable[[Tokenizer], None]) -> None:
    own = tokenizer_of("bert_uncased")
    backend = copy.deepcopy(own.backend_tokenizer)
    change(backend)
    changed = PreTrainedTokenizerFast(tokenizer_object=backend, **own.special_tokens_map)  # type: ignore[no-untyped-call]
    tokenizer = PairTokenizer.of(changed)
    assert tokenizer.words is None
    assert as_lists(tokenizer.tokenize(CORPUS)) == expected(changed, CORPUS)


def _with_another_last_token(tokens: Tokens) -> Tokens:
    input_ids = tokens.input_ids.copy()
    input_ids[tokens.row_splits[1:] - 1] = 0
    return replace(tokens, input_ids=input_ids)


def _with_tokens_that_reach_into_the_next(tokens: Tokens) -> Tokens:
    return replace(tokens, offsets=tokens.offsets + np.array([0, 2], np.int32))


@pytest.mark.parametrize("change", [_with_another_last_token, _with_tokens_that_reach_into_the_next])
def test_what_a_tokenizer_is_put_together_of_is_not_all(change: Callable[[Tokens], Tokens]) -> None:
    """That it reads words by themselves is tried on a sentence, and looked at in every text."""
    tokenizer = PairTokenizer.of(tokenizer_of("bert_cased"))
    assert tokenizer.words is not None

    def encode(texts: Sequence[str]) -> Tokens:
        return change(replace(tokenizer, words=None).tokenize(texts))

    assert words.Words.of(tokenizer.backend, encode) is None
    if change is _with_tokens_that_reach_into_the_next:
        assert as_lists(tokenizer.words.tokenize(CORPUS, encode)) == as_lists(encode(CORPUS))
