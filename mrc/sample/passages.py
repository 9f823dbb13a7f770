"""Passages of the sample: a few things of one sort, a paragraph of facts for each, and where every fact stands.

    Many postcards show the Ravenmere Bridge. The crossing was designed by Ada Bellford. In 1931 a flood damaged the ...
    ... The Copperholm Bridge was opened to traffic in 1931. The plans for it were drawn by Hugo Marley. ...

What makes it a reading task: things of one sort share their relations (two bridges, two engineers), a thing has several
values of a kind (three years), values return elsewhere in the passage (1931 above), asides bring in more of them, and a
thing is often spoken of without its name. A few passages in a hundred are long enough for several windows.
"""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mrc.examples import Answer
from mrc.sample.grammar import Domain, Language, Relation, holes

_LONG_SHARE = 0.04
_SHORT_NUM_THINGS = (1, 1, 2, 2)
_LONG_NUM_THINGS = range(9, 12)
_FEWEST_FACTS, _FEWEST_FACTS_ALONE = 3, 5  # of a thing; perhaps there is one more
_REPEAT_SHARE = 0.35  # of the values that another thing of the passage has as well
_NAME_SHARE = 0.8  # of the statements that use the name of their thing
_ASIDE_SHARE = 0.15  # of the statements that an aside follows
_CONTRAST_SHARE = 0.4  # of the neighbours that one sentence compares


@dataclass(frozen=True, slots=True)
class Fact:
    """What a passage tells: a thing, a relation, and the answer where it stands in the passage."""

    thing: str
    relation: Relation
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
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
    """A piece of text with its facts; their answers start where they do in the text of the clause."""

    text: str
    facts: tuple[Fact, ...] = ()


_Values = dict[Relation, str]  # What there is to tell of one thing.


def _placed(facts: Sequence[Fact], text: str, shift: int) -> tuple[Fact, ...]:
    """Return the facts of a clause as facts of `text`, in which the clause starts at `shift`."""
    placed = []
    for fact in facts:
        start, end = fact.answer.start + shift, fact.answer.end + shift
        placed.append(Fact(fact.thing, fact.relation, Answer(text=text[start:end], start=start)))
    return tuple(placed)


