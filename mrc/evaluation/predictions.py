"""Units of predictions -> tables of what scoring needs: mrc's own, or any system's texts by id."""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mrc import storage
from mrc.errors import BadFileError
from mrc.evaluation.reading import PLACE, Rows, collect
from mrc.examples import Reject
from mrc.sources import PredictionSource, Record, Unit, check_columns, read_batches, read_records
from mrc.validation import RowError, check_id, check_text, reject_row

PREDICTIONS = pa.schema(
    [
        pa.field("id", pa.string()),
        *PLACE,
        pa.field("answer", pa.string()),
        pa.field("start", pa.int32()),
        pa.field("probability", pa.float64()),
        pa.field("best_text", pa.string()),
        pa.field("null_diff", pa.float64()),
        pa.field("num_windows", pa.int32()),
    ]
)


def read_predictions(unit: Unit, number: int, config: PredictionSource, null_odds: str | None) -> Rows:
    """Return the predictions of a unit as a table of PREDICTIONS.

    Args:
        unit: Some rows of the predictions.
        number: The unit's place among all of them.
        config: Names the columns.
        null_odds: JSON file with null score minus best score by id.
    """
    if unit.format == "parquet":
        return _parquet_predictions(unit, number, config)
    odds = _read_odds(null_odds) if null_odds is not None else {}

    def parse(record: Mapping[str, Any], row_id: str) -> dict[str, Any]:
        answer = check_text(_answer_of(unit, record, config), "the answer")
        known = {"null_diff": odds.get(row_id), "probability": _number(record.get("probability"))}
        return {"answer": answer, "best_text": answer, **known}

    rows, bad = collect(
        unit,
        number,
        _prediction_records(unit, config),
        id_of=lambda _, record: check_id(record.get(config.id_column), config.id_column),
        parse=parse,
    )
    return Rows(pa.Table.from_pylist(rows, schema=PREDICTIONS), bad)


def _answer_of(unit: Unit, record: Mapping[str, Any], config: PredictionSource) -> Any:
    """Return the answer of a row; in CSV, where an empty cell is how that is written, "" for none."""
    value = record.get(config.answer_text_column)
    return "" if value is None and unit.format in ("csv", "tsv") and config.answer_text_column in record else value


def _prediction_records(unit: Unit, config: PredictionSource) -> Iterator[tuple[int, Record]]:
    """Yield the raw rows of a unit; an object of answers by id, SQuAD's predictions.json, is a row for each of them."""
    if unit.format != "json":
        yield from read_records(unit, config)
        return
    try:
        content = json.loads(storage.read_text(unit.source))
    except ValueError:
        content = None  # JSON Lines, or broken: the reader tells
    if not isinstance(content, dict) or {"data", config.answer_text_column} & content.keys():
        yield from read_records(unit, config)
        return
    for row, (name, answer) in enumerate(content.items()):
        yield row, {config.id_column: name, config.answer_text_column: answer}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


@lru_cache(maxsize=1)
def _read_odds(url: str) -> dict[str, float]:
    try:
        content = json.loads(storage.read_text(url))
        return {name: float(value) for name, value in content.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise BadFileError(f"--null_odds {url}: not a JSON object of numbers by id ({error})") from error


def _parquet_predictions(unit: Unit, number: int, config: PredictionSource) -> Rows:
    """Read predictions column by column: n-best lists of millions of rows are not for Python."""
    wanted = {
        config.id_column,
        config.answer_text_column,
        "start",
        "probability",
        "null_score",
        "num_windows",
        "n_best",
    }

    def choose(columns: list[str]) -> list[str]:
        check_columns(columns, unit.source, config)
        return [name for name in columns if name in wanted]

    tables: list[pa.Table] = []
    bad: list[Reject] = []
    row = unit.start
    for batch in read_batches(unit.source, unit.start, unit.stop, choose):
        table = _from_batch(batch, row, number, config)
        whole = pc.and_(pc.is_valid(table["id"]), pc.is_valid(table["answer"]))
        for at in np.flatnonzero(~whole.to_numpy(zero_copy_only=False)).tolist():
            raw = {name: table[name][at].as_py() for name in ("id", "answer")}
            error = RowError("missing_value", "the id or the answer is null")
            bad.append(reject_row(unit.source, row + at, raw, raw["id"], error))
        tables.append(table.filter(whole))
        row += batch.num_rows
    return Rows(pa.concat_tables([PREDICTIONS.empty_table(), *tables]), bad)


def _from_batch(batch: pa.RecordBatch, row: int, number: int, config: PredictionSource) -> pa.Table:
    columns: dict[str, Any] = dict.fromkeys(PREDICTIONS.names)
    answer = batch[config.answer_text_column]
    columns |= {
        "id": batch[config.id_column],
        "unit": pa.array(np.full(batch.num_rows, number, dtype=np.int32)),
        "row": pa.array(np.arange(row, row + batch.num_rows)),
        "answer": answer,
        "best_text": answer,
    }
    columns |= {name: batch[name] for name in ("start", "probability", "num_windows") if name in batch.schema.names}
    if {"n_best", "null_score"} <= set(batch.schema.names):
        text, score = _first_spans(batch["n_best"])
        columns["best_text"] = text
        diff = pc.subtract(batch["null_score"].cast(pa.float64()), score)
        # Where there is no span to answer, no threshold answers.
        columns["null_diff"] = pc.if_else(
            pc.is_valid(score), diff, pc.if_else(pc.is_valid(batch["null_score"]), np.inf, None)
        )
    arrays = [
        pa.nulls(batch.num_rows, field.type) if columns[field.name] is None else columns[field.name].cast(field.type)
        for field in PREDICTIONS
    ]
    return pa.Table.from_arrays(arrays, schema=PREDICTIONS)


def _first_spans(n_best: pa.ListArray) -> tuple[pa.Array, pa.Array]:
    """Return text and score of the first span of each list, "" and null where a list is empty."""
    lengths = pc.fill_null(pc.list_value_length(n_best), 0).to_numpy(zero_copy_only=False)
    starts = np.cumsum(lengths) - lengths
    first = pa.array(starts, mask=lengths == 0)
    spans = n_best.flatten()
    text, score = (pc.take(pc.struct_field(spans, name), first) for name in ("text", "score"))
    return pc.fill_null(text, ""), score.cast(pa.float64())
