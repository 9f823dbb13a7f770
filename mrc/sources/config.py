"""What a source is and how it is cut: SourceConfig, the user's flags, and Unit, a range of rows of one file."""

import hashlib
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from mrc.errors import UsageError
from mrc.validation import OffsetUnit

Format = Literal["json", "jsonl", "csv", "tsv", "parquet", "dataset", "sample"]


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """How rows are read: which columns hold what, in which unit offsets count, and what is refused.

    Nested SQuAD JSON is read as rows too, with the columns `id`, `question`, `context`, `title`, `answers` and
    `is_impossible`. A column given another name than its default has to exist.
    """

    id_column: str = "id"
    """Column of the id, a text or an integer. A row without it is called `<file name>#<row>`."""
    question_column: str = "question"
    """Column of the question."""
    context_column: str = "context"
    """Column of the context."""
    title_column: str = "title"
    """Column of the title of the article that the context comes from; optional."""
    answers_column: str = "answers"
    """Column of the gold answers: a list of {text, answer_start} or {text, start}, or one {text: [...], answer_start:
    [...]} (in a CSV file, that as JSON). An empty list: the context has no answer. Null: no gold is known. Optional."""
    answer_text_column: str = "answer_text"
    """Column of one gold answer's text (or a list of them), read where there is no answers_column."""
    answer_start_column: str = "answer_start"
    """Column of that answer's offset (or a list of them), in units of answer_offsets."""
    is_impossible_column: str = "is_impossible"
    """Column that is true where the context has no answer, whatever the answers say; optional."""
    answer_offsets: OffsetUnit = "characters"
    """Unit of the answers' offsets: characters, utf16 (JavaScript, Java) or bytes (of UTF-8)."""
    require_answers: bool = False
    """Reject rows without known gold. An empty list of answers is gold: the context has no answer."""
    max_context_chars: int = 10_000_000
    """Reject rows with longer contexts, in characters."""
    split: str = "train"
    """Split of a Hugging Face data set."""
    revision: str | None = None
    """Revision of a Hugging Face data set: a branch, tag or commit; by default its main branch."""
    dataset_config_name: str | None = None
    """Configuration of a Hugging Face data set that has several, such as `mrc` of `klue`."""

    needs: ClassVar[tuple[str, ...]] = ("question_column", "context_column")
    """The fields whose columns every file has to have."""
    flags: ClassVar[Mapping[str, str]] = {}
    """The fields that the user sets by a flag of another name."""
    needs_offsets: ClassVar[bool] = True
    """Whether gold answers have to say where they stand."""
    keep_flag: ClassVar[str] = "keep_columns"
    """The flag that names further columns to read."""

    def __post_init__(self) -> None:
        """Refuse what cannot work before anything is read."""
        if self.max_context_chars < 1:
            raise UsageError(f"--max_context_chars is {self.max_context_chars}; give at least 1")
        for field in self.column_flags():
            if not getattr(self, field):
                raise UsageError(f"--{self.flags.get(field, field)} is empty; give the column's name")

    @classmethod
    def column_flags(cls) -> tuple[str, ...]:
        """Return the fields that name the columns which are read."""
        return tuple(field.name for field in fields(cls) if field.name.endswith("_column"))


class DocumentSource(SourceConfig):
    """How contexts without questions are read."""

    needs = ("context_column",)

    @classmethod
    def column_flags(cls) -> tuple[str, ...]:
        """Return the fields that name the columns of a document."""
        return ("id_column", "context_column", "title_column")


class QuestionSource(SourceConfig):
    """How questions without contexts are read."""

    needs = ("question_column",)
    flags: ClassVar[Mapping[str, str]] = {"id_column": "question_id_column"}

    @classmethod
    def column_flags(cls) -> tuple[str, ...]:
        """Return the fields that name the columns of a question."""
        return ("id_column", "question_column")


class ReferenceSource(SourceConfig):
    """How gold answers are read to be scored against: their texts count, and where they stand is welcome."""

    needs: ClassVar[tuple[str, ...]] = ()
    needs_offsets = False
    keep_flag = "slice_by"


class PredictionSource(SourceConfig):
    """How the answers of a system are read."""

    needs = ("id_column", "answer_text_column")
    flags: ClassVar[Mapping[str, str]] = {
        "id_column": "prediction_id_column",
        "answer_text_column": "prediction_column",
    }

    @classmethod
    def column_flags(cls) -> tuple[str, ...]:
        """Return the fields that name the columns of a prediction."""
        return ("id_column", "answer_text_column")


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A range of rows of one source, `[start, stop)` in reading order, or some rows of it. Holds no rows; pickles.

    `source` is a file (absolute path or URL), `dataset://name?split=...`, or `sample://split?...`. `rows`, where given,
    are the numbers of the rows picked in that range, ascending. `offset` is the byte at which row `start` begins in a
    text file of lines that is not compressed, so that what comes before it is not read; 0 elsewhere.
    """

    source: str
    format: Format
    start: int = 0
    stop: int
    rows: tuple[int, ...] | None = None
    offset: int = 0

    @property
    def num_rows(self) -> int:
        """How many rows the unit stands for."""
        return self.stop - self.start if self.rows is None else len(self.rows)

    @property
    def is_file(self) -> bool:
        """Whether the source is a file, as opposed to a data set or the sample."""
        return self.format not in ("dataset", "sample")

    @property
    def stem(self) -> str:
        """The file name of the source, or the data set's or sample's name."""
        parts = urlsplit(self.source) if not self.is_file else None
        path = f"{parts.netloc}{parts.path}" if parts else self.source
        return posixpath.basename(path.replace("\\", "/").rstrip("/"))

    @property
    def name(self) -> str:
        """A name for files about this unit, from the source and the rows alone: the same on every run.

        It is short also in bytes, and no hidden file's, as which `_` and `.` in front would have it.
        """
        picked = "" if self.rows is None else f"-picked-{_digest(repr(self.rows))}"
        plain = re.sub(r"[^\w.-]", "_", self.stem).lstrip("._-").encode()[:60].decode(errors="ignore") or "file"
        return f"{plain}-{_digest(self.source)}-{self.start:012d}-{self.stop:012d}{picked}"


def first_file(units: Iterable[Unit]) -> str:
    """Return the first file of units, "" where none is of a file."""
    return next((unit.source for unit in units if unit.is_file), "")


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()