class _Writer:
    """Writes passages of a split in a language; every choice is drawn from one random generator."""

    def __init__(self, language: Language, split: str, rng: random.Random) -> None:
        self.language = language
        self.split = split
        self.rng = rng

    def write(self) -> Passage:
        """Return a new passage."""
        domain = self.rng.choice(self.language.domains)
        is_long = self.rng.random() < _LONG_SHARE
        num_things = self.rng.choice(_LONG_NUM_THINGS if is_long else _SHORT_NUM_THINGS)
        *things, stranger = self._names(domain, num_things + 1)
        text, facts = self._lay_out(self._paragraphs(domain, self._things(domain, things)))
        title = things[0] if num_things == 1 else self.language.fill(domain.collection, it=things[0])[0]
        return Passage(
            domain=domain,
            title=title[0].upper() + title[1:],
            text=text,
            things=tuple(things),
            stranger=stranger,
            facts=facts,
        )

    def _names(self, domain: Domain, count: int) -> list[str]:
        """Return `count` different names."""
        names: dict[str, None] = {}
        while len(names) < count:
            names[domain.name.draw(self.rng, self.split)] = None
        return list(names)

    def _things(self, domain: Domain, names: Sequence[str]) -> dict[str, _Values]:
        """Choose what to tell of each thing: some of its domain's relations, and their values."""
        # A passage on one thing has to answer all its questions from that thing.
        fewest = _FEWEST_FACTS_ALONE if len(names) == 1 else _FEWEST_FACTS
        things: dict[str, _Values] = {}
        for name in names:
            told = self.rng.sample(range(len(domain.relations)), self.rng.randint(fewest, fewest + 1))
            things[name] = self._values([domain.relations[i] for i in sorted(told)], list(things.values()))
        return things

    def _values(self, relations: Sequence[Relation], others: Sequence[_Values]) -> _Values:
        """Return a value for each relation, no two of them the same, and the years in order."""
        values: _Values = {}
        for relation in relations:
            elsewhere = [v for other in others for r, v in other.items() if r.kind == relation.kind]
            while (value := self._value(relation.kind, elsewhere)) in values.values():
                pass
            values[relation] = value
        years = [r for r in relations if r.kind == "year"]
        values.update(zip(years, sorted(values[r] for r in years), strict=True))
        return values

    def _value(self, kind: str, elsewhere: Sequence[str]) -> str:
        """Return a new value of the kind, or one that another thing has."""
        if elsewhere and self.rng.random() < _REPEAT_SHARE:
            return self.rng.choice(elsewhere)
        return self.language.kinds[kind].draw(self.rng, self.split)

    def _paragraphs(self, domain: Domain, things: Mapping[str, _Values]) -> list[list[_Clause]]:
        """Return the clauses of each thing's paragraph; perhaps the last compares the thing with the one before."""
        names = list(things)
        told: set[tuple[str, Relation]] = set()
        contrasts: list[list[_Clause]] = []
        for first, second in pairwise(names):
            contrasts.append(self._contrast(things, first, second, told))
            told |= {(fact.thing, fact.relation) for clause in contrasts[-1] for fact in clause.facts}
        paragraphs = []
        for name, contrast in zip(names, [[], *contrasts], strict=True):
            facts = [(r, value) for r, value in things[name].items() if (name, r) not in told]
            paragraphs.append(self._paragraph(domain, name, facts) + contrast)
        return paragraphs

    def _contrast(
        self, things: Mapping[str, _Values], first: str, second: str, told: Collection[tuple[str, Relation]]
    ) -> list[_Clause]:
        """Return one clause that tells of two things how they differ in something that is not told yet, or none."""
        one, two = things[first], things[second]
        relations = [r for r in one if r in two and one[r] != two[r] and (first, r) not in told]
        if not relations or self.rng.random() >= _CONTRAST_SHARE:
            return []
        relation = self.rng.choice(relations)
        left = self._tell(first, relation, one[relation], mention=first)
        right = self._tell(second, relation, two[relation], mention=second)
        text = self.language.contrast(left.text, right.text)
        return [_Clause(text, left.facts + _placed(right.facts, text, len(text) - len(right.text)))]

    def _paragraph(self, domain: Domain, name: str, facts: list[tuple[Relation, str]]) -> list[_Clause]:
        """Return an opening that names the thing, then its facts in any order, with asides in between."""
        clauses = [_Clause(self.language.fill(self.rng.choice(domain.openings), it=name)[0])]
        for relation, value in self.rng.sample(facts, len(facts)):
            mention = name if self.rng.random() < _NAME_SHARE else self.rng.choice(domain.nouns)
            clauses.append(self._tell(name, relation, value, mention))
            if self.rng.random() < _ASIDE_SHARE:
                clauses.append(self._aside())
        return clauses

    def _tell(self, name: str, relation: Relation, value: str, mention: str) -> _Clause:
        text, start = self.language.fill(self.rng.choice(relation.statements), it=mention, a=value)
        return _Clause(text, (Fact(name, relation, Answer(text=value, start=start)),))

    def _aside(self) -> _Clause:
        template = self.rng.choice(self.language.asides)
        values = {kind: self.language.kinds[kind].draw(self.rng, self.split) for kind in holes(template)}
        return _Clause(self.language.fill(template, **values)[0])

    def _lay_out(self, paragraphs: Sequence[Sequence[_Clause]]) -> tuple[str, tuple[Fact, ...]]:
        """Return the text, a line for each paragraph, and its facts with their answers where they stand in the text."""
        text = ""
        facts: list[Fact] = []
        for paragraph in paragraphs:
            text += "\n" if text else ""
            for i, clause in enumerate(paragraph):
                text += " " if i else ""
                start = len(text)
                text += self.language.sentence(clause.text)
                facts += _placed(clause.facts, text, start)
        return text, tuple(facts)


def write_passage(language: Language, split: str, rng: random.Random) -> Passage:
    """Return a random passage of a split."""
    return _Writer(language, split, rng).write()
