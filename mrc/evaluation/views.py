"""The few questions that a report shows, with their passages, which are read again from the references."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import ray

from mrc.evaluation.outcome import QuestionView
from mrc.evaluation.plan import Plan
from mrc.evaluation.reading import optional_text, standing
from mrc.sources import Malformed, gold_pairs, read_records
from mrc.tasks import results

_Passage = tuple[str, tuple[tuple[int, int], ...]]


def view(plan: Plan, *ranked: Sequence[dict[str, Any]]) -> list[tuple[QuestionView, ...]]:
    """Return the rows that parts.Ranked kept as views, list by list."""
    wanted: dict[int, set[int]] = defaultdict(set)
    for row in (row for rows in ranked for row in rows):
        wanted[row["unit"]].add(row["row"])
    task: Any = _read_passages
    found = results([task.remote(plan, unit, frozenset(rows)) for unit, rows in sorted(wanted.items())])
    passages = {place: passage for part in found for place, passage in part.items()}
    return [tuple(_view(row, *passages[row["unit"], row["row"]]) for row in rows) for rows in ranked]


@ray.remote(num_cpus=1)
def _read_passages(plan: Plan, number: int, rows: frozenset[int]) -> dict[tuple[int, int], _Passage]:
    """Return context and gold spans of some rows of a unit."""
    source, unit = plan.reference_source, plan.references[number]

    def read() -> dict[tuple[int, int], _Passage]:
        found: dict[tuple[int, int], _Passage] = {}
        for row, record in read_records(unit, source):
            if row in rows and not isinstance(record, Malformed):
                context = optional_text(record, source.context_column)
                spans = standing(gold_pairs(record, source) or [], context)
                found[number, row] = (context, tuple(dict.fromkeys(spans)))
        return found

    return plan.patiently(read)


def _view(row: dict[str, Any], passage: str, gold_spans: tuple[tuple[int, int], ...]) -> QuestionView:
    names = ("id", "question", "answer", "exact_match", "f1", "probability", "baseline_answer", "baseline_f1")
    return QuestionView(
        **{name: row[name] for name in names},
        golds=tuple(dict.fromkeys(row["golds"])),
        passage=passage,
        gold_spans=gold_spans,
        answer_span=_answer_span(passage, row["answer"], row["start"]),
    )


def _answer_span(passage: str, answer: str | None, start: int | None) -> tuple[int, int] | None:
    """Return where the answer stands; of a system that does not tell, its first occurrence, which is only shown."""
    if not answer:
        return None
    at = start if start is not None and start >= 0 and passage.startswith(answer, start) else passage.find(answer)
    return None if at < 0 else (at, at + len(answer))
