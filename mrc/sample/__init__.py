"""The built-in sample: questions in Korean and English about invented things, so that everything runs with no network.

Example i of a split is a pure function of (seed, split, language, i): any range is made without making what comes
before it, so a million questions stream out of as many processes as one likes. Five questions in a row share a passage.
Names are combinations of parts, and no split uses a combination that another one does.
"""

import random
from collections.abc import Iterator
from itertools import islice
from typing import Literal

from mrc.errors import UsageError
from mrc.examples import Example
from mrc.sample.english import ENGLISH
from mrc.sample.grammar import SPLITS, Language
from mrc.sample.korean import KOREAN
from mrc.sample.passages import write_passage
from mrc.sample.questions import ask

__all__ = ["LANGUAGES", "QUESTIONS_PER_PASSAGE", "SPLITS", "LanguageCode", "iter_examples"]

LanguageCode = Literal["ko", "en"]
LANGUAGES: dict[LanguageCode, Language] = {"ko": KOREAN, "en": ENGLISH}
QUESTIONS_PER_PASSAGE = 5


def iter_examples(
    split: str,
    *,
    num_examples: int,
    seed: int = 0,
    language: LanguageCode | None = None,
    start: int = 0,
) -> Iterator[Example]:
    """Yield the examples [start, start + num_examples) of a split.

    Args:
        split: "train", "validation" or "test"; they share no passage and no name.
        num_examples: How many to yield. There is no end to a split.
        seed: Another seed, another sample, with the same ids.
        language: Of questions and passages. By default passages of both alternate, those of each language alone.
        start: The number of the first example, counted from 0.

    Raises:
        UsageError: There is no such split or language, or a number is negative.
    """
    if split not in SPLITS:
        raise UsageError(f"the sample has no split {split!r}: choose one of {', '.join(SPLITS)}")
    if language is not None and language not in LANGUAGES:
        raise UsageError(
            f"the sample has no language {language!r}: choose one of {', '.join(LANGUAGES)}, or none for both"
        )
    if num_examples < 0 or start < 0:
        raise UsageError(f"the sample has no examples [{start}, {start} + {num_examples}): give numbers from 0 on")
    return _iter_range(split, seed, (language,) if language else tuple(LANGUAGES), start, num_examples)


def _iter_range(
    split: str, seed: int, codes: tuple[LanguageCode, ...], start: int, num_examples: int
) -> Iterator[Example]:
    passage, skipped = divmod(start, QUESTIONS_PER_PASSAGE)
    numbers = range(passage, (start + num_examples - 1) // QUESTIONS_PER_PASSAGE + 1)
    examples = (
        example
        for number in numbers
        for example in _passage_examples(LANGUAGES[codes[number % len(codes)]], split, seed, number // len(codes))
    )
    return islice(examples, skipped, skipped + num_examples)


def _passage_examples(language: Language, split: str, seed: int, number: int) -> Iterator[Example]:
    """Yield the examples of passage `number` of a language."""
    rng = random.Random(f"{seed}/{split}/{language.code}/{number}")
    passage = write_passage(language, split, rng)
    for i, (question, answers) in enumerate(ask(passage, language, QUESTIONS_PER_PASSAGE, rng)):
        yield Example(
            id=f"{language.code}-{split}-{number:06d}-{i}",
            question=question,
            context=passage.text,
            answers=answers,
            title=passage.title,
        )
