"""Questions about a passage of the sample, some of which it does not answer.

A question without an answer is plausible, as in SQuAD 2.0: it asks something of a thing that the passage tells of other
things only, or nothing of, or it asks of a thing that the passage does not speak of.
"""

import random
from collections.abc import Iterator

from mrc.examples import Answer
from mrc.sample.grammar import Language, Relation
from mrc.sample.passages import Passage

UNANSWERABLE_SHARE = 0.25
_STRANGER_SHARE = 0.4  # of the questions without an answer that ask about a thing the passage does not speak of


def ask(
    passage: Passage, language: Language, count: int, rng: random.Random
) -> Iterator[tuple[str, tuple[Answer, ...]]]:
    """Yield `count` different questions, each with its answer, or with none where the passage has no answer."""
    told = [(fact.thing, fact.relation, (fact.answer,)) for fact in passage.facts]
    rng.shuffle(told)
    untold = _untold(passage, rng)
    for _ in range(count):
        thing, relation, answers = (*next(untold), ()) if rng.random() < UNANSWERABLE_SHARE else told.pop()
        yield language.fill(rng.choice(relation.questions), it=thing)[0], answers


def _untold(passage: Passage, rng: random.Random) -> Iterator[tuple[str, Relation]]:
    """Yield different pairs of a thing and a relation that the passage does not tell of it."""
    facts = {(fact.thing, fact.relation) for fact in passage.facts}
    missing = [(t, r) for t in passage.things for r in passage.domain.relations if (t, r) not in facts]
    strange = [(passage.stranger, relation) for relation in {fact.relation: None for fact in passage.facts}]
    rng.shuffle(missing)
    rng.shuffle(strange)
    while missing or strange:
        source = strange if strange and (not missing or rng.random() < _STRANGER_SHARE) else missing
        yield source.pop()
