"""Every question of every document, without the product being written out anywhere.

A unit is a range of documents, and the questions come along with it: forty questions of a million documents are forty
million pairs, which exist a unit at a time. The pair of document `d` and question `q` is called `d#q`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from mrc.errors import UsageError
from mrc.examples import Example, Reject
from mrc.sources.config import DocumentSource, QuestionSource, Unit
from mrc.sources.plan import plan_units
from mrc.sources.read import read_rows
from mrc.sources.rows import kept_values, parse_context, parse_question, parse_title

PAIR_COLUMNS = ("document_id", "question_id")
"""What the examples of a product keep besides the document's columns, first of all."""


class Question(NamedTuple):
    """A question that is asked of every document."""

    id: str
    text: str


def read_questions(locations: str, config: QuestionSource) -> list[Question]:
    """Return all questions of a source; they are few, and each counts, so a bad row is an error.

    Raises:
        UsageError: A row is no question, repeats an id, or there is none.
    """
    found = [
        item
        for unit in plan_units(locations, config)
        for item in read_rows(unit, config, lambda record, row_id: Question(row_id, parse_question(record, config)))
    ]
    for item in found:
        if isinstance(item, Reject):
            raise UsageError(f"--questions {item.source}, row {item.row}: {item.reason}: {item.detail}; correct it")
    questions = [item for item in found if isinstance(item, Question)]
    if not questions or len({question.id for question in questions}) < len(questions):
        raise UsageError(f"--questions {locations}: {'ids are repeated' if questions else 'there is no question'}")
    return questions


def read_pairs(
    unit: Unit, questions: Sequence[Question], config: DocumentSource, keep: Sequence[str] = ()
) -> Iterator[Example | Reject]:
    """Yield an Example for each question of each document of a unit, the documents in reading order.

    A bad document is rejected once for each question: the pairs that go in are those that come out.
    """
    as_text = unit.format not in ("parquet", "dataset")

    def parse(record: Mapping[str, Any], row_id: str) -> Example:
        context, title = parse_context(record, config), parse_title(record, config)
        kept = (row_id, "", *kept_values(record, keep, as_text=as_text))
        return Example(id=row_id, question="", context=context, title=title, kept=kept)

    for item in read_rows(unit, config, parse, keep):
        for question in questions:
            pair_id = None if item.id is None else f"{item.id}#{question.id}"
            if isinstance(item, Reject):
                yield replace(item, id=pair_id)
            else:
                kept = (item.kept[0], question.id, *item.kept[2:])
                yield replace(item, id=str(pair_id), question=question.text, kept=kept)
