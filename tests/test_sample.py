"""The built-in sample: valid, the same everywhere and for any range, with what makes questions hard in it."""

import hashlib
import itertools
import random
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator

import hypothesis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mrc.sample
from mrc.errors import UsageError
from mrc.examples import Example
from mrc.sample import LANGUAGES, QUESTIONS_PER_PASSAGE, SPLITS, LanguageCode, iter_examples
from mrc.sample.grammar import Language, Pattern, parse
from mrc.sample.josa import PAIRS, attach
from mrc.sample.passages import write_passage
from mrc.sample.questions import ask

CODES: tuple[LanguageCode, ...] = ("ko", "en")
_HANGUL = st.characters(min_codepoint=ord("가"), max_codepoint=ord("힣"))


@pytest.fixture(scope="module", params=CODES)
def examples(request: pytest.FixtureRequest) -> list[Example]:
    """The first 3,000 training examples of a language."""
    return list(iter_examples("train", num_examples=3000, language=request.param))


def _share(flags: Iterator[bool]) -> float:
    values = list(flags)
    return sum(values) / len(values)


# Ranges and determinism


@settings(max_examples=40, deadline=None)
@given(
    split=st.sampled_from(list(SPLITS)),
    language=st.sampled_from([None, *CODES]),
    seed=st.integers(0, 2**32),
    start=st.integers(0, 60),
    num_examples=st.integers(0, 40),
)
def test_any_range_is_a_slice_of_the_whole(
    split: str, language: LanguageCode | None, seed: int, start: int, num_examples: int
) -> None:
    whole = list(iter_examples(split, num_examples=100, seed=seed, language=language))
    part = list(iter_examples(split, num_examples=num_examples, seed=seed, language=language, start=start))
    assert part == whole[start : start + num_examples]
    assert len(part) == num_examples


def test_both_languages_alternate_by_passage() -> None:
    both = list(iter_examples("validation", num_examples=40))
    for i, code in enumerate(CODES):
        rows = [row for row in both if row.id.startswith(code)]
        assert rows == list(iter_examples("validation", num_examples=20, language=code))
        assert both[i * QUESTIONS_PER_PASSAGE].id == f"{code}-validation-000000-0"


