"""Labels cover the answer, all of it and no more, and are run_qa's wherever a character is one token's."""

import json
import pathlib
import unicodedata
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrc.examples import Answer, Example
from mrc.windows import WindowConfig, Windows, label_windows, make_windows
from tests.test_windows import ASCII_WORDS, CONFIGS, QUESTIONS, TEXTS, as_lists, each_family, example, overflow
from tests.tokenizers import tokenizer_of

Labels = list[tuple[int, int]]

CONJOINING_JAMO = {chr(code) for code in range(0x1160, 0x1200)}


def labels(windows: Windows, examples: list[Example]) -> Labels:
    starts, ends = label_windows(windows, examples)
    assert starts.dtype == ends.dtype == np.int32
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def answered(question: str, context: str, start: int, end: int) -> Example:
    return example(question, context, Answer(text=context[start:end], start=start))


def labelled_texts(family: str, item: Example, config: WindowConfig) -> list[str | None]:
    """Return the text under each window's label, None for a label at the null token."""
    windows, rejections = make_windows([item], tokenizer_of(family), config)
    assert not rejections
    texts: list[str | None] = []
    for (start, end), null, window in zip(labels(windows, [item]), windows.null_index, as_lists(windows), strict=True):
        texts.append(None if start == end == null else item.context[window.offsets[start][0] : window.offsets[end][1]])
    return texts


@st.composite
def random_answers(draw: st.DrawFn) -> Example:
    context = draw(TEXTS.filter(bool))
    start = draw(st.integers(0, len(context) - 1))
    return answered(draw(QUESTIONS), context, start, draw(st.integers(start + 1, min(len(context), start + 40))))


@each_family
@settings(max_examples=80, deadline=None)
@given(random_answers(), CONFIGS)
def test_labels_are_the_tokens_of_the_answer_where_a_window_has_them_all(
    family: str, item: Example, config: WindowConfig
) -> None:
    """Hold the labels against a plain search, token by token, for what all windows together have of the answer."""
    assert item.answers
    gold = item.answers[0]
    windows, _ = make_windows([item], tokenizer_of(family), config)
    parts = as_lists(windows)
    hits = [[i for i, (s, e) in enumerate(part.offsets) if s < gold.end and e > gold.start] for part in parts]
    pieces = [part.offsets[i] for part, found in zip(parts, hits, strict=True) for i in found]
    first = max(gold.start, min((start for start, _ in pieces), default=0))
    last = min(gold.end, max((end for _, end in pieces), default=0))
    for label, null, part, found in zip(labels(windows, [item]), windows.null_index, parts, hits, strict=True):
        if found and part.offsets[found[0]][0] <= first and part.offsets[found[-1]][1] >= last:
            assert label == (found[0], found[-1])
        else:
            assert label == (null, null)


