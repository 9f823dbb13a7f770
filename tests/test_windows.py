"""Windows are those of the tokenizer itself, lose nothing of the context, and their labels cover the answers."""

import copy
import itertools
import json
import pathlib
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from mrc.errors import UsageError
from mrc.examples import Answer, Example
from mrc.windows import MAX_WINDOW_GROWTH, WindowConfig, Windows, label_windows, make_windows
from tests.tokenizers import CORPUS, FAMILIES, tokenizer_of

WORDS = sorted({word for sentence in CORPUS for word in sentence.split()})
ASCII_WORDS = [word for word in WORDS if word.isascii()]
ODDITIES = [
    *(
        "😀",
        "👩‍👩‍👧",
        "🇰🇷",
        "e\u0301",
        "\u0301",
        "각",
        unicodedata.normalize("NFD", "한강"),
        "ﬁ",
        "漢字",
        "İ",
        "ß",
        "¨",
        "Ǆ",
    ),
    *("\x00", "\x07", "\u200b", "\ufeff", "\u00ad", "\u3000", "\t", "\n", "\r\n", " ", "  ", "   ", "▁", "Ġ", "##"),
    *("[SEP]", "[CLS]", "[MASK]", "[UNK]", "<s>", "</s>", " </s> ", "<cls>", "<sep>", "<|endoftext|>", "``", "''"),
]

CHARACTERS = st.characters(exclude_categories=["Cs"])
FRAGMENTS = st.one_of(st.sampled_from(WORDS), st.sampled_from(ODDITIES), st.text(CHARACTERS, max_size=6), st.just(" "))
TEXTS = st.lists(FRAGMENTS, max_size=60).map("".join)
QUESTIONS = st.lists(FRAGMENTS, max_size=12).map("".join)
CONFIGS = st.integers(24, 64).flatmap(
    lambda length: st.builds(WindowConfig, max_seq_length=st.just(length), doc_stride=st.integers(0, length // 2))
)

each_family = pytest.mark.parametrize("family", FAMILIES)


def example(question: str, context: str, *answers: Answer, number: int = 0) -> Example:
    return Example(id=f"q{number}", question=question, context=context, answers=answers)


def numbered(pairs: Sequence[tuple[str, str]]) -> list[Example]:
    return [example(question, context, number=number) for number, (question, context) in enumerate(pairs)]


class Window(NamedTuple):
    """One window as lists."""

    ids: list[int]
    type_ids: list[int] | None
    offsets: list[tuple[int, int]]

    @property
    def context_ids(self) -> list[int]:
        return [token for token, (start, _) in zip(self.ids, self.offsets, strict=True) if start >= 0]


def as_lists(windows: Windows, which: int | None = None) -> list[Window]:
    """Return the windows of one example, or all."""
    return [
        Window(
            windows.input_ids[begin:end].tolist(),
            None if windows.token_type_ids is None else windows.token_type_ids[begin:end].tolist(),
            [(start, stop) for start, stop in windows.offsets[begin:end].tolist()],
        )
        for number, begin, end in zip(windows.example, windows.row_splits[:-1], windows.row_splits[1:], strict=True)
        if which is None or number == which
    ]


def overflow(tokenizer: PreTrainedTokenizerFast, question: str, context: str, config: WindowConfig) -> Any:
    """Encode a pair as Hugging Face's run_qa does, which takes examples in batches."""
    context_first = tokenizer.padding_side == "left"
    first, second = (context, question.strip()) if context_first else (question.strip(), context)
    return tokenizer(
        [first],
        [second],
        truncation="only_first" if context_first else "only_second",
        max_length=config.max_seq_length,
        stride=config.doc_stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding=False,
    )


def overflow_windows(
    tokenizer: PreTrainedTokenizerFast, question: str, context: str, config: WindowConfig
) -> list[Window]:
    """Return the tokenizer's own windows, with the context's type id of the first in all of them.

    tokenizers (0.23) leaves the template's type ids out of later windows: a context of type 0 is then of type 1 there.
    """
    encoded = overflow(tokenizer, question, context, config)
    which = 0 if tokenizer.padding_side == "left" else 1
    types_of_first = dict(
        zip(encoded.sequence_ids(0), encoded.get("token_type_ids", encoded["input_ids"])[0], strict=True)
    )
    windows = []
    for i, ids in enumerate(encoded["input_ids"]):
        texts = encoded.sequence_ids(i)
        offsets = [
            offset if text == which else (-1, -1)
            for offset, text in zip(encoded["offset_mapping"][i], texts, strict=True)
        ]
        type_ids = None
        if "token_type_ids" in encoded:
            own = zip(encoded["token_type_ids"][i], texts, strict=True)
            type_ids = [types_of_first[text] if text == which else type_id for type_id, text in own]
        windows.append(Window(ids, type_ids, offsets))
        assert all(encoded["attention_mask"][i])
    return windows


def token_ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    ids: list[int] = tokenizer([text], add_special_tokens=False, verbose=False)["input_ids"][0]
    return ids


def check_identity(tokenizer: PreTrainedTokenizerFast, examples: Sequence[Example], config: WindowConfig) -> None:
    """Hold every accepted example equal to the tokenizer's own windows, and every rejected one to the rule."""
    windows, rejections = make_windows(examples, tokenizer, config)
    rejected = {rejection.example: rejection.reason for rejection in rejections}
    special = tokenizer.num_special_tokens_to_add(pair=True)
    least = (config.max_seq_length - config.doc_stride) / MAX_WINDOW_GROWTH
    for number, (_, question, context) in enumerate((e.id, e.question, e.context) for e in examples):
        question_length = len(token_ids(tokenizer, question.strip()))
        context_length = len(token_ids(tokenizer, context))
        room = config.max_seq_length - special - question_length
        if question_length + context_length + special == 0:
            assert rejected[number] == "no_tokens"
        elif context_length > room and room - config.doc_stride < least:
            assert rejected[number] == "question_too_long"
        else:
            assert number not in rejected
            assert as_lists(windows, number) == overflow_windows(tokenizer, question, context, config)
        assert (number in rejected) == (number not in windows.example)
    assert (np.diff(windows.example) >= 0).all()


@each_family
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(QUESTIONS, TEXTS), min_size=1, max_size=3), CONFIGS)
def test_windows_are_the_tokenizers_own(family: str, pairs: list[tuple[str, str]], config: WindowConfig) -> None:
    (question, context), *_ = pairs
    check_identity(tokenizer_of(family), numbered([*pairs, (question, pairs[-1][1]), (question, context)]), config)