def test_a_far_range_writes_its_own_passages_only(monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def counting(language: Language, split: str, rng: random.Random) -> object:
        written.append(split)
        return write_passage(language, split, rng)

    monkeypatch.setattr(mrc.sample, "write_passage", counting)
    rows = list(iter_examples("train", num_examples=10, start=1_000_003, language="en"))
    assert [row.id for row in rows[:3]] == ["en-train-200000-3", "en-train-200000-4", "en-train-200001-0"]
    assert len(written) == 3


def test_examples_stream() -> None:
    stream = iter_examples("train", num_examples=10**12)
    assert next(stream).id == "ko-train-000000-0"


def test_another_seed_is_another_sample() -> None:
    first, second = (list(iter_examples("train", num_examples=50, seed=seed)) for seed in (0, 1))
    assert [row.id for row in first] == [row.id for row in second]
    assert not {row.context for row in first} & {row.context for row in second}


def test_every_process_makes_the_same_sample() -> None:
    code = (
        "import hashlib, sys; from mrc.sample import iter_examples;"
        "rows = repr(list(iter_examples('train', num_examples=100)));"
        "print(hashlib.sha256(rows.encode()).hexdigest(), *({'ray', 'torch', 'transformers'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True
    )
    rows = repr(list(iter_examples("train", num_examples=100)))
    # Nothing heavy is imported either: the module names would follow the digest.
    assert run.stdout.split() == [hashlib.sha256(rows.encode()).hexdigest()]


# Validity


def test_answers_stand_where_they_say(examples: list[Example]) -> None:
    for example in examples:
        assert example.answers is not None
        for answer in example.answers:
            assert answer.text == answer.text.strip() != ""
            assert example.context[answer.start : answer.end] == answer.text


def test_ids_are_unique_and_rows_of_a_passage_follow_each_other(examples: list[Example]) -> None:
    assert len({example.id for example in examples}) == len(examples)
    for _, rows in itertools.groupby(examples, key=lambda example: example.id.rsplit("-", 1)[0]):
        passage = list(rows)
        assert len(passage) == QUESTIONS_PER_PASSAGE
        assert len({(row.context, row.title) for row in passage}) == 1
        assert len({row.question for row in passage}) == QUESTIONS_PER_PASSAGE
    assert len({example.context for example in examples}) == len(examples) / QUESTIONS_PER_PASSAGE


def test_text_has_no_stray_spaces_or_holes(examples: list[Example]) -> None:
    for example in examples:
        for text in (example.context, example.question, example.title or ""):
            assert not re.search(r"^\s|\s$|  | \n|\n |[{}]", text)
        assert example.question.endswith("?")
        assert all(line.endswith(".") for line in example.context.split("\n"))


@settings(max_examples=60, deadline=None)
@given(code=st.sampled_from(CODES), split=st.sampled_from(list(SPLITS)), seed=st.integers())
# A long passage, each of whose things may be compared with two others.
@hypothesis.example(code="en", split="validation", seed=15)
def test_a_question_has_an_answer_if_and_only_if_the_passage_tells(code: LanguageCode, split: str, seed: int) -> None:
    language, rng = LANGUAGES[code], random.Random(seed)
    passage = write_passage(language, split, rng)
    told = {
        language.fill(question, it=fact.thing)[0]: fact.answer
        for fact in passage.facts
        for question in fact.relation.questions
    }
    assert passage.stranger not in passage.text
    assert len({(fact.thing, fact.relation) for fact in passage.facts}) == len(passage.facts)
    for question, answers in ask(passage, language, QUESTIONS_PER_PASSAGE, rng):
        assert answers == ((told[question],) if question in told else ())


def test_splits_share_no_passage() -> None:
    contexts = [{row.context for row in iter_examples(split, num_examples=2000)} for split in SPLITS]
    assert not any(one & other for one, other in itertools.combinations(contexts, 2))


def _names(pattern: Pattern, split: str) -> set[str]:
    """Every name of a family that a split may use."""
    picks = itertools.product(*(range(len(part)) for part in pattern.parts))
    return {pattern.name(pick) for pick in picks if pattern.belongs(pick, split)}


@pytest.mark.parametrize("code", CODES)
def test_splits_share_no_name_and_every_part_is_seen_in_training(code: LanguageCode) -> None:
    language = LANGUAGES[code]
    families = [*language.kinds.values(), *(domain.name for domain in language.domains)]
    for pattern in (family for family in families if len(family.parts) > 1):
        train, validation, test = (_names(pattern, split) for split in ("train", "validation", "test"))
        assert not train & validation
        assert not train & test
        assert not validation & test
        for part in pattern.parts:
            assert all(any(str(word) in name for name in train) for word in part)


# What makes it a reading task


def test_a_quarter_has_no_answer(examples: list[Example]) -> None:
    assert 0.22 < _share(not example.answers for example in examples) < 0.28


def test_some_passages_need_several_windows(examples: list[Example]) -> None:
    # 1,900 characters of English and 800 of Korean are more than 384 tokens of any usual vocabulary.
    longest = 1900 if examples[0].id.startswith("en") else 800
    assert 0.02 < _share(len(example.context) > longest for example in examples) < 0.08


def test_answers_return_elsewhere_in_the_passage(examples: list[Example]) -> None:
    answers = [(answer.text, example.context) for example in examples for answer in example.answers or ()]
    assert _share(context.count(text) > 1 for text, context in answers) > 0.1


def test_years_distract_from_each_other(examples: list[Example]) -> None:
    year = re.compile(r"(?<![\d,])(?:1[89]|20)\d\d(?![\d,])")
    of_years = [example for example in examples for answer in example.answers or () if year.fullmatch(answer.text[:4])]
    assert len(of_years) > 400
    assert _share(len(set(year.findall(example.context))) > 1 for example in of_years) > 0.8


def test_questions_do_not_repeat_the_wording_of_the_passage(examples: list[Example]) -> None:
    """The sentence with the answer is often not the one that shares the most words with the question."""

    def words(text: str) -> set[str]:
        return set(re.findall(r"\w+", text.lower()))

    def overlap_finds_answer(example: Example) -> bool:
        (answer,) = example.answers or ()
        sentences = re.split(r"(?<=[.])\s", example.context)
        best = max(sentences, key=lambda sentence: len(words(sentence) & words(example.question)))
        return answer.text in best

    assert _share(overlap_finds_answer(example) for example in examples if example.answers) < 0.6


@pytest.mark.parametrize("code", CODES)
def test_everything_is_told_and_asked_in_several_wordings(code: LanguageCode) -> None:
    relations = [relation for domain in LANGUAGES[code].domains for relation in domain.relations]
    assert len(relations) > 50
    assert all(len(set(relation.statements)) > 1 < len(set(relation.questions)) for relation in relations)
    assert {relation.kind for relation in relations} <= LANGUAGES[code].kinds.keys()


# Korean


def test_korean_answers_are_followed_by_particles() -> None:
    rows = iter_examples("train", num_examples=3000, language="ko")
    following = [row.context[answer.end] for row in rows for answer in row.answers or ()]
    assert _share("가" <= character <= "힣" for character in following) > 0.6


@given(stem=st.text(_HANGUL, max_size=3), last=_HANGUL, mark=st.sampled_from(["", "》", "’", ")"]), data=st.data())
def test_a_particle_agrees_with_the_last_sound(stem: str, last: str, mark: str, data: st.DataObject) -> None:
    after_consonant, after_vowel = pair = data.draw(st.sampled_from(PAIRS))
    jamo = unicodedata.normalize("NFD", last)
    rieul_before_ro = jamo.endswith("ᆯ") and after_vowel == "로"
    expected = after_vowel if len(jamo) == 2 or rieul_before_ro else after_consonant
    assert {attach(stem + last + mark, particle) for particle in pair} == {stem + last + mark + expected}


@given(word=st.text(), particle=st.sampled_from(["", "에서", "의", "에게"]))
def test_other_particles_are_attached_as_they_are(word: str, particle: str) -> None:
    assert attach(word, particle) == word + particle


@pytest.mark.parametrize(
    ("word", "particle", "expected"),
    [
        ("서울", "으로", "서울로"),
        ("부산", "로", "부산으로"),
        ("제주", "으로", "제주로"),
        ("《푸른 강》", "는", "《푸른 강》은"),
        ("1930", "가", "1930이"),
        ("7", "으로", "7로"),
        ("2", "은", "2는"),
        ("KTX", "을", "KTX를"),
        ("SRM", "를", "SRM을"),
        ("…", "은", "…는"),
    ],
)
def test_particles_by_example(word: str, particle: str, expected: str) -> None:
    assert attach(word, particle) == expected


def test_no_template_hard_codes_a_particle_that_has_two_forms() -> None:
    forms = "|".join(form for pair in PAIRS for form in pair)
    korean = LANGUAGES["ko"]
    templates = [*korean.asides, *(domain.collection for domain in korean.domains)]
    for domain in korean.domains:
        templates += domain.openings
        templates += [text for relation in domain.relations for text in relation.statements + relation.questions]
    for template in templates:
        parts = parse(template)
        for (_, hole, _), (text, _, _) in itertools.pairwise(parts):
            assert not (hole and re.match(rf"(?:{forms})(?:\s|$)", text)), template


@pytest.mark.parametrize("code", CODES)
def test_a_contrast_joins_two_clauses(code: LanguageCode) -> None:
    language = LANGUAGES[code]
    for domain in language.domains:
        for statement in (text for relation in domain.relations for text in relation.statements):
            assert code == "en" or statement.endswith("다")
            assert language.contrast(statement, "Z") not in (statement, "Z")
            assert language.contrast("다", statement).endswith(statement)


@pytest.mark.parametrize(
    ("clause", "joined"),
    [
        ("다리는 1931년에 개통되었다", "다리는 1931년에 개통되었고, 길이는 5미터이다"),
        ("길이는 9미터이다", "길이는 9미터이고, 길이는 5미터이다"),
        ("공책은 이끼로 가득하다", "공책은 이끼로 가득하고, 길이는 5미터이다"),
        ("손님들은 골안에서 묵는다", "손님들은 골안에서 묵고, 길이는 5미터이다"),
        ("날마다 120명이 온다", "날마다 120명이 오고, 길이는 5미터이다"),
        ("축제는 9일 동안 계속된다", "축제는 9일 동안 계속되고, 길이는 5미터이다"),
        ("회사는 시계를 만든다", "회사는 시계를 만들고, 길이는 5미터이다"),
        ("지금 회사는 김도윤이 이끈다", "지금 회사는 김도윤이 이끌고, 길이는 5미터이다"),
    ],
)
def test_a_verb_that_is_joined_takes_its_stem(clause: str, joined: str) -> None:
    assert LANGUAGES["ko"].contrast(clause, "길이는 5미터이다") == joined


def test_no_syllable_of_a_given_name_is_a_particle_with_two_forms() -> None:
    """A name that ends as a particle does, before that particle, is ambiguous for no reason: 강가은은, 강가은은은."""
    _, *given = LANGUAGES["ko"].kinds["person"].parts
    particles = {particle for pair in PAIRS for particle in pair}
    assert not particles & {str(syllable) for part in given for syllable in part}


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "dev"}, "no split 'dev': choose one of train, validation, test"),
        ({"language": "fr"}, "no language 'fr': choose one of ko, en"),
        ({"num_examples": -1}, "no examples"),
        ({"start": -5}, "no examples"),
    ],
)
def test_bad_arguments_are_refused_at_once(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        iter_examples(**{"split": "train", "num_examples": 1, **arguments})  # type: ignore[arg-type]
