"""What a call asks -> examples, whichever of the pipeline's forms it takes.

A list that is given is checked at once. What can be iterated but has no length (a generator, a stream of rows) is read
as far as its answers are wanted, so it may be endless.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any, Literal, NamedTuple

from mrc.examples import Example
from mrc.validation import RowError, check_text

_FORMS = (
    "give question= and context= (texts, or lists of them), or data= with a dict {'question': ..., 'context': ...}, a "
    "list of these or an iterator"
)

Form = Literal["one", "list", "stream"]
"""What was given and what comes back: one question, a list of them, or an iterator."""


class Questions(NamedTuple):
    """What a call asks, in order."""

    examples: Iterator[Example]
    form: Form


def read_questions(inputs: Sequence[Any], *, question: Any = None, context: Any = None, data: Any = None) -> Questions:
    """Return what a call asks, in order, whichever of the pipeline's forms it takes.

    The questions of an iterator are checked when their turn comes, all others now.

    Args:
        inputs: Positional arguments: a question and a context, or what `data` takes, or several examples.
        question: A text, or a list of them.
        context: A text, or a list of them; of two lists the first question belongs to the first context.
        data: An example, a list of examples, or anything else that yields them. An example is a mapping with "question"
            and "context", or an object with these attributes or SquadExample's `question_text` and `context_text`.

    Raises:
        ValueError: It is none of these forms, or more than one; or a question or a context is missing, empty, no text
            or not valid Unicode.
    """
    ways = [bool(inputs), data is not None, question is not None or context is not None]
    if sum(ways) != 1:
        raise ValueError(f"{'more than one thing' if any(ways) else 'nothing'} is asked: {_FORMS}")
    if len(inputs) == 2 and all(isinstance(text, str) for text in inputs):
        question, context = inputs
    elif inputs:
        data = inputs[0] if len(inputs) == 1 else inputs
    items, form = _text_items(question, context) if data is None else _data_items(data)
    examples = (
        _example(item, number, where="" if form == "one" else f"item {number}: ") for number, item in enumerate(items)
    )
    return Questions(examples if form == "stream" else iter(list(examples)), form)


def _text_items(question: Any, context: Any) -> tuple[Iterable[Any], Form]:
    """Pair questions and contexts; a single one of either goes with each of the other."""
    if question is None or context is None:
        raise ValueError(f"{'question' if question is None else 'context'} is missing: {_FORMS}")
    questions, contexts = _listed(question), _listed(context)
    lists = [texts for texts in (questions, contexts) if texts is not None]
    if not lists:
        return [{"question": question, "context": context}], "one"
    count = len(lists[0])
    if count != len(lists[-1]):
        raise ValueError(f"{count} questions and {len(lists[-1])} contexts: lists of both are pairs, so of one length")
    pairs = zip(questions or [question] * count, contexts or [context] * count, strict=True)
    return [{"question": one, "context": other} for one, other in pairs], "list"


def _listed(value: Any) -> list[Any] | None:
    """Return the items of a list, tuple, column or array; None for anything else."""
    is_list = isinstance(value, Iterable) and isinstance(value, Sized) and not isinstance(value, str | bytes | Mapping)
    return list(value) if is_list else None


def _data_items(data: Any) -> tuple[Iterable[Any], Form]:
    if isinstance(data, str | bytes):
        raise ValueError(f"{data!r:.80} is asked, a text alone: {_FORMS}")
    if isinstance(data, Mapping) or _attributes(data):
        return [data], "one"
    items = _listed(data)
    if items is not None:
        return items, "list"
    if isinstance(data, Iterable):
        return data, "stream"
    # A map-style data set of torch: its end need not be an IndexError, as iter() would have it.
    if isinstance(data, Sized) and hasattr(data, "__getitem__"):
        return (data[index] for index in range(len(data))), "stream"
    raise ValueError(f"{data!r:.80} ({type(data).__name__}) is asked: {_FORMS}")


def _attributes(item: Any) -> tuple[str, str] | None:
    """Return the names under which an object holds its question and its context, where it does."""
    known = (("question_text", "context_text"), ("question", "context"))
    return next((names for names in known if all(hasattr(item, name) for name in names)), None)


def _example(item: Any, number: int, *, where: str) -> Example:
    """Check one question and its context.

    Args:
        item: A mapping, or an object with attributes.
        number: Its place in the call, from 0: the example's id.
        where: Where in the call it stands, to begin a message with.
    """
    names = _attributes(item)
    if isinstance(item, Mapping):
        question, context = item.get("question"), item.get("context")
    elif names:
        question, context = (getattr(item, name) for name in names)
    else:
        raise ValueError(f"{where}{item!r:.80} ({type(item).__name__}) has no question and context: {_FORMS}")
    question, context = _text(question, f"{where}question"), _text(context, f"{where}context")
    return Example(id=str(number), question=question, context=context)


def _text(value: Any, name: str) -> str:
    if value is None:
        raise ValueError(f"{name} is missing: give a text")
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r:.80} ({type(value).__name__}): give a text")
    if not value.strip():
        raise ValueError(f"{name} is empty: give a text with more than white space in it")
    try:
        return check_text(value, name)
    except RowError as error:
        raise ValueError(error.detail) from None
