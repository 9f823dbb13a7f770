"""Questions -> windows, once a run: Ray Data reads, validates, windows and labels unit after unit into Arrow files.

The files stand under a fingerprint of everything that they depend on, and a unit is done when its record is there: a
run that is started again makes only what is missing, and another tokenizer or window length makes its own.
"""

import hashlib
import json
import logging
import pickle
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import ray

from mrc import storage
from mrc.errors import MrcError, RunError
from mrc.examples import Example, Reject, examples_to_table, rejects_to_table
from mrc.metrics import is_korean
from mrc.sources import SourceConfig, Unit, read_unit
from mrc.training.data import row_numbers
from mrc.training.store import LabelledWindows, digest_tables, windows_to_table, write_arrow
from mrc.validation import RowError, reject_row
from mrc.windows import PairTokenizer, WindowConfig, label_windows, make_windows

logger = logging.getLogger("mrc")


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How units become windows; it travels to the tasks."""

    side: str
    """`train` or `validation`: what the files are for."""
    folder: str
    """URL of the folder for the files."""
    rejects_folder: str
    """URL of the folder for rejected rows, as Parquet."""
    tokenizer: PairTokenizer
    source: SourceConfig
    window: WindowConfig
    windows_without_answer: Literal["null", "ignore"] = "null"

    def url(self, unit: Unit, ending: str) -> str:
        """Return the URL of one of a unit's files."""
        return storage.join(self.folder, f"{unit.name}.{ending}")


@dataclass(frozen=True, kw_only=True)
class UnitRecord:
    """What became of a unit: written after its files, so that its presence means that they are whole."""

    rows: int
    examples: int
    windows: int
    korean: int
    """Examples whose question has Hangul."""
    unanswerable: int
    """Examples whose gold is that the context has no answer."""
    rejects: dict[str, int]
    digest: str
    """Of the windows, and of the examples where they are validated on; the same wherever the input lies."""


def fingerprint(
    tokenizer_json: str, source: SourceConfig, window: WindowConfig, windows_without_answer: str, stamps: Sequence[str]
) -> str:
    """Name what windows depend on: the tokenizer, how rows are read, cut and kept, and the input's files' stamps."""
    parts = [tokenizer_json, json.dumps(asdict(source)), json.dumps(asdict(window)), windows_without_answer, *stamps]
    return _digest(parts)


def prepare(units: Sequence[Unit], preparation: Preparation) -> list[UnitRecord]:
    """Make the windows of all units that have none yet, on the cluster, and return every unit's record.

    Raises:
        MrcError: What a task met in a unit and could explain.
    """
    missing = [unit for unit in units if not storage.exists(preparation.url(unit, "json"))]
    if missing:
        items = ray.data.from_items([{"index": i} for i in range(len(missing))], override_num_blocks=len(missing))
        done = items.map(_PrepareUnit(missing, preparation), num_cpus=0.5)
        for row in done.iter_rows():
            if row["error"]:
                raise pickle.loads(row["error"])
            logger.info("windows of %s: %s", missing[row["index"]].name, row["summary"])
    return [UnitRecord(**json.loads(text)) for text in storage.persistently(lambda: _records(units, preparation))]


def _records(units: Sequence[Unit], preparation: Preparation) -> list[str]:
    return storage.for_each(storage.read_text, [preparation.url(unit, "json") for unit in units])


class _PrepareUnit:
    """Maps the number of a unit to a line about it, and writes the unit's files on the way."""

    def __init__(self, units: Sequence[Unit], preparation: Preparation) -> None:
        self._units = units
        self._preparation = preparation
        self.__name__ = "prepare_unit"

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            with storage.explained():
                record = storage.persistently(lambda: prepare_unit(self._units[row["index"]], self._preparation))
        except MrcError as error:  # as a row, since Ray Data passes on an exception's text only
            return {**row, "summary": "", "error": pickle.dumps(error)}
        return {**row, "summary": f"{record.examples:,} questions, {record.windows:,} windows", "error": b""}