@pytest.mark.parametrize("family", ["bert_cased", "roberta_prefix_space", "xlnet"])
@settings(max_examples=30, deadline=None)
@given(QUESTIONS, TEXTS, CONFIGS)
def test_truncation_from_the_left_is_the_tokenizers_own(
    family: str, question: str, context: str, config: WindowConfig
) -> None:
    tokenizer = copy.deepcopy(tokenizer_of(family))
    tokenizer.truncation_side = "left"
    check_identity(tokenizer, [example(question, context)], config)


@each_family
@settings(max_examples=30, deadline=None)
@given(TEXTS.filter(bool), CONFIGS)
def test_every_context_token_is_covered_and_neighbours_share_doc_stride_tokens(
    family: str, context: str, config: WindowConfig
) -> None:
    tokenizer = tokenizer_of(family)
    windows, rejections = make_windows([example("Who?", context * 3)], tokenizer, config)
    parts = [window.context_ids for window in as_lists(windows)]
    for before, after in itertools.pairwise(parts):
        assert before[len(before) - config.doc_stride :] == after[: config.doc_stride]
        assert len(before) > config.doc_stride
    stitched = parts[0] + [token for part in parts[1:] for token in part[config.doc_stride :]] if parts else []
    assert rejections or stitched == token_ids(tokenizer, context * 3)


@each_family
@settings(max_examples=30, deadline=None)
@given(QUESTIONS, TEXTS, CONFIGS)
def test_offsets_are_ordered_characters_of_the_context(
    family: str, question: str, context: str, config: WindowConfig
) -> None:
    windows, _ = make_windows([example(question, context)], tokenizer_of(family), config)
    inside = windows.offsets[:, 0] >= 0
    assert (windows.offsets[~inside] == -1).all()
    assert (windows.offsets[inside, 0] <= windows.offsets[inside, 1]).all()
    assert (windows.offsets[inside, 1] <= len(context)).all()
    assert (windows.null_index < windows.lengths).all()


