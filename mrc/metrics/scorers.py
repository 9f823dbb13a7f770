"""Scorers by name: one predicted text against the gold texts of its question.

A scorer is data: a normalisation, an F1 of two normalised texts, and what becomes of empty golds. That is the
whole difference between the official scripts, so another data set's scorer is another row of SCORERS.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from mrc.errors import UsageError
from mrc.metrics.normalise import normalise_korquad, normalise_squad


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """The rules by which one data set scores a predicted text."""

    name: str
    """What `get_scorer` and `--scorer` call it."""

    normalise: Callable[[str], str]
    """Text -> the form that exact match compares."""

    f1: Callable[[str, str], float]
    """F1 in 0 to 1 of two normalised texts, prediction first."""

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
    """Return the F1 of the characters other than white space, as in KorQuAD 1.0. Two empty texts: 0."""
    return bag_f1(found.replace(" ", ""), wanted.replace(" ", ""))


SCORERS: Mapping[str, Scorer] = MappingProxyType(
    {
        scorer.name: scorer
        for scorer in (
            Scorer(name="korquad", normalise=normalise_korquad, f1=character_f1, drops_empty_golds=False),
            Scorer(name="squad", normalise=normalise_squad, f1=token_f1, drops_empty_golds=False),
            Scorer(name="squad_v2", normalise=normalise_squad, f1=token_f1_or_equal, drops_empty_golds=True),
        )
    }
)
"""All scorers by name. `squad` is no measure for Korean, where particles stick to words: use `korquad` there."""


def is_korean(text: str) -> bool:
    """Tell whether a text has Hangul syllables."""
    return any("가" <= char <= "힣" for char in text)


def fitting_scorer(*, total: int, korean: int, unanswerable: int) -> str:
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
