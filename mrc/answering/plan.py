"""What the user named -> a plan: units, settings and fingerprints, checked as far as it can be without a cluster."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any, TypeVar

import pyarrow as pa

from mrc import storage
from mrc.answering.best import check_group
from mrc.answering.config import AnswerConfig, check_input
from mrc.answering.output import check_kept, output_schema
from mrc.errors import BadFileError, UsageError
from mrc.examples import Example, Reject
from mrc.metrics import fitting_scorer, is_korean
from mrc.model_files import check_there, load_settings, model_fingerprint
from mrc.settings import resolved
from mrc.sources import (
    PAIR_COLUMNS,
    DocumentSource,
    Question,
    QuestionSource,
    SourceConfig,
    Unit,
    kept_fields,
    plan_units,
    read_pairs,
    read_questions,
    read_unit,
    select_rows,
)
from mrc.spans import SpanConfig
from mrc.windows import WindowConfig

_UNIT_ROWS = 2_048
_LEAST_ROWS = 64
_FEW_UNITS = 16
_PEEKED_ROWS = 200

T = TypeVar("T")

CONFIGS = (AnswerConfig, SourceConfig)
"""What an answering job reads its flags into; `plan` takes one of each, in this order."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """What is read, without its units; every task has it."""

    source: SourceConfig
    questions: tuple[Question, ...] | None
    """Of a product of questions and documents; None where each row has its question."""
    keep: tuple[str, ...]
    """Columns of the files that are carried through."""

    def read(self, unit: Unit) -> list[Example | Reject]:
        """Return an Example or a Reject for each question of a unit, in reading order."""
        if self.questions is None:
            return list(read_unit(unit, self.source, self.keep))
        assert isinstance(self.source, DocumentSource)
        return list(read_pairs(unit, self.questions, self.source, self.keep))

    def num_questions(self, unit: Unit) -> int:
        """Return how many items `read` returns."""
        return unit.num_rows * (1 if self.questions is None else len(self.questions))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A job that can be carried out on a cluster."""

    config: AnswerConfig
    input: Input
    units: tuple[Unit, ...]
    bad_files: dict[str, str]
    """Files that are left out, and what is wrong with them."""
    window: WindowConfig
    span: SpanConfig
    scorer: str
    schema: pa.Schema
    """Of the predictions."""
    settings: dict[str, Any]
    """The resolved config, flat, with the fingerprints of the model and the input."""

    @property
    def num_questions(self) -> int:
        """Questions in all units, bad ones with them."""
        return sum(map(self.input.num_questions, self.units))

    @property
    def n_best_size(self) -> int:
        """Spans in the column `n_best`."""
        return self.span.n_best_size if self.config.n_best_size is None else self.config.n_best_size

    def url(self, *names: str) -> str:
        """Return the URL of something in the output folder."""
        return storage.join(self.config.output, *names)

    def patiently(self, operation: Callable[[], T]) -> T:
        """Return what an operation on the store gives, see `mrc.storage.persistently`."""
        return storage.persistently(operation, timeout_s=self.config.store_timeout_s)


@storage.explained()
def plan(config: AnswerConfig, source: SourceConfig) -> Plan:
    """Check and cut the input, check the model, and settle what the flags leave open.

    Raises:
        UsageError: Says what to change.
    """
    check_input(config)
    # Tasks and actors have other working directories than the driver.
    config = replace(config, model=storage.absolute(config.model), output=storage.absolute(config.output, new=True))
    check_there(config.model)
    window, span = load_settings(config.model, config.reader_settings())
    if config.n_best_size is not None:
        # Probabilities are shares among the model's own n best, fewer of which may be written.
        span = replace(span, n_best_size=max(span.n_best_size, config.n_best_size))
    read, units, bad_files = _plan_input(config, source)
    extra = [pa.field(name, pa.string()) for name in PAIR_COLUMNS if read.questions is not None]
    extra += kept_fields(units, read.keep)
    scorer = config.scorer if config.scorer != "auto" else _fitting_scorer(read, units)
    schema = output_schema(extra, with_n_best=config.n_best_size != 0)
    check_kept(schema, config.best_per)
    if config.best_per is not None:
        check_group(schema, config.best_per)
    return Plan(
        config=config,
        input=read,
        units=tuple(units),
        bad_files=bad_files,
        window=window,
        span=span,
        scorer=scorer,
        schema=schema,
        settings={
            **resolved(config, source, window, span),
            "n_best_size": span.n_best_size if config.n_best_size is None else config.n_best_size,
            "scorer": scorer,
            "model_fingerprint": model_fingerprint(config.model),
            "input_fingerprint": _input_fingerprint(read, units),
        },
    )


def _plan_input(config: AnswerConfig, source: SourceConfig) -> tuple[Input, list[Unit], dict[str, str]]:
    """Return what is read, in which units, and the files that are left out."""
    bad_files: dict[str, str] = {}
    questions = None
    unit_rows = config.unit_rows or _UNIT_ROWS
    if config.questions is not None:
        asked = QuestionSource(**{**asdict(source), "id_column": config.question_id_column})
        questions = tuple(read_questions(config.questions, asked))
        source = DocumentSource(**asdict(source))
        unit_rows = max(1, unit_rows // len(questions))

    def leave_out(url: str, error: BadFileError) -> None:
        bad_files[url] = str(error)

    def cut(unit_rows: int) -> list[Unit]:
        units = plan_units(
            config.input or config.documents or "",
            source,
            unit_rows=unit_rows,
            on_bad_file=leave_out if config.skip_bad_files else None,
        )
        return select_rows(units, config.limit, None)

    units = cut(unit_rows)
    if config.unit_rows is None and len(units) < _FEW_UNITS:
        # Enough that all actors have something to do, and that progress shows.
        num_rows = sum(unit.stop - unit.start for unit in units)
        units = cut(max(min(unit_rows, _LEAST_ROWS), -(-num_rows // _FEW_UNITS)))
    if not units:
        raise UsageError(f"the input has no rows{' in files that are whole' if bad_files else ''}")
    return Input(source=source, questions=questions, keep=config.kept_columns), units, bad_files


def _fitting_scorer(read: Input, units: Sequence[Unit]) -> str:
    """Return the scorer that fits the first rows, which also shows a wrong column before anything is started."""
    first = replace(units[0], stop=min(units[0].stop, units[0].start + _PEEKED_ROWS))
    examples = [item for item in islice(read.read(first), _PEEKED_ROWS) if isinstance(item, Example)]
    return fitting_scorer(
        total=len(examples),
        korean=sum(is_korean(example.question) for example in examples),
        unanswerable=sum(example.answers == () for example in examples),
    )


def _input_fingerprint(read: Input, units: Sequence[Unit]) -> str:
    """Name the input: its questions, its files and their stamps, and how they are cut."""
    files = list(dict.fromkeys(unit.source for unit in units if unit.is_file))
    stamps = dict(zip(files, storage.for_each(storage.stamp, files), strict=True))
    digest = hashlib.blake2b(digest_size=16)
    for part in read.questions or ():
        digest.update(repr(part).encode() + b"\0")
    for unit in units:
        digest.update(f"{unit.name} {stamps.get(unit.source, '')}\0".encode())
    by_format = Counter(unit.format for unit in {unit.source: unit for unit in units}.values())
    shown = ", ".join(f"{count} {name}" for name, count in sorted(by_format.items()))
    return f"{digest.hexdigest()} ({shown}, {len(units)} units)"
