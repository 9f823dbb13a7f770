"""Examples and the files that hold them, for tests of what reads them: a strategy, and a writer a format."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from mrc import storage
from mrc.examples import Answer, Example, examples_to_table

# Code points of one to four bytes of UTF-8 and of one or two UTF-16 units; the formats' quotes, separators, line ends.
_TEXT = st.text(alphabet=st.one_of(st.sampled_from('aé한😀\n\r",\t  {'), st.characters(exclude_categories=["Cs"])))
_FILLED = _TEXT.filter(lambda text: bool(text) and not text.isspace())

unhurried = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For properties that write and read: how long they take tells of the machine's load, not of the code."""

SQUAD_ANSWERS = pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int32()))])


@st.composite
def _answers_of(draw: st.DrawFn, context: str) -> Answer:
    start = draw(st.integers(0, len(context) - 1))
    stop = draw(st.integers(start + 1, len(context)))
    return Answer(text=context[start:stop], start=start)


@st.composite
def _examples(draw: st.DrawFn) -> Example:
    context = draw(_FILLED)
    return Example(
        id=draw(_TEXT.filter(bool)),
        question=draw(_FILLED),
        context=context,
        answers=draw(st.none() | st.lists(_answers_of(context), max_size=3).map(tuple)),
        title=draw(st.none() | _FILLED),
    )


def example_lists() -> st.SearchStrategy[list[Example]]:
    """Draw lists of valid examples with different ids."""
    return st.lists(_examples(), max_size=6, unique_by=lambda example: example.id)


def squad_answers(example: Example) -> dict[str, list[Any]] | None:
    """Return answers as Hugging Face's SQuAD has them."""
    if example.answers is None:
        return None
    return {
        "text": [answer.text for answer in example.answers],
        "answer_start": [answer.start for answer in example.answers],
    }


def flat_row(example: Example) -> dict[str, Any]:
    """Return an example as a flat row with the answers' struct."""
    names = ("id", "question", "context", "title")
    return {**{name: getattr(example, name) for name in names}, "answers": squad_answers(example)}


def write_squad(url: str, examples: Sequence[Example]) -> None:
    """Write nested SQuAD JSON, an article and a paragraph an example."""
    articles = []
    for example in examples:
        question: dict[str, Any] = {"id": example.id, "question": example.question, "plausible_answers": "not read"}
        if example.answers is not None:
            question["answers"] = [{"text": answer.text, "answer_start": answer.start} for answer in example.answers]
            question["is_impossible"] = not example.answers
        articles.append({"title": example.title, "paragraphs": [{"context": example.context, "qas": [question]}]})
    storage.write_text(url, json.dumps({"version": "1", "data": articles}, ensure_ascii=False))


def write_flat_json(url: str, examples: Sequence[Example]) -> None:
    """Write flat rows under "data", as Hugging Face's run_qa reads them."""
    storage.write_text(url, json.dumps({"data": [flat_row(example) for example in examples]}))


def write_jsonl(url: str, examples: Sequence[Example]) -> None:
    """Write JSON Lines, with a byte order mark and an empty line."""
    lines = [json.dumps(flat_row(example), ensure_ascii=False) for example in examples]
    storage.write_text(url, "\ufeff" + "\n\n".join(lines))


def write_csv(url: str, examples: Sequence[Example], delimiter: str = ",") -> None:
    """Write CSV with the answers as JSON, and no gold as an empty cell."""
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, ["id", "question", "context", "title", "answers"], delimiter=delimiter)
    writer.writeheader()
    for example in examples:
        answers = squad_answers(example)
        writer.writerow({**flat_row(example), "answers": None if answers is None else json.dumps(answers)})
    storage.write_text(url, file.getvalue())


def squad_table(examples: Sequence[Example]) -> pa.Table:
    """Return the table that `datasets` keeps SQuAD in."""
    texts = [(name, pa.string()) for name in ("id", "question", "context", "title")]
    return pa.Table.from_pylist(list(map(flat_row, examples)), schema=pa.schema([*texts, ("answers", SQUAD_ANSWERS)]))


WRITERS: Mapping[str, Callable[[str, Sequence[Example]], None]] = {
    "squad.json": write_squad,
    "flat.json": write_flat_json,
    "lines.json": write_jsonl,
    "rows.jsonl": write_jsonl,
    "rows.csv": write_csv,
    "rows.tsv": lambda url, examples: write_csv(url, examples, "\t"),
    "squad.parquet": lambda url, examples: storage.write_table(url, squad_table(examples)),
    "ours.parquet": lambda url, examples: storage.write_table(url, examples_to_table(examples)),
}
"""A file name of each format and shape -> what writes it."""


def make_examples(count: int, prefix: str = "q") -> list[Example]:
    """Return examples that tell their number, three a context."""
    return [
        Example(
            id=f"{prefix}{number}",
            question=f"Where is {number}?",
            context=f"Number {number // 3} is at home.",
            answers=(Answer(text="home", start=len(f"Number {number // 3} is at ")),),
            title=f"article {number // 6}",
        )
        for number in range(count)
    ]
