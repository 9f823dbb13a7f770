"""Which rows a run trains on and which it validates on: units of the sources, chosen before any window is made."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import ray

from mrc import storage
from mrc.examples import Example, Reject
from mrc.sources import GroupKeys, SourceConfig, Unit, group_keys, plan_units, read_unit, select_rows, split_by_group
from mrc.tasks import results
from mrc.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Data:
    """The units of both sides, each with the config that reads it."""

    train: tuple[Unit, ...]
    validation: tuple[Unit, ...]
    """Empty where nothing is validated, or where it is still to be held out of `train`."""
    train_source: SourceConfig
    validation_source: SourceConfig
    holds_out: bool
    """Whether `hold_out` has yet to be called, which reads the rows."""


def plan_data(config: TrainConfig, source: SourceConfig) -> Data:
    """List and cut what the config names, without reading rows.

    A Hugging Face data set that is named alone is validated on its `validation` split.

    Raises:
        UsageError: Something named is absent, or cannot be read.
    """
    source = replace(source, require_answers=True)
    validation_source = source
    validation_data = config.validation_data
    train = plan_units(config.train_data, source)
    holds_out = validation_data is None and config.validation_split > 0
    if validation_data is None and not holds_out and {unit.format for unit in train} == {"dataset"}:
        validation_data = config.train_data
    if validation_data is not None and source.split == "train":
        # A name stands for the split that its place asks for; files do not care.
        validation_source = replace(source, split="validation")
    validation = plan_units(validation_data, validation_source) if validation_data is not None else []
    if not holds_out:
        train = select_rows(train, config.max_train_samples, config.sample_seed)
        validation = select_rows(validation, config.max_eval_samples, config.sample_seed)
    return Data(
        train=tuple(train),
        validation=tuple(validation),
        train_source=source,
        validation_source=validation_source,
        holds_out=holds_out,
    )


def hold_out(data: Data, config: TrainConfig) -> Data:
    """Split the training units' rows into both sides; the cluster reads the rows and returns two hashes for each.

    Bad rows stay with the training side, and a row that repeats an id with the row whose id it is: read again, each is
    rejected again, and once.
    """
    read = results([_row_keys.remote(unit, data.train_source) for unit in data.train])
    rows = np.concatenate([unit.rows for unit in read])
    unit_of = np.repeat(np.arange(len(read)), [len(unit.rows) for unit in read])
    good = np.concatenate([unit.is_good for unit in read])
    follows = np.concatenate([unit.follows + np.searchsorted(unit_of, i) for i, unit in enumerate(read)])
    keys = GroupKeys(*(np.concatenate(parts) for parts in zip(*(unit.keys for unit in read), strict=True)))
    held_out = np.zeros(len(rows), dtype=bool)
    held_out[good] = split_by_group(keys, config.validation_split, config.seed, config.split_by)
    held_out = held_out[follows]
    train = _some(np.flatnonzero(~held_out), config.max_train_samples, config.sample_seed)
    validation = _some(np.flatnonzero(held_out), config.max_eval_samples, config.sample_seed)
    return replace(
        data,
        train=_picked(data.train, unit_of[train], rows[train]),
        validation=_picked(data.train, unit_of[validation], rows[validation]),
        holds_out=False,
    )


class _UnitRows(NamedTuple):
    """What a split needs to know of a unit's rows: their numbers, whether they are good, the keys of the good ones."""

    rows: npt.NDArray[np.int64]
    is_good: npt.NDArray[np.bool_]
    follows: npt.NDArray[np.int64]
    """Shape (num_rows,): index of the row on whose side each row stays, mostly its own."""
    keys: GroupKeys


@ray.remote(num_cpus=0.5)
def _row_keys(unit: Unit, source: SourceConfig) -> _UnitRows:
    items = storage.persistently(lambda: list(read_unit(unit, source)))
    is_good = np.array([isinstance(item, Example) for item in items], dtype=bool)
    keys = group_keys(item for item in items if isinstance(item, Example))
    row_of = {item.id: i for i, item in enumerate(items) if isinstance(item, Example)}
    follows = [
        row_of[item.id] if isinstance(item, Reject) and item.id and item.reason == "duplicate_id" else i
        for i, item in enumerate(items)
    ]
    numbers = np.array(row_numbers(unit, len(items)), dtype=np.int64)
    return _UnitRows(numbers, is_good, np.array(follows, dtype=np.int64), keys)


def row_numbers(unit: Unit, count: int) -> Sequence[int]:
    """Return the numbers in their source of the `count` rows that a unit yields."""
    return unit.rows if unit.rows is not None else range(unit.start, unit.start + count)


def _some(indices: npt.NDArray[np.int64], limit: int | None, seed: int | None) -> npt.NDArray[np.int64]:
    """Return the first `limit` indices, or a draw of so many in ascending order where a seed is given."""
    if limit is None or limit >= len(indices):
        return indices
    if seed is None:
        return indices[:limit]
    return np.sort(np.random.default_rng(seed).choice(indices, limit, replace=False))


def _picked(units: Sequence[Unit], unit_of: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> tuple[Unit, ...]:
    picked = ((unit, rows[unit_of == i]) for i, unit in enumerate(units))
    return tuple(replace(unit, rows=tuple(numbers.tolist())) for unit, numbers in picked if len(numbers))