def test_doc_stride_is_the_overlap_and_not_the_step() -> None:
    """A room of 7 and an overlap of 2 step by 5; read as BERT's step, 2 would give windows at 0, 2, 4..."""
    tokenizer = tokenizer_of("bert_cased")
    config = WindowConfig(max_seq_length=11, doc_stride=2)
    windows, _ = make_windows([example("the", " ".join(["the"] * 15))], tokenizer, config)
    assert [[start // 4 for start, _ in w.offsets if start >= 0] for w in as_lists(windows)] == [
        [0, 1, 2, 3, 4, 5, 6],
        [5, 6, 7, 8, 9, 10, 11],
        [10, 11, 12, 13, 14],
    ]


def test_leading_white_space_is_stripped_from_questions_only() -> None:
    windows, _ = make_windows([example("  the \n", "  the dog")], tokenizer_of("bert_cased"), WindowConfig())
    stripped, _ = make_windows([example("the", "  the dog")], tokenizer_of("bert_cased"), WindowConfig())
    assert as_lists(windows) == as_lists(stripped)
    assert as_lists(windows)[0].offsets[3] == (2, 5)


@pytest.mark.parametrize("question_length", [0, 1, 100, 220, 221, 222, 240, 252, 253, 254, 380, 381, 382, 500])
def test_questions_of_over_221_tokens_are_rejected_at_384_and_128(question_length: int) -> None:
    """The tokenizer would give 60 windows at 240 tokens, one a token at 252, a panic from 253 and an error from 381."""
    context = " ".join(["dog"] * 900)
    windows, rejections = make_windows(
        [example(" ".join(["the"] * question_length), context)], tokenizer_of("bert_cased"), WindowConfig()
    )
    if question_length <= 221:
        assert not rejections
        assert len(windows) <= 1 + MAX_WINDOW_GROWTH * 900 / 256
    else:
        assert len(windows) == 0
        assert [(rejection.example, rejection.reason) for rejection in rejections] == [(0, "question_too_long")]
        for part in (f"{question_length} tokens", "--max_question_length 221", "--max_seq_length 384"):
            assert part in rejections[0].detail


def test_a_long_question_is_fine_where_the_context_fits_beside_it() -> None:
    tokenizer, question = tokenizer_of("bert_cased"), " ".join(["the"] * 371)
    windows, rejections = make_windows(
        [example(question, " ".join(["dog"] * length)) for length in (10, 11)], tokenizer, WindowConfig()
    )
    assert windows.example.tolist() == [0]
    assert windows.lengths.tolist() == [384]
    assert [rejection.example for rejection in rejections] == [1]


@each_family
@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.lists(st.sampled_from(WORDS), min_size=1, max_size=80).map(" ".join), CONFIGS)
def test_max_question_length_cuts_questions_to_their_first_tokens(
    family: str, length: int, text: str, config: WindowConfig
) -> None:
    tokenizer = tokenizer_of(family)
    cut = WindowConfig(max_seq_length=config.max_seq_length, doc_stride=config.doc_stride, max_question_length=length)
    windows, rejections = make_windows([example(text, text * 2)], tokenizer, cut)
    special = tokenizer.num_special_tokens_to_add(pair=True)
    if not rejections:
        for window in as_lists(windows):
            own = [token for token, (start, _) in zip(window.ids, window.offsets, strict=True) if start < 0]
            kept = Counter(token_ids(tokenizer, text)[:length])
            assert len(own) == special + kept.total()
            assert kept <= Counter(own)
        parts = [window.context_ids for window in as_lists(windows)]
        assert parts[0] + [t for part in parts[1:] for t in part[cut.doc_stride :]] == token_ids(tokenizer, text * 2)
    else:
        assert length > 1


@pytest.mark.parametrize("length", [1, 64, 221])
def test_cut_questions_are_never_too_long(length: int) -> None:
    config = WindowConfig(max_question_length=length)
    questions = [" ".join(["the"] * 1000), " ".join(["the"] * length)]
    context = " ".join(["dog"] * 900)
    windows, rejections = make_windows(
        [example(question, context) for question in questions], tokenizer_of("bert_cased"), config
    )
    assert not rejections
    assert as_lists(windows, 0) == as_lists(windows, 1)


