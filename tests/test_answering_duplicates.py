"""Ids that an earlier row of any unit has: all are found, whatever the units, the tasks and the buckets."""

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrc import storage
from mrc.answering import duplicates
from mrc.answering.duplicates import find_duplicates
from mrc.answering.plan import Input
from mrc.examples import Example
from mrc.sources import DocumentSource, Question, SourceConfig, Unit, plan_units
from tests.source_files import unhurried


@contextmanager
def without_ray(*, most_tasks: int, most_ids: int) -> Iterator[None]:
    """Run tasks as calls, at most so many of them, with at most about so many ids in a bucket."""
    hash_ids, repeated = (getattr(duplicates, name)._function for name in ("_hash_ids", "_repeated"))
    with pytest.MonkeyPatch.context() as patch:
        task = SimpleNamespace(remote=hash_ids)
        patch.setattr(duplicates, "_hash_ids", SimpleNamespace(options=lambda **_: task))
        patch.setattr(duplicates, "_repeated", SimpleNamespace(remote=repeated))
        patch.setattr(duplicates, "results", lambda value: value)
        patch.setattr(duplicates, "_MOST_TASKS", most_tasks)
        patch.setattr(duplicates, "_MOST_IDS", most_ids)
        yield


def write(ids: Sequence[str]) -> str:
    url = f"memory://{uuid.uuid4().hex}/rows.jsonl"
    rows = [{"id": key, "question": "Who?", "context": "I am." if key != "bad" else ""} for key in ids]
    storage.write_text(url, "\n".join(map(json.dumps, rows)))
    return url


def brute_force(read: Input, units: Sequence[Unit]) -> dict[int, list[int]]:
    seen: set[str] = set()
    found: dict[int, list[int]] = {}
    for number, unit in enumerate(units):
        for at, item in enumerate(read.read(unit)):
            # What a unit rejects by itself needs no second reason.
            if isinstance(item, Example):
                if item.id in seen:
                    found.setdefault(number, []).append(at)
                seen.add(item.id)
    return found


def in_order(found: dict[int, list[int]]) -> dict[int, list[int]]:
    return {unit: sorted(items) for unit, items in sorted(found.items())}


@unhurried
@given(
    ids=st.lists(st.sampled_from(["a", "b", "c", "한", "bad", *map(str, range(20))]), min_size=1, max_size=40),
    unit_rows=st.integers(1, 9),
    most_tasks=st.integers(1, 5),
    most_ids=st.integers(1, 50),
    has_questions=st.booleans(),
)
def test_every_id_but_the_first_of_its_like_is_found(
    ids: list[str], unit_rows: int, most_tasks: int, most_ids: int, has_questions: bool
) -> None:
    source = DocumentSource() if has_questions else SourceConfig()
    questions = (Question("1", "Who?"), Question("2", "Where?")) if has_questions else None
    read = Input(source=source, questions=questions, keep=())
    units = plan_units(write(ids), source, unit_rows=unit_rows)
    output = f"memory://{uuid.uuid4().hex}"
    with without_ray(most_tasks=most_tasks, most_ids=most_ids):
        found = find_duplicates(read, units, output)
    assert in_order(found) == brute_force(read, units)


def test_a_job_that_goes_on_reads_what_it_had_found(monkeypatch: pytest.MonkeyPatch) -> None:
    source = SourceConfig()
    read: Any = Input(source=source, questions=None, keep=())
    units = plan_units(write(["a", "b", "a"]), source, unit_rows=1)
    output = f"memory://{uuid.uuid4().hex}"
    with without_ray(most_tasks=9, most_ids=9):
        assert find_duplicates(read, units, output) == {2: [0]}
    monkeypatch.setattr(Input, "read", lambda *_: pytest.fail("the input is read again"))
    assert find_duplicates(read, units, output) == {2: [0]}
