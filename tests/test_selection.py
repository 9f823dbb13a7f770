"""Selections and splits as properties: the cut and the order of rows never matter, and no context is on both sides."""

import uuid
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrc import storage
from mrc.errors import UsageError
from mrc.examples import Example, examples_to_table
from mrc.sources import GroupKeys, SourceConfig, Unit, group_keys, plan_units, read_unit, select_rows, split_by_group
from tests.source_files import make_examples, unhurried, write_csv, write_jsonl, write_squad

CONFIG = SourceConfig()


def cut(total: int, edges: list[int]) -> list[Unit]:
    """Cut rows [0, total) of one file at some places."""
    places = sorted({0, total, *(edge for edge in edges if edge < total)})
    return [
        Unit(source="/data/a.parquet", format="parquet", start=start, stop=stop) for start, stop in pairwise(places)
    ]


def rows_of(units: list[Unit]) -> list[int]:
    return [row for unit in units for row in (unit.rows if unit.rows is not None else range(unit.start, unit.stop))]


@unhurried
@given(
    total=st.integers(1, 60),
    edges=st.lists(st.integers(1, 59)),
    max_samples=st.integers(1, 70),
    seed=st.none() | st.integers(0, 5),
)
def test_selections_are_the_same_whatever_the_cut(
    total: int, edges: list[int], max_samples: int, seed: int | None
) -> None:
    rows = rows_of(select_rows(cut(total, edges), max_samples, seed))
    assert rows == rows_of(select_rows(cut(total, []), max_samples, seed))
    assert len(rows) == min(total, max_samples)
    assert rows == sorted(set(rows))
    if seed is None:
        assert rows == list(range(len(rows)))


def test_samples_are_uniform_and_depend_on_the_seed() -> None:
    counts = np.bincount([row for seed in range(400) for row in rows_of(select_rows(cut(10, [4]), 3, seed))])
    assert counts.sum() == 1_200
    assert 80 < counts.min() <= counts.max() < 160


@pytest.mark.parametrize("seed", [None, 7])
@pytest.mark.parametrize("max_samples", [1, 11, 12, 13, 30, 100])
def test_selected_rows_of_mixed_files_are_read(seed: int | None, max_samples: int) -> None:
    folder, examples = f"memory://{uuid.uuid4().hex}", make_examples(40)
    storage.write_table(f"{folder}/a.parquet", examples_to_table(examples[:12]))
    write_jsonl(f"{folder}/b.jsonl", examples[12:22])
    write_squad(f"{folder}/c.json", examples[22:32])
    write_csv(f"{folder}/d.csv", examples[32:])
    units = select_rows(plan_units(folder, CONFIG, unit_rows=5), max_samples, seed)
    rows = [row for unit in units for row in read_unit(unit, CONFIG)]
    whole = Unit(source="/all", format="parquet", stop=40)
    assert rows == [examples[row] for row in rows_of(select_rows([whole], max_samples, seed))]


def test_selections_refuse_nonsense_and_leave_all_rows_alone() -> None:
    units = cut(10, [5])
    assert select_rows(units, None, 3) == units
    with pytest.raises(UsageError, match="0 rows are asked for"):
        select_rows(units, 0, None)


# Splits


@st.composite
def keys_of_questions(draw: st.DrawFn) -> GroupKeys:
    pairs = draw(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 40)), min_size=1, max_size=80))
    array = np.array(pairs, dtype=np.uint64)
    return GroupKeys(article=array[:, 0], context=array[:, 1])


def joined_groups(keys: GroupKeys) -> list[set[int]]:
    """Group the questions that share an article or a context, by merging sets until nothing merges."""
    groups: list[set[int]] = []
    for question in range(len(keys.context)):
        touching = [
            group
            for group in groups
            if any(
                keys.article[question] == keys.article[at] or keys.context[question] == keys.context[at] for at in group
            )
        ]
        groups = [group for group in groups if group not in touching] + [{question}.union(*touching)]
    return groups


@unhurried
@given(keys_of_questions(), st.floats(0.05, 0.95), st.integers(0, 3))
def test_whole_articles_are_held_out_and_the_share_is_close(keys: GroupKeys, fraction: float, seed: int) -> None:
    groups = joined_groups(keys)
    largest = max(map(len, groups))
    try:
        held_out = split_by_group(keys, fraction, seed)
    except UsageError:
        wanted = fraction * len(keys.context)
        assert min(wanted, len(keys.context) - wanted) <= largest / 2
        return
    assert all(len({bool(held_out[question]) for question in group}) == 1 for group in groups)
    assert abs(held_out.sum() - fraction * len(held_out)) <= largest / 2 + 1e-9


@unhurried
@given(keys_of_questions(), st.floats(0.05, 0.95), st.randoms(use_true_random=False))
def test_splits_do_not_depend_on_order(keys: GroupKeys, fraction: float, random: "np.random.Generator") -> None:
    order = np.argsort([random.random() for _ in keys.context])
    shuffled = GroupKeys(article=keys.article[order], context=keys.context[order])
    for by in ("article", "context"):
        try:
            held_out = split_by_group(keys, fraction, 1, by=by)
        except UsageError:
            with pytest.raises(UsageError, match="do not split"):
                split_by_group(shuffled, fraction, 1, by=by)
        else:
            assert np.array_equal(split_by_group(shuffled, fraction, 1, by=by), held_out[order])


@unhurried
@given(keys_of_questions(), st.floats(0.05, 0.95))
def test_contexts_are_never_on_both_sides(keys: GroupKeys, fraction: float) -> None:
    try:
        held_out = split_by_group(keys, fraction, 0, by="context")
    except UsageError:
        return
    assert not set(keys.context[held_out]) & set(keys.context[~held_out])
    assert abs(held_out.sum() - fraction * len(held_out)) <= np.unique(keys.context, return_counts=True)[1].max() / 2


def test_keys_tell_titles_and_contexts_apart_and_never_change() -> None:
    def example(context: str, title: str | None) -> Example:
        return Example(id="", question="?", context=context, title=title)

    keys = group_keys([example("a", "t"), example("b", "t"), example("a", None), example("t", "a")])
    assert keys.article[0] == keys.article[1] != keys.article[3]
    assert keys.context[0] == keys.context[2] == keys.article[2]
    assert len({*keys.article.tolist(), *keys.context.tolist()}) == 5
    assert keys.context[0] == 6759719382426760134
    assert [array.dtype for array in keys] == [np.uint64, np.uint64]
    assert group_keys([]).context.shape == (0,)


def test_seeds_and_shares() -> None:
    keys = group_keys(make_examples(600))
    splits = [split_by_group(keys, 0.1, seed) for seed in range(5)]
    assert len({split.tobytes() for split in splits}) == 5
    assert {int(split.sum()) for split in splits} == {60}


def test_what_cannot_be_split_is_a_usage_error() -> None:
    one = group_keys(make_examples(6))
    with pytest.raises(UsageError, match=r"6 questions in 1 groups by article do not split at 0.3: split by context"):
        split_by_group(one, 0.3, 0)
    assert split_by_group(one, 0.3, 0, by="context").sum() == 3
    for fraction in (0, 1, -1.0, float("nan")):
        with pytest.raises(UsageError, match="between 0 and 1"):
            split_by_group(one, fraction, 0)
