"""Scorers by name: one predicted text against the gold texts of its question.

A scorer is data: a normalisation, an F1 of two normalised texts, and what becomes of empty golds. That is the
whole difference between the official scripts, so another data set's scorer is another row of SCORERS.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import partial
from types import MappingProxyType
from typing import Literal

from mrc.errors import UsageError
from mrc.metrics.normalise import (
    normalise_klue_mrc,
    normalise_korquad,
    normalise_korquad_v2,
    normalise_mlqa,
    normalise_squad,
)

ScorerName = Literal[
    "klue_mrc",
    "korquad",
    "korquad_v2",
    "mlqa_ar",
    "mlqa_de",
    "mlqa_en",
    "mlqa_es",
    "mlqa_hi",
    "mlqa_vi",
    "mlqa_zh",
    "squad",
    "squad_v2",
]
"""The names in SCORERS."""

ScorerChoice = Literal["auto", ScorerName]
"""A name, or "auto" for the one that `fitting_scorer` names."""

_AUTOJUNK_LENGTH = 200
"""From this length of its second text on, `SequenceMatcher` leaves out frequent characters."""


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """The rules by which one data set scores a predicted text."""

    name: str
    """What `get_scorer` and `--scorer` call it."""

    normalise: Callable[[str], str]
    """Text -> the form that exact match compares."""

    f1: Callable[[str, str], float]
    """F1 in 0 to 1 of two normalised texts, prediction first; what the data set reports in its place, if it does."""

    drops_empty_golds: bool
    """Whether golds that normalise to "" are dropped, as SQuAD 2.0 does, so that "" is right where none is left."""

    def score(self, prediction: str, golds: Sequence[str]) -> tuple[int, float]:
        """Return exact match (0 or 1) and F1 (0 to 1), each the best over the golds.

        Where there is no gold the question has no answer, and "" is right, by SQuAD 2.0's rule. The other official
        scripts crash there: their data sets have no such question.
        """
        found = self.normalise(prediction)
        wanted = [self.normalise(gold) for gold in golds]
        if self.drops_empty_golds:
            wanted = [gold for gold in wanted if gold]
        if not wanted:
            return int(not found), float(not found)
        return int(found in wanted), max(self.f1(found, gold) for gold in wanted)


def bag_f1(found: Iterable[str], wanted: Iterable[str]) -> float:
    """Return the F1 of two bags of units, 0 where they share none, so also where both are empty."""
    found_bag, wanted_bag = Counter(found), Counter(wanted)
    shared = (found_bag & wanted_bag).total()
    return 2 * shared / (found_bag.total() + wanted_bag.total()) if shared else 0.0


def token_f1(found: str, wanted: str) -> float:
    """Return the F1 of white-space tokens. Two empty texts: 0, as in SQuAD 1.1, though they match exactly."""
    return bag_f1(found.split(), wanted.split())


def token_f1_or_equal(found: str, wanted: str) -> float:
    """Return the F1 of white-space tokens; where either text is empty, 1 if both are, else 0, as in SQuAD 2.0."""
    return token_f1(found, wanted) if found and wanted else float(found == wanted)


def character_f1(found: str, wanted: str) -> float:
    """Return the F1 of the characters other than white space, as in KorQuAD. Two empty texts: 0."""
    return bag_f1(found.replace(" ", ""), wanted.replace(" ", ""))


def longest_run_f1(found: str, wanted: str) -> float:
    """Return the F1 of the longest run of characters in both, white space with them: KLUE's "ROUGE-W".

    Two empty texts: 1. "1917년 1월 1일" for "1917년 1월" has a run of 8 out of 11 and out of 8 characters: 16 / 19.
    Source: `rouge_w_score_for_klue_mrc` of KLUE-baseline's klue_baseline/metrics/utils.py.
    """
    if not wanted:
        return float(not found)
    return 2 * _longest_run(found, wanted) / (len(found) + len(wanted))


def _longest_run(found: str, wanted: str) -> int:
    """Return the size that `SequenceMatcher(None, found, wanted).find_longest_match()` finds.

    In a long gold, characters that make up more than a hundredth of it start no run, so that most of a run may be
    missed. That is so officially. In a shorter one the size is that of the longest run in both, which string search
    finds several times as fast.
    """
    if len(wanted) >= _AUTOJUNK_LENGTH:
        return SequenceMatcher(None, found, wanted).find_longest_match().size
    shorter, longer = sorted((found, wanted), key=len)
    size = 0
    for start in range(len(shorter)):
        while start + size < len(shorter) and shorter[start : start + size + 1] in longer:
            size += 1
    return size


def _mlqa(language: str) -> Scorer:
    normalise = partial(normalise_mlqa, language=language)
    return Scorer(name=f"mlqa_{language}", normalise=normalise, f1=token_f1, drops_empty_golds=False)


SCORERS: Mapping[str, Scorer] = MappingProxyType(
    {
        scorer.name: scorer
        for scorer in (
            Scorer(name="klue_mrc", normalise=normalise_klue_mrc, f1=longest_run_f1, drops_empty_golds=False),
            Scorer(name="korquad", normalise=normalise_korquad, f1=character_f1, drops_empty_golds=False),
            Scorer(name="korquad_v2", normalise=normalise_korquad_v2, f1=character_f1, drops_empty_golds=False),
            _mlqa("ar"),
            _mlqa("de"),
            _mlqa("en"),
            _mlqa("es"),
            _mlqa("hi"),
            _mlqa("vi"),
            _mlqa("zh"),
            Scorer(name="squad", normalise=normalise_squad, f1=token_f1, drops_empty_golds=False),
            Scorer(name="squad_v2", normalise=normalise_squad, f1=token_f1_or_equal, drops_empty_golds=True),
        )
    }
)
"""All scorers by name. Korean needs `korquad`, `korquad_v2` or `klue_mrc`, as particles stick to words there."""


def is_korean(text: str) -> bool:
    """Tell whether a text has Hangul syllables."""
    return any("가" <= char <= "힣" for char in text)


def fitting_scorer(*, total: int, korean: int, unanswerable: int) -> ScorerName:
    """Name the scorer that fits questions: for mostly Korean ones, else for some without an answer, else SQuAD 1.1's.

    Args:
        total: Number of questions.
        korean: How many of them are Korean, see `is_korean`.
        unanswerable: How many have the gold that there is no answer.
    """
    if 2 * korean > total:
        return "korquad"
    return "squad_v2" if unanswerable else "squad"


def get_scorer(name: str) -> Scorer:
    """Return the scorer called `name`.

    Raises:
        UsageError: There is no such scorer.
    """
    if name not in SCORERS:
        raise UsageError(f"--scorer {name!r} is not known: use one of {', '.join(SCORERS)}")
    return SCORERS[name]