@each_family
@pytest.mark.parametrize(
    ("question", "context"),
    [
        ("", ""),
        ("Who?", ""),
        ("", "The dog"),
        ("\x07", "\x00\x07"),
        ("Who?", " \n\t "),
        (" ", "\u200b\ufeff"),
        ("漢", "漢"),
    ],
)
def test_texts_without_tokens_give_what_the_tokenizer_gives(family: str, question: str, context: str) -> None:
    check_identity(tokenizer_of(family), [example(question, context)], WindowConfig())


def test_nothing_at_all_to_read_is_a_rejection() -> None:
    windows, rejections = make_windows(numbered([("", ""), ("", "dog")]), tokenizer_of("gpt2"), WindowConfig())
    assert windows.example.tolist() == [1]
    assert [(rejection.example, rejection.reason) for rejection in rejections] == [(0, "no_tokens")]


@each_family
def test_no_examples_give_no_windows(family: str) -> None:
    windows, rejections = make_windows([], tokenizer_of(family), WindowConfig())
    assert (len(windows), windows.row_splits.tolist(), windows.offsets.shape, rejections) == (0, [0], (0, 2), [])
    assert [positions.shape for positions in label_windows(windows, [])] == [(0,), (0,)]


@pytest.mark.parametrize("family", ["bert_cased", "multilingual_e5"])
def test_a_context_of_a_megabyte_is_covered(family: str) -> None:
    tokenizer = tokenizer_of(family)
    context = " ".join(CORPUS) * 1700
    assert len(context.encode()) > 1_000_000
    windows, _ = make_windows([example("Who wrote the letter?", context)], tokenizer, WindowConfig())
    context_ids = windows.input_ids[windows.offsets[:, 0] >= 0]
    assert len(context_ids) - 128 * (len(windows) - 1) == len(token_ids(tokenizer, context))
    assert windows.offsets[:, 1].max() == len(context)


def test_the_tokenizers_truncation_and_padding_are_neither_obeyed_nor_changed() -> None:
    examples = numbered([("Who?", "The dog and the fox " * 30)])
    config = WindowConfig(max_seq_length=32, doc_stride=8)
    tokenizer = copy.deepcopy(tokenizer_of("bert_cased"))
    tokenizer.backend_tokenizer.enable_truncation(max_length=5, stride=1, strategy="only_second", direction="left")
    tokenizer.backend_tokenizer.enable_padding(length=9, pad_id=0, pad_token="[PAD]")
    before = tokenizer.backend_tokenizer.to_str()
    windows, _ = make_windows(examples, tokenizer, config)
    assert tokenizer.backend_tokenizer.to_str() == before
    assert as_lists(windows) == as_lists(make_windows(examples, tokenizer_of("bert_cased"), config)[0])


def test_type_ids_are_the_templates_in_every_window() -> None:
    for family, expected in (("bert_cased", {0, 1}), ("deberta", {0}), ("xlnet", {0, 1, 2})):
        config = WindowConfig(max_seq_length=32, doc_stride=8)
        windows, _ = make_windows([example("Who?", "The dog and the fox " * 30)], tokenizer_of(family), config)
        assert len(windows) > 2
        assert {frozenset(window.type_ids or []) for window in as_lists(windows)} == {frozenset(expected)}
    assert make_windows([], tokenizer_of("roberta"), WindowConfig())[0].token_type_ids is None


@each_family
@pytest.mark.parametrize("spelled", ["dog", "<cls>", "[CLS]", "<s>", "<|endoftext|>"])
def test_the_null_token_is_the_templates_whatever_the_texts_spell(family: str, spelled: str) -> None:
    tokenizer = tokenizer_of(family)
    config = WindowConfig(max_seq_length=40, doc_stride=8)
    windows, _ = make_windows([example(f"Who {spelled}?", f"{spelled} the fox " * 20)], tokenizer, config)
    assert len(windows) > 1
    last = family == "xlnet"
    assert windows.null_index.tolist() == (windows.lengths - 1 if last else np.zeros(len(windows))).tolist()
    if tokenizer.cls_token_id is not None:
        assert set(windows.input_ids[windows.row_splits[:-1] + windows.null_index]) == {tokenizer.cls_token_id}


