"""The input -> units of work. Looks at Parquet footers only; no row is read, and none is held."""

import logging
from collections.abc import Sequence

from mrc.errors import UsageError
from mrc.sources.builtin import sample_size
from mrc.sources.config import SourceConfig, Unit
from mrc.sources.hub import load_dataset
from mrc.sources.locate import Source, find_sources
from mrc.sources.parquet import cut_row_groups, read_footer
from mrc.sources.rows import check_columns

DEFAULT_UNIT_ROWS = 4_096
"""Rows of a unit: enough that windows sorted by length fill their batches."""

_MANY_UNITS = 16
_LOGGER = logging.getLogger(__name__)


def plan_units(
    locations: str | Sequence[str], config: SourceConfig, *, unit_rows: int = DEFAULT_UNIT_ROWS
) -> list[Unit]:
    """Cut the input into units, in reading order.

    Parquet files, data sets and the sample are cut into ranges of about `unit_rows` rows; a JSON, JSON Lines or CSV
    file is one unit, as its rows cannot be found without reading it.

    Args:
        locations: See `mrc.sources.locate`: files, folders, globs, data sets, `sample://train?num_examples=100`.
        config: Columns (checked here where footers tell), split and revision.
        unit_rows: Rows to aim at.

    Raises:
        UsageError: Something named is absent, is not readable, or lacks a column.
    """
    if unit_rows < 1:
        raise UsageError(f"--unit_rows is {unit_rows}; give at least 1")
    return [unit for source in find_sources(locations, config) for unit in _units_of(source, config, unit_rows)]


def _units_of(source: Source, config: SourceConfig, unit_rows: int) -> list[Unit]:
    if source.format == "parquet":
        columns, group_rows = read_footer(source.url)
        check_columns(columns, source.url, config)
        _warn_of_large_groups(source.url, group_rows, unit_rows)
    elif source.format == "dataset":
        data = load_dataset(source.url)
        check_columns(data.column_names, source.url, config)
        group_rows = [len(data)]
    elif source.format == "sample":
        group_rows = [sample_size(source.url)]
    else:
        return [Unit(source=source.url, format=source.format)]
    ranges = cut_row_groups(group_rows, unit_rows)
    return [Unit(source=source.url, format=source.format, start=start, stop=stop) for start, stop in ranges]


def _warn_of_large_groups(url: str, group_rows: Sequence[int], unit_rows: int) -> None:
    """Tell of row groups that many units share: each of them decodes its group from the start."""
    largest = max(group_rows, default=0)
    if largest > _MANY_UNITS * unit_rows:
        _LOGGER.warning(
            "%s has row groups of up to %d rows: each is decoded from its start by all of its %d units; "
            "write the file with row_group_size=%d, or raise --unit_rows",
            *(url, largest, round(largest / unit_rows), unit_rows),
        )
