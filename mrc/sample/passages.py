"""Passages of the sample: a few things of one sort, each in a paragraph of facts, and where every fact stands.

    The Ravenmere Bridge is among the best-known bridges of the valley. It was designed by ... In 1931 ...   <- a thing
    The Copperholm Bridge ... In 1931 a flood damaged the crossing.                                          <- another

What makes it a reading task: things of one sort share their relations (two bridges, two engineers), a thing has
several values of a kind (three years), values return elsewhere in the passage (1931 above), asides bring more of them,
and a thing is mostly spoken of without its name. A few passages in a hundred are long enough for several windows.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from mrc.examples import Answer
from mrc.sample.grammar import Domain, Language, Relation

LONG_SHARE = 0.05
_SHORT_NUM_THINGS = (1, 2, 2, 3)
_LONG_NUM_THINGS = range(8, 13)
_REPEAT_SHARE = 0.15  # of the values that another thing of the passage already has
_NAME_SHARE = 0.6  # of the statements that use the name of their thing
_ASIDE_SHARE = 0.2  # of the statements that an aside follows
_CONTRAST_SHARE = 0.4  # of the neighbours that are compared in one sentence


@dataclass(frozen=True, slots=True)
class Fact:
    """What a passage tells: a thing, a relation, and the answer where it stands in the passage."""

    thing: str
    relation: Relation
    answer: Answer


@dataclass(frozen=True, slots=True)
class Passage:
    """A text with all the facts it tells. `stranger` is a thing of the same sort that it does not speak of."""

    domain: Domain
    title: str
    text: str
    things: tuple[str, ...]
    stranger: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class _Clause:
    """Text, and the answers in it: (thing, relation, start, length) each, in characters of the text."""

    text: str
    marks: tuple[tuple[str, Relation, int, int], ...] = ()


_Values = dict[tuple[str, Relation], str]


class _Writer:
    """Writes one passage: a language, a split and a source of chance that every step draws from."""

    def __init__(self, language: Language, split: str, rng: random.Random) -> None:
        self.language = language
        self.split = split
        self.rng = rng

    def names(self, domain: Domain, count: int) -> list[str]:
        """Return `count` different names of things."""
        names: dict[str, None] = {}
        while len(names) < count:
            names[domain.name.draw(self.rng, self.split)] = None
        return list(names)

    def values(self, domain: Domain, things: Sequence[str]) -> _Values:
        """Choose what is told of each thing: some of the relations, and a value for each of them."""
        values: _Values = {}
        for thing in things:
            fewest = len(domain.relations) - 2 if len(things) == 1 else 4
            told = self.rng.sample(domain.relations, self.rng.randint(fewest, fewest + 1))
            own: list[str] = []
            for relation in told:
                own.append(self._value(relation.kind, own, [v for (_, r), v in values.items() if r.kind == relation.kind]))
            values.update(zip(((thing, relation) for relation in told), own, strict=True))
            self._put_years_in_order(domain, thing, values)
        return values

    def _value(self, kind: str, own: Sequence[str], elsewhere: Sequence[str]) -> str:
        """Return a value that the thing does not have yet: a new one, or one that another thing has."""
        while True:
            repeat = elsewhere and self.rng.random() < _REPEAT_SHARE
            value = self.rng.choice(elsewhere) if repeat else self.language.kinds[kind].draw(self.rng, self.split)
            if value not in own:
                return value

    def _put_years_in_order(self, domain: Domain, thing: str, values: _Values) -> None:
        """Sort the years of a thing: a domain lists its years in the order in which they happen."""
        keys = [(thing, r) for r in domain.relations if r.kind == "year" and (thing, r) in values]
        values.update(zip(keys, sorted(values[key] for key in keys), strict=True))

    def paragraphs(self, domain: Domain, things: Sequence[str], values: _Values) -> list[list[_Clause]]:
        """Return the clauses of each thing's paragraph."""
        untold = dict(values)
        paragraphs = []
        for i, thing in enumerate(things):
            contrast = self._contrast(things[i - 1], thing, untold) if i else []
            paragraphs.append((thing, contrast))
        return [self._paragraph(domain, thing, untold) + contrast for thing, contrast in paragraphs]

    def _contrast(self, first: str, second: str, untold: _Values) -> list[_Clause]:
        """Perhaps tell of two things in one clause what both have, and take it from what is still to be told."""
        shared = [r for t, r in untold if t == first and untold[t, r] != untold.get((second, r), untold[t, r])]
        if not shared or self.rng.random() >= _CONTRAST_SHARE:
            return []
        relation = self.rng.choice(shared)
        one, two = (self._tell(thing, relation, untold.pop((thing, relation)), thing) for thing in (first, second))
        text = self.language.contrast(one.text, two.text)
        shift = len(text) - len(two.text)
        return [_Clause(text, one.marks + tuple((thing, r, start + shift, n) for thing, r, start, n in two.marks))]

    def _paragraph(self, domain: Domain, thing: str, untold: _Values) -> list[_Clause]:
        """Return an opening that names the thing, then its facts in any order, with asides between them."""
        clauses = [_Clause(self.language.fill(self.rng.choice(domain.openings), it=thing)[0])]
        facts = [(relation, value) for (owner, relation), value in untold.items() if owner == thing]
        self.rng.shuffle(facts)
        for relation, value in facts:
            mention = thing if self.rng.random() < _NAME_SHARE else self.rng.choice(domain.nouns)
            clauses.append(self._tell(thing, relation, value, mention))
            if self.rng.random() < _ASIDE_SHARE:
                clauses.append(self._aside())
        return clauses

    def _tell(self, thing: str, relation: Relation, value: str, mention: str) -> _Clause:
        text, start = self.language.fill(self.rng.choice(relation.statements), it=mention, a=value)
        return _Clause(text, ((thing, relation, start, len(value)),))

    def _aside(self) -> _Clause:
        kinds = {kind: self.language.kinds[kind].draw(self.rng, self.split) for kind in ("year", "person", "place", "people")}
        return _Clause(self.language.fill(self.rng.choice(self.language.asides), **kinds)[0])

    def lay_out(self, paragraphs: Sequence[Sequence[_Clause]]) -> tuple[str, tuple[Fact, ...]]:
        """Return the text, with a line for each paragraph, and the facts in the order in which they stand in it."""
        pieces: list[str] = []
        facts: list[Fact] = []
        position = 0
        for paragraph in paragraphs:
            for clause, space in zip(paragraph, [" "] * (len(paragraph) - 1) + ["\n"], strict=True):
                sentence = self.language.sentence(clause.text)
                for thing, relation, start, length in clause.marks:
                    answer = Answer(text=sentence[start : start + length], start=position + start)
                    facts.append(Fact(thing, relation, answer))
                pieces += (sentence, space)
                position += len(sentence) + len(space)
        return "".join(pieces).rstrip("\n"), tuple(facts)


def write_passage(language: Language, split: str, rng: random.Random) -> Passage:
    """Return a random passage of a split."""
    writer = _Writer(language, split, rng)
    domain = rng.choice(language.domains)
    is_long = rng.random() < LONG_SHARE
    num_things = rng.choice(_LONG_NUM_THINGS if is_long else _SHORT_NUM_THINGS)
    *things, stranger = writer.names(domain, num_things + 1)
    text, facts = writer.lay_out(writer.paragraphs(domain, things, writer.values(domain, things)))
    title = things[0] if num_things == 1 else language.fill(domain.collection, it=things[0])[0]
    return Passage(domain, title[0].upper() + title[1:], text, tuple(things), stranger, facts)