@each_family
@settings(max_examples=80, deadline=None)
@given(random_answers(), CONFIGS)
def test_an_answer_of_up_to_doc_stride_tokens_is_whole_in_some_window(
    family: str, item: Example, config: WindowConfig
) -> None:
    assert item.answers
    gold = item.answers[0]
    tokenizer = tokenizer_of(family)
    encoded = tokenizer([item.context], add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    pieces = [(s, e) for s, e in encoded["offset_mapping"][0] if s < gold.end and e > gold.start]
    windows, rejections = make_windows([item], tokenizer, config)
    if pieces and len(pieces) <= config.doc_stride and not rejections:
        starts, _ = label_windows(windows, [item])
        labelled = windows.offsets[windows.row_splits[:-1] + starts]
        assert ((labelled[:, 0] < gold.end) & (labelled[:, 1] > gold.start)).any()


def run_qa_labels(family: str, item: Example, config: WindowConfig) -> tuple[Labels, list[int]]:
    """Restate prepare_train_features of transformers' examples/pytorch/question-answering/run_qa.py.

    Its second loop does not stop at the first token: where nothing stands before the context it runs out of the window.
    """
    assert item.answers
    tokenizer = tokenizer_of(family)
    encoded = overflow(tokenizer, item.question, item.context, config)
    context = 0 if tokenizer.padding_side == "left" else 1
    found: Labels = []
    nulls = []
    for i, ids in enumerate(encoded["input_ids"]):
        null = next((ids.index(t) for t in (tokenizer.cls_token_id, tokenizer.bos_token_id) if t in ids), 0)
        offsets, texts = encoded["offset_mapping"][i], encoded.sequence_ids(i)
        start, end = texts.index(context), len(texts) - 1 - texts[::-1].index(context)
        gold = item.answers[0]
        nulls.append(null)
        if not (offsets[start][0] <= gold.start and offsets[end][1] >= gold.end):
            found.append((null, null))
            continue
        while start < len(offsets) and texts[start] == context and offsets[start][0] <= gold.start:
            start += 1
        while end >= 0 and offsets[end][1] >= gold.end:
            end -= 1
        found.append((start - 1, end + 1))
    return found, nulls


@st.composite
def plain_answers(draw: st.DrawFn) -> Example:
    words = draw(st.lists(st.sampled_from(ASCII_WORDS), min_size=1, max_size=60))
    first = draw(st.integers(0, len(words) - 1))
    last = draw(st.integers(first, min(first + 6, len(words) - 1)))
    start = len(" ".join([*words[:first], ""]))
    return answered("Who wrote it?", " ".join(words), start, start + len(" ".join(words[first : last + 1])))


@pytest.mark.parametrize("family", ["bert_cased", "bert_uncased", "roberta", "gpt2", "deberta"])
@settings(max_examples=60, deadline=None)
@given(plain_answers(), CONFIGS)
def test_labels_of_plain_text_are_run_qas(family: str, item: Example, config: WindowConfig) -> None:
    windows, rejections = make_windows([item], tokenizer_of(family), config)
    assert rejections or (labels(windows, [item]), windows.null_index.tolist()) == run_qa_labels(family, item, config)


@each_family
@settings(max_examples=60, deadline=None)
@given(plain_answers(), CONFIGS)
def test_labels_have_the_characters_of_run_qas(family: str, item: Example, config: WindowConfig) -> None:
    """XLM-R's "▁" may be a token of its own on the first character of a word: ours begin with it, run_qa's after it."""
    assert item.answers
    gold = item.answers[0]
    windows, rejections = make_windows([item], tokenizer_of(family), config)
    if rejections:
        return
    theirs, nulls = run_qa_labels(family, item, config)
    for ours, other, null, window in zip(labels(windows, [item]), theirs, nulls, as_lists(windows), strict=True):
        spans = [(window.offsets[start][0], window.offsets[end][1]) for start, end in (ours, other)]
        assert (ours == (null, null)) == (other == (null, null))
        assert [(max(start, gold.start), min(end, gold.end)) for start, end in spans[:1]] == [
            (max(start, gold.start), min(end, gold.end)) for start, end in spans[1:]
        ]
        assert ours[0] <= other[0] <= other[1] <= ours[1]


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (0, 1, ["Ж0", None, None]),
        (5, 6, ["Ж5", "Ж5", None]),
        (6, 7, ["Ж6", "Ж6", None]),
        (4, 5, ["Ж4", None, None]),
        (7, 8, [None, "Ж7", None]),
        (11, 12, [None, "Ж11", "Ж11"]),
        (14, 15, [None, None, "Ж14"]),
        (5, 7, ["Ж5 Ж6", "Ж5 Ж6", None]),
        (4, 8, [None, None, None]),
        (0, 7, ["Ж0 Ж1 Ж2 Ж3 Ж4 Ж5 Ж6", None, None]),
        (0, 15, [None, None, None]),
    ],
)
def test_answers_at_the_edges_of_windows(first: int, last: int, expected: list[str | None]) -> None:
    """Windows of 7 words that overlap by 2 begin at words 0, 5 and 10 of 15 (every word is one unknown token)."""
    words = [f"Ж{i}" for i in range(15)]
    start = len(" ".join([*words[:first], ""]))
    item = answered("the", " ".join(words), start, start + len(" ".join(words[first:last])))
    assert labelled_texts("bert_cased", item, WindowConfig(max_seq_length=11, doc_stride=2)) == expected


@each_family
@pytest.mark.parametrize("context", ["dog", "한강", "A reader answers questions.", "😀"])
def test_an_answer_as_long_as_its_context(family: str, context: str) -> None:
    item = answered("Who?", context, 0, len(context))
    assert labelled_texts(family, item, WindowConfig())[0] in (context, None if family == "gpt2" else context)


@each_family
@pytest.mark.parametrize("emoji", ["😀", "👩‍👩‍👧", "🇰🇷"])
@pytest.mark.parametrize(("begin", "length"), [(0, 1), (1, 1), (0, 2)])
def test_an_answer_that_begins_inside_an_emoji_has_all_tokens_of_its_characters(
    family: str, emoji: str, begin: int, length: int
) -> None:
    context = f"The dog {emoji}{emoji} does not mind."
    item = answered("Who?", context, 8 + begin, 8 + begin + length)
    windows, _ = make_windows([item], tokenizer_of(family), WindowConfig())
    ((start, end),) = labels(windows, [item])
    (window,) = as_lists(windows)
    touching = [i for i, (s, e) in enumerate(window.offsets) if s < 8 + begin + length and e > 8 + begin]
    assert (start, end) == (touching[0], touching[-1])
    assert window.offsets[start][0] <= 8 + begin < 8 + begin + length <= window.offsets[end][1]
    text = context[window.offsets[start][0] : window.offsets[end][1]]
    assert context[8 + begin : 8 + begin + length] in text