def prepare_unit(unit: Unit, preparation: Preparation) -> UnitRecord:
    """Read, validate, window and label one unit, write its files, and commit them with its record."""
    items = list(read_unit(unit, preparation.source))
    numbered = [(row, item) for row, item in zip(row_numbers(unit, len(items)), items, strict=True)]
    rejects = [item for item in items if isinstance(item, Reject)]
    read = [(row, item) for row, item in numbered if isinstance(item, Example)]
    windows, rejections = make_windows([example for _, example in read], preparation.tokenizer, preparation.window)
    for index, reason, detail in rejections:
        row, example = read[index]
        rejects.append(reject_row(unit.source, row, asdict(example), example.id, RowError(reason, detail)))
    rejected = {item.example for item in rejections}
    windows = windows.without(rejected, len(read))
    examples = [example for i, (_, example) in enumerate(read) if i not in rejected]
    labelled = LabelledWindows(windows, *label_windows(windows, examples))
    if preparation.windows_without_answer == "ignore":
        labelled = _with_answer(labelled, examples)
    tables = {"windows": windows_to_table(labelled)}
    if preparation.side == "validation":
        tables["examples"] = examples_to_table(examples)
    for name, table in tables.items():
        write_arrow(preparation.url(unit, f"{name}.arrow"), table)
    if rejects:
        url = storage.join(preparation.rejects_folder, f"{unit.name}.parquet")
        storage.write_table(url, rejects_to_table(rejects))
    record = UnitRecord(
        rows=len(items),
        examples=len(examples),
        windows=len(labelled),
        korean=sum(is_korean(example.question) for example in examples),
        unanswerable=sum(not example.answers for example in examples),
        rejects=dict(Counter(reject.reason for reject in rejects)),
        digest=digest_tables(tables.values()),
    )
    storage.write_text(preparation.url(unit, "json"), json.dumps(asdict(record)))
    return record


def digest_of(records: Sequence[UnitRecord]) -> str:
    """Name what all units of a side hold, in their order."""
    return _digest([record.digest for record in records])


def _digest(parts: Sequence[str]) -> str:
    return hashlib.blake2b(b"".join(part.encode() + b"\0" for part in parts), digest_size=8).hexdigest()


def check_rejects(records: Sequence[UnitRecord], *, max_share: float, side: str, rejects_folder: str) -> None:
    """Log what was rejected, and stop where it is too much.

    Raises:
        RunError: More than `max_share` of the rows were rejected, or no example or no window is left.
    """
    rows = sum(record.rows for record in records)
    reasons = sum((Counter(record.rejects) for record in records), Counter[str]())
    listing = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
    if reasons:
        share = f"{reasons.total():,} of {rows:,}"
        logger.warning("%s data: %s rows rejected (%s); see %s", side, share, listing, rejects_folder)
    if not sum(record.examples for record in records):
        raise RunError(f"--{side}_data: not one usable question in {rows:,} rows ({listing or 'it is empty'})")
    if reasons.total() > max_share * rows:
        raise RunError(
            f"--{side}_data: {reasons.total():,} of {rows:,} rows rejected ({listing}), more than --max_reject_share "
            f"{max_share}; the rows are in {rejects_folder}"
        )
    if not sum(record.windows for record in records):
        raise RunError(
            f"--{side}_data: no window holds the whole answer of its question, and --windows_without_answer ignore "
            "leaves the others out: raise --max_seq_length, or let them teach the null position"
        )


def _with_answer(labelled: LabelledWindows, examples: Sequence[Example]) -> LabelledWindows:
    """Leave out the windows that do not hold their question's answer; those of unanswerable questions stay."""
    windows = labelled.windows
    answerable = np.array([bool(example.answers) for example in examples], dtype=bool)
    lacks = answerable[windows.example] & (labelled.start_positions == windows.null_index)
    return labelled.take(np.flatnonzero(~lacks))
