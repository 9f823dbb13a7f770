"""Scorers against the official scripts, restated step by step from their published rules, on random texts."""

import re
import string
import sys
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from functools import cache, partial

import bs4
import pytest
from bs4.exceptions import ParserRejectedMarkup
from hypothesis import assume, given
from hypothesis import strategies as st

from mrc.examples import Answer, Example
from mrc.metrics import SCORERS, Sums, get_scorer, score_example
from mrc.metrics.scorers import longest_run_f1

Scored = tuple[int, float]


def official_normalise_squad(text: str) -> str:
    text = "".join(character for character in text.lower() if character not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def official_normalise_korquad(text: str) -> str:
    for symbol in ["'", '"', "《", "》", "<", ">", "〈", "〉", r"\(", r"\)", "‘", "’"]:
        text = re.sub(symbol, " ", text)
    text = "".join(character for character in text.lower() if character not in set(string.punctuation))
    return " ".join(text.split())


def official_normalise_korquad_v2(text: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of texts that look like file names or XML.
        try:
            text = bs4.BeautifulSoup(text, "html.parser").get_text()
        except ParserRejectedMarkup:
            assume(False)
    return official_normalise_korquad(text).replace("\n", "").replace("\t", "").replace(" ", "")


def official_normalise_klue(text: str) -> str:
    text = re.sub(r"[\'\"《》<>〈〉]\(\)\‘\’", " ", text.lower())
    return " ".join("".join(character for character in text if character not in set(string.punctuation)).split())


@cache
def punctuation() -> frozenset[str]:
    every = (chr(i) for i in range(sys.maxunicode))
    return frozenset(char for char in every if unicodedata.category(char).startswith("P")) | set(string.punctuation)


ARTICLES = {
    "ar": "\\sال^|ال",
    "de": r"\b(ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b",
    "en": r"\b(a|an|the)\b",
    "es": r"\b(un|una|unos|unas|el|la|los|las)\b",
    "vi": r"\b(của|là|cái|chiếc|những)\b",
}


def official_normalise_mlqa(text: str, language: str) -> str:
    text = "".join(character for character in text.lower() if character not in punctuation())
    if language in ARTICLES:
        text = re.sub(ARTICLES[language], " ", text)
    if language != "zh":
        return " ".join(text.split())
    tokens, run = [], ""
    for character in text:
        if re.search("[\u4e00-\u9fa5]", character):
            tokens += [*run.split(), character]
            run = ""
        else:
            run += character
    return " ".join([*tokens, *run.split()])


def official_f1(found: Sequence[str], wanted: Sequence[str]) -> float:
    shared = sum((Counter(found) & Counter(wanted)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(found), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)


def official_bags(
    norm: Callable[[str], str], bag: Callable[[str], Sequence[str]], prediction: str, golds: Sequence[str]
) -> Scored:
    """SQuAD's evaluate-v1.1.py, KorQuAD's scripts and mlqa_evaluation_v1.py; KorQuAD 2 has one gold."""
    exact = max(int(norm(prediction) == norm(gold)) for gold in golds)
    return exact, max(official_f1(bag(norm(prediction)), bag(norm(gold))) for gold in golds)


def characters(text: str) -> list[str]:
    return [character for token in text.split() for character in token]


def official_squad_v2(prediction: str, golds: Sequence[str]) -> Scored:
    """SQuAD's evaluate-v2.0.py."""
    norm = official_normalise_squad
    kept = [gold for gold in golds if norm(gold)] or [""]

    def f1(gold: str) -> float:
        found, wanted = norm(prediction).split(), norm(gold).split()
        return float(found == wanted) if not found or not wanted else official_f1(found, wanted)

    return max(int(norm(prediction) == norm(gold)) for gold in kept), max(map(f1, kept))


def official_rouge_w(found: str, wanted: str) -> float:
    if wanted == "":
        return float(found == wanted)
    longest = SequenceMatcher(None, found, wanted).find_longest_match(0, len(found), 0, len(wanted)).size
    precision, recall = longest / len(found) if found else 0.0, longest / len(wanted)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def official_klue(prediction: str, golds: Sequence[str]) -> Scored:
    """KLUE-baseline's klue_baseline/metrics/utils.py."""
    found = official_normalise_klue(prediction)
    wanted = [official_normalise_klue(gold) for gold in golds] or [""]
    return max(int(found == gold) for gold in wanted), max(official_rouge_w(found, gold) for gold in wanted)


OFFICIAL: dict[str, Callable[[str, Sequence[str]], Scored]] = {
    "klue_mrc": official_klue,
    "korquad": partial(official_bags, official_normalise_korquad, characters),
    "korquad_v2": partial(official_bags, official_normalise_korquad_v2, characters),
    "squad": partial(official_bags, official_normalise_squad, str.split),
    "squad_v2": official_squad_v2,
    **{
        f"mlqa_{language}": partial(official_bags, partial(official_normalise_mlqa, language=language), str.split)
        for language in "ar de en es hi vi zh".split()
    },
}

WORDS = "the The an  a  무정 el un die des của là ال ال. 北京 1949年 दिल्ली ‘’ ()‘’ 《()‘’".split(" ")
MARKUP = (
    "<b> </b> <br/> <a\u00a0href='x'> <!-- --> <!DOCTYPE <![ <?xml <script> </script> < > & &amp; &lt; &lt &#44032; ;"
)
plain = st.sampled_from(
    [*"aAbΣσİ가나각.,'\"-_$《》〈〉()‘’“「，。।؟龥龦\t\n\u3000\u00a0\u200b\u0300", *WORDS, " ", "  "]
)
scripts = st.characters(min_codepoint=0x600, max_codepoint=0x6FF) | st.characters(min_codepoint=0x4E00, codec="utf-8")
texts = st.one_of(
    st.lists(plain | st.sampled_from(MARKUP.split(" ")), max_size=8).map("".join),
    st.lists(scripts | plain, max_size=8).map("".join),
    st.text(max_size=6),
)
gold_lists = st.lists(texts, min_size=1, max_size=3)
names = st.sampled_from(sorted(SCORERS))

EMPTY_SCORES_ONE = {"klue_mrc", "squad_v2"}
"""Where two texts that normalise to nothing have an F1 of 1; elsewhere it is 0 beside an exact match of 1."""


def test_every_scorer_has_its_script() -> None:
    assert set(OFFICIAL) == set(SCORERS)


@given(texts, gold_lists, names)
def test_agrees_with_the_official_script(prediction: str, golds: list[str], name: str) -> None:
    assert get_scorer(name).score(prediction, golds) == pytest.approx(OFFICIAL[name](prediction, golds), abs=1e-12)


@given(texts, st.sampled_from("korquad_v2 mlqa_ar mlqa_zh".split()))
def test_normalises_as_the_official_script(text: str, name: str) -> None:
    language = name.removeprefix("mlqa_")
    wanted = official_normalise_korquad_v2(text) if name == "korquad_v2" else official_normalise_mlqa(text, language)
    assert get_scorer(name).normalise(text) == wanted


@given(
    st.lists(plain, max_size=8).map("".join)
    | st.text(st.characters(codec="utf-8", exclude_characters="<&"), max_size=12)
)
def test_a_text_without_markup_is_parsed_to_itself(text: str) -> None:
    # So it is not parsed. White space alone may become other white space, which goes in any case.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parsed = bs4.BeautifulSoup(text, "html.parser").get_text()
    assert parsed == text if text.strip() else not parsed.strip()


def test_punctuation_is_that_of_all_of_unicode() -> None:
    every = [chr(i) for i in range(sys.maxunicode) if not 0xD800 <= i < 0xE000 and not chr(i).isspace()]
    kept = get_scorer("mlqa_hi").normalise("".join(every))
    assert kept == "".join(every).lower().translate(dict.fromkeys(map(ord, punctuation())))


@given(texts, gold_lists, names)
def test_exact_match_is_at_most_f1_but_for_empty_texts(prediction: str, golds: list[str], name: str) -> None:
    scorer = get_scorer(name)
    exact_match, f1 = scorer.score(prediction, golds)
    assert 0 <= f1 <= 1
    if scorer.normalise(prediction) or name in EMPTY_SCORES_ONE:
        assert exact_match <= f1
    else:
        assert f1 == 0


@given(texts, names)
def test_normalised_texts_are_normal(text: str, name: str) -> None:
    # Also by korquad_v2: of an entity of an entity ("&amp;lt;") there is left a word ("lt"), and no other entity.
    normalise = get_scorer(name).normalise
    once = normalise(text)
    assert normalise(once) == once
    assert once.split(" ") == (once.split() or [""])
    assert not set(once) & set(string.punctuation)
    assert name != "korquad_v2" or once == "".join(once.split())
    assert not name.startswith("mlqa_") or not set(once) & punctuation()


@given(gold_lists, names)
def test_the_order_of_golds_is_nothing(golds: list[str], name: str) -> None:
    scorer = get_scorer(name)
    assert scorer.score(golds[0], golds) == scorer.score(golds[0], golds[::-1])


@given(st.lists(st.tuples(texts, gold_lists), max_size=6), names)
def test_any_order_gives_the_same_sums(rows: list[tuple[str, list[str]]], name: str) -> None:
    scores = [
        score_example(
            prediction,
            Example(id="1", question="", context="", answers=tuple(Answer(text=gold, start=0) for gold in golds)),
            get_scorer(name),
        )
        for prediction, golds in rows
    ]
    assert sum(map(Sums.of, scores), Sums()) == sum(map(Sums.of, scores[::-1]), Sums())


few = st.text(st.sampled_from("ab "), max_size=12)


@given(few, few)
def test_the_longest_run_is_that_of_difflib(found: str, wanted: str) -> None:
    assert longest_run_f1(found, wanted) == pytest.approx(official_rouge_w(found, wanted))
    assert longest_run_f1(found, wanted) == pytest.approx(longest_run_f1(wanted, found))


@given(few, few, st.text(st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3), max_size=20), st.integers(190, 220))
def test_the_longest_run_of_long_texts_is_that_of_difflib(one: str, two: str, rare: str, size: int) -> None:
    # With frequent characters left out the two texts are not alike: a long gold may miss what a long prediction finds.
    found, wanted = one + rare + "a" * size, two + ("ab" * size)[:size] + rare
    for pair in ((found, wanted), (wanted, found), (wanted, wanted), (rare, wanted), (wanted, rare)):
        assert longest_run_f1(*pair) == pytest.approx(official_rouge_w(*pair))
    assert longest_run_f1(wanted, wanted) == 1
