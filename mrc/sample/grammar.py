"""The words that a language of the sample is written in: patterns for values, relations, domains of knowledge.

A template is a format string with two holes, `{it}` for the thing spoken of and `{a}` for the answer, and perhaps a
particle that agrees with the word before it: "{it:은} {a}에 개통되었다". A clause is a filled template together with
where its answer stands, so that no answer is ever searched for.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from string import Formatter

# A name is a combination of parts; the sum of the parts' numbers, modulo 5, says which split may use it. So every part
# is seen in training, and no name of the validation split is.
SPLITS: Mapping[str, tuple[int, ...]] = {"train": (0, 1, 2), "validation": (3,), "test": (4,)}
_NUM_CLASSES = 5


@cache
def parse(template: str) -> tuple[tuple[str, str, str], ...]:
    """Return the parts of a template: literal text, and the hole after it with its particle, each "" for none."""
    return tuple((text, hole or "", particle or "") for text, hole, particle, _ in Formatter().parse(template))


def holes(template: str) -> tuple[str, ...]:
    """Return the names of a template's holes."""
    return tuple(hole for _, hole, _ in parse(template) if hole)


class Pattern:
    """A family of values: a format string and what may stand in each of its holes.

    Args:
        template: A format string with one positional hole for each of `parts`.
        *parts: Words, or a range of numbers. Two or more of them make a name, and names are kept apart by split.
    """

    def __init__(self, template: str, *parts: Sequence[str] | range) -> None:
        self.template = template
        self.parts = parts

    def draw(self, rng: random.Random, split: str) -> str:
        """Return a random member of the family, of those that belong to the split."""
        while True:
            picks = [int(rng.random() * len(part)) for part in self.parts]
            if self.belongs(picks, split):
                return self.name(picks)

    def name(self, picks: Sequence[int]) -> str:
        """Return the member that is made of the given parts, one number for each hole."""
        return self.template.format(*(part[pick] for part, pick in zip(self.parts, picks, strict=True)))

    def belongs(self, picks: Sequence[int], split: str) -> bool:
        """Return whether the split may use that member: any may use what is no name."""
        return len(picks) < 2 or sum(picks) % _NUM_CLASSES in SPLITS[split]


@dataclass(frozen=True, slots=True)
class Relation:
    """Something that may be told of a thing and asked about it, in several wordings each.

    `kind` names the family of its answers; relations of one kind distract from each other. `statements` are clauses
    without a full stop, with the holes `{it}` and `{a}`; `questions` are sentences with the hole `{it}`.
    """

    kind: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]


def parse_relations(table: str) -> tuple[Relation, ...]:
    """Return the relations of a table with two lines for each: its kind and statements, and its questions.

    Alternatives are parted by " / ":

        year: {it} was opened in {a} / since {a} people have walked over {it}
            When was {it} opened? / In which year could people first use {it}?
    """
    lines = table.strip().splitlines()
    relations = []
    for first, second in zip(lines[::2], lines[1::2], strict=True):
        kind, statements = first.strip().split(": ")
        relations.append(Relation(kind, tuple(statements.split(" / ")), tuple(second.strip().split(" / "))))
    return tuple(relations)


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A topic: how its things are named, how they are spoken of without their name, and what there is to tell of them.

    `openings` are clauses with the hole `{it}` that introduce a thing; `collection` is the title of a passage on
    several things, with the hole `{it}` for the first of them. Relations that ask for a year stand in the order in
    which the years of a thing follow each other.
    """

    name: Pattern
    collection: str
    nouns: tuple[str, ...]
    openings: tuple[str, ...]
    relations: tuple[Relation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """All that the generator knows of a language.

    `kinds` maps a kind of answer to its family. `asides` are clauses that answer no question, with kinds as holes.
    `inflect` returns a word with the particle that a hole asks for, `contrast` joins two clauses into one, and
    `sentence` turns a clause into a sentence without moving a character.
    """

    code: str
    kinds: Mapping[str, Pattern]
    asides: tuple[str, ...]
    domains: tuple[Domain, ...]
    inflect: Callable[[str, str], str]
    contrast: Callable[[str, str], str]
    sentence: Callable[[str], str]

    def fill(self, template: str, **words: str) -> tuple[str, int]:
        """Return the template with its holes filled, and where the hole `{a}` starts in it (-1: it has none)."""
        text, start = "", -1
        for literal, hole, particle in parse(template):
            text += literal
            if hole:
                start = len(text) if hole == "a" else start
                text += self.inflect(words[hole], particle)
        return text, start