@each_family
@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("answer", ["한강", "강가의", "서울", "편지"])
def test_hangul_answers_are_covered_in_both_forms(family: str, form: Literal["NFC", "NFD"], answer: str) -> None:
    """A normalizer that composes (NFC) gives a syllable the offset of its first jamo: the others are no token's."""
    sentence = "서울은 한강이 흐르고 편지는 강가의 작은 집에서 썼다"
    context, text = (unicodedata.normalize(form, part) for part in (f"{sentence} {sentence} {answer}", answer))
    for start in (context.index(text), context.rindex(text)):
        item = answered("누가?", context, start, start + len(text))
        (found,) = labelled_texts(family, item, WindowConfig())
        assert found is not None
        missing = text.removeprefix(found.strip()) if text not in found else ""
        assert missing == "" or (form == "NFD" and set(missing) <= CONJOINING_JAMO)


@pytest.mark.parametrize("family", ["bert_uncased", "albert", "xlnet"])
def test_stripped_accents_at_the_edge_of_the_context_do_not_lose_the_answer(family: str) -> None:
    """The accent of an NFD "é" is no token's: run_qa finds no window that holds an answer that ends with it."""
    context = unicodedata.normalize("NFD", "the dog is in the café")
    item = answered("Where?", context, context.index("caf"), len(context))
    (found,) = labelled_texts(family, item, WindowConfig())
    assert found in ("cafe", "cafe\u0301")


def test_white_space_around_an_answer_costs_nothing() -> None:
    item = answered("Where?", "the dog  mind  ", 7, 15)
    assert labelled_texts("bert_cased", item, WindowConfig()) == ["mind"]


@each_family
def test_examples_without_an_answer_point_at_the_null_token(family: str) -> None:
    items = [
        example("Who?", "The dog and the fox " * 20),
        example("Who?", "The dog", Answer(text="", start=3)),
        answered("Who?", "The dog    ", 8, 10),
    ]
    windows, _ = make_windows(items, tokenizer_of(family), WindowConfig(max_seq_length=40, doc_stride=8))
    found = labels(windows, items)
    nulls = [(null, null) for null in windows.null_index.tolist()]
    without = windows.example < 2
    assert [label for label, none in zip(found, without, strict=True) if none] == [
        null for null, none in zip(nulls, without, strict=True) if none
    ]
    if family == "bert_cased":
        assert found == nulls


def test_only_the_first_gold_answer_counts() -> None:
    context = "the dog and the fox"
    item = example("Who?", context, Answer(text="fox", start=16), Answer(text="dog", start=4))
    assert labelled_texts("bert_cased", item, WindowConfig()) == ["fox"]


def test_unknown_gold_cannot_be_labelled() -> None:
    item = Example(id="q7", question="Who?", context="The dog")
    windows, _ = make_windows([item], tokenizer_of("bert_cased"), WindowConfig())
    with pytest.raises(ValueError, match="'q7'"):
        label_windows(windows, [item])


@pytest.mark.realdata
@pytest.mark.parametrize("family", ["bert_cased", "roberta", "xlm_roberta"])
@pytest.mark.parametrize("name", ["KorQuAD_v1.0_dev.json", "xquad.en.json"])
def test_labels_of_real_answers_are_run_qas_or_cover_them(family: str, name: str, real_data: pathlib.Path) -> None:
    articles = json.loads((real_data / name).read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]][::40]
    for paragraph in paragraphs:
        gold = paragraph["qas"][0]["answers"][0]
        start = gold["answer_start"]
        item = answered(paragraph["qas"][0]["question"], paragraph["context"], start, start + len(gold["text"]))
        windows, _ = make_windows([item], tokenizer_of(family), WindowConfig())
        theirs, nulls = run_qa_labels(family, item, WindowConfig())
        for ours, other, null in zip(labels(windows, [item]), theirs, nulls, strict=True):
            assert (ours == (null, null)) == (other == (null, null))
            assert ours == other if family == "bert_cased" else ours[0] <= other[0] <= other[1] <= ours[1]