def test_without_cls_the_null_token_is_bos_wherever_it_stands() -> None:
    tokenizer = copy.deepcopy(tokenizer_of("gpt2"))
    token = str(tokenizer.bos_token)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {token}", pair=f"$A {token} $B", special_tokens=[(token, tokenizer.bos_token_id)]
    )
    windows, _ = make_windows(numbered([("Who?", "dog"), ("Who?", "")]), tokenizer, WindowConfig())
    assert windows.null_index.tolist() == [len(token_ids(tokenizer, "dog")), 0]
    assert windows.input_ids[windows.row_splits[:-1] + windows.null_index].tolist() == [tokenizer.bos_token_id] * 2


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_take_gives_the_windows_asked_for(data: st.DataObject) -> None:
    config = WindowConfig(max_seq_length=16, doc_stride=4)
    pairs = [("Who?", "The dog and the fox " * 4), ("When?", "The ship"), ("Who?", "")]
    windows, _ = make_windows(numbered(pairs), tokenizer_of(data.draw(st.sampled_from(sorted(FAMILIES)))), config)
    indices = np.array(data.draw(st.lists(st.integers(0, len(windows) - 1), max_size=8)), np.int64)
    taken, everything = windows.take(indices), as_lists(windows)
    assert as_lists(taken) == [everything[index] for index in indices]
    assert taken.example.tolist() == windows.example[indices].tolist()
    assert taken.null_index.tolist() == windows.null_index[indices].tolist()


def test_arrays_have_the_promised_types() -> None:
    windows, _ = make_windows([example("Who?", "The dog")], tokenizer_of("bert_cased"), WindowConfig())
    assert windows.token_type_ids is not None
    arrays = (windows.example, windows.row_splits, windows.input_ids, windows.offsets, windows.null_index)
    assert [array.dtype.name for array in arrays] == ["int32", "int64", "int32", "int32", "int32"]
    assert windows.token_type_ids.dtype.name == "int8"


@pytest.mark.parametrize(
    ("build", "flag"),
    [
        (lambda: WindowConfig(doc_stride=-1), "--doc_stride -1"),
        (lambda: WindowConfig(max_seq_length=128, doc_stride=128), "--doc_stride 128"),
        (lambda: WindowConfig(max_seq_length=0, doc_stride=0), "--max_seq_length 0"),
        (lambda: WindowConfig(max_question_length=0), "--max_question_length 0"),
    ],
)
def test_a_bad_config_is_refused_by_name(build: Callable[[], WindowConfig], flag: str) -> None:
    with pytest.raises(UsageError, match=flag):
        build()


def test_a_config_without_room_for_any_question_is_refused() -> None:
    examples = [example("the", "dog")]
    fitting, tight = (WindowConfig(max_seq_length=length, doc_stride=4) for length in (9, 8))
    assert make_windows(examples, tokenizer_of("bert_cased"), fitting)[0].example.tolist() == [0]
    with pytest.raises(UsageError, match="--max_seq_length 8 leaves no room"):
        make_windows(examples, tokenizer_of("bert_cased"), tight)


def test_unfit_tokenizers_are_refused() -> None:
    class SlowTokenizer:
        is_fast = False

    with pytest.raises(UsageError, match="SlowTokenizer is a slow tokenizer"):
        make_windows([], SlowTokenizer(), WindowConfig())  # type: ignore[arg-type]
    swapped = copy.deepcopy(tokenizer_of("gpt2"))
    swapped.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A", pair="$B $A", special_tokens=[]
    )
    with pytest.raises(UsageError, match="one after the other"):
        make_windows([], swapped, WindowConfig())


@pytest.mark.realdata
@each_family
@pytest.mark.parametrize("name", ["KorQuAD_v1.0_dev.json", "xquad.en.json"])
def test_windows_of_real_questions_are_the_tokenizers_own(family: str, name: str, real_data: pathlib.Path) -> None:
    articles = json.loads((real_data / name).read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]][::40]
    pairs = [(qa["question"], paragraph["context"]) for paragraph in paragraphs for qa in paragraph["qas"][:2]]
    check_identity(tokenizer_of(family), numbered(pairs), WindowConfig())
