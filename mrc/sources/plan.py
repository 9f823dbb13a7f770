"""The input -> units of work. Looks at Parquet footers, and once through text files; no row is held."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from mrc.errors import BadFileError, UsageError
from mrc.sources.builtin import sample_size
from mrc.sources.config import SourceConfig, Unit
from mrc.sources.hub import load_dataset
from mrc.sources.lines import cut_text_file
from mrc.sources.locate import Source, find_sources
from mrc.sources.parquet import cut_row_groups, read_footer
from mrc.sources.rows import check_columns

DEFAULT_UNIT_ROWS = 4_096
"""Rows of a unit: enough that windows sorted by length fill their batches."""

_MANY_UNITS = 16
_PARALLEL_FILES = 16
_LOGGER = logging.getLogger(__name__)

OnBadFile = Callable[[str, BadFileError], None]
"""Takes the file and what is wrong with it."""


def plan_units(
    locations: str | Sequence[str],
    config: SourceConfig,
    *,
    unit_rows: int = DEFAULT_UNIT_ROWS,
    on_bad_file: OnBadFile | None = None,
) -> list[Unit]:
    """Cut the input into units of about `unit_rows` rows, in reading order.

    Args:
        locations: See `mrc.sources.locate`: files, folders, globs, data sets, `sample://train?num_examples=100`.
        config: Columns (checked here where footers tell), split and revision.
        unit_rows: Rows to aim at.
        on_bad_file: Told of each file that is torn, which is then left out; by default it is an error.

    Raises:
        UsageError: Something named is absent, is not readable, or lacks a column.
    """
    if unit_rows < 1:
        raise UsageError(f"--unit_rows is {unit_rows}; give at least 1")

    def cut(source: Source) -> list[Unit] | BadFileError:
        try:
            return _units_of(source, config, unit_rows)
        except BadFileError as error:
            return error

    units: list[Unit] = []
    sources = find_sources(locations, config)
    with ThreadPoolExecutor(_PARALLEL_FILES) as pool:
        for source, found in zip(sources, pool.map(cut, sources), strict=True):
            if not isinstance(found, BadFileError):
                units += found
            elif on_bad_file is None:
                raise found
            else:
                on_bad_file(source.url, found)
    return units


def kept_fields(units: Sequence[Unit], keep: Sequence[str]) -> list[pa.Field]:
    """Return the Arrow fields of the columns that are carried through: as Parquet files and data sets have them.

    Files of lines have no types: there, and in the whole output where any such file is read, a kept column is a string.

    Raises:
        UsageError: A column is absent, or not of the same type everywhere.
    """
    if not keep:
        return []
    sources = list(dict.fromkeys(Source(unit.source, unit.format) for unit in units))
    with ThreadPoolExecutor(_PARALLEL_FILES) as pool:
        schemas = list(pool.map(_schema_of, sources))
    return [_kept_field(name, list(zip(sources, schemas, strict=True))) for name in keep]


def _kept_field(name: str, schemas: Sequence[tuple[Source, pa.Schema | None]]) -> pa.Field:
    types: dict[pa.DataType, str] = {}
    for source, schema in schemas:
        if schema is not None and name not in schema.names:
            shown = ", ".join(map(repr, schema.names[:30]))
            raise UsageError(f"{source.url} has no column {name!r}, which --keep_columns names (it has {shown})")
        types.setdefault(pa.string() if schema is None else _plain(schema.field(name).type), source.url)
    if len(types) > 1:
        shown = ", ".join(f"{kind} in {url}" for kind, url in types.items())
        raise UsageError(f"--keep_columns {name}: the files do not agree on its type ({shown}); leave it out")
    return pa.field(name, next(iter(types)))


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return a type without what only tells how values are laid out: a writer's choice, on which files may differ."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    return pa.string() if kind in (pa.large_string(), pa.string_view()) else kind


def _schema_of(source: Source) -> pa.Schema | None:
    """Return the columns of a source with types, None where it has no types."""
    if source.format == "parquet":
        return read_footer(source.url)[0]
    if source.format == "dataset":
        return load_dataset(source.url).features.arrow_schema
    return pa.schema([]) if source.format == "sample" else None


def _units_of(source: Source, config: SourceConfig, unit_rows: int) -> list[Unit]:
    if source.format == "parquet":
        schema, group_rows = read_footer(source.url)
        check_columns(schema.names, source.url, config)
        _warn_of_large_groups(source.url, group_rows, unit_rows)
    elif source.format == "dataset":
        data = load_dataset(source.url)
        check_columns(data.column_names, source.url, config)
        group_rows = [len(data)]
    elif source.format == "sample":
        group_rows = [sample_size(source.url)]
    else:
        cuts = cut_text_file(source.url, source.format, unit_rows)
        return [Unit(source=source.url, format=source.format, **cut._asdict()) for cut in cuts]
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
