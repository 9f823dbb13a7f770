"""Commits: the record of a unit, written after its files, so that its presence means that they are whole.

    answers/predictions/<unit>.parquet
            rejects/<unit>.parquet        where rows were rejected
            best_parts/<unit>.parquet     with --best_per, until the end
            commits/<unit>.json           the record, written last

A unit's name comes from its file and rows alone. Who answers it again overwrites, and nothing doubles.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import partial

from mrc import storage
from mrc.metrics import Sums

RECORDS = "commits"
_SUFFIX = ".json"
_READ_AT_ONCE = 10_000
"""Records whose texts are held together; a store's patience is for so many, however many there are."""


@dataclass(frozen=True, kw_only=True)
class UnitRecord:
    """What became of a unit."""

    name: str
    rows: int
    """Questions of the unit, bad ones with them: `answered` plus all of `rejects`."""
    answered: int
    rejects: dict[str, int]
    """Rejected questions by reason."""
    windows: int
    sums: dict[str, int]
    """Sums of the scores where gold is known, see `mrc.metrics.Sums`."""
    groups: int
    """Values of the column of `--best_per`."""
    read_again: int
    """Questions that float32 read again, see `--exact`."""
    seconds: dict[str, float]
    """Of reading, of the model, and of writing."""

    def write(self, output: str) -> None:
        """Commit the unit."""
        storage.write_text(storage.join(output, RECORDS, self.name + _SUFFIX), json.dumps(asdict(self)))


@dataclass
class Ledger:
    """The sum of a job's records; of each it keeps no more than the name."""

    names: set[str] = field(default_factory=set)
    rejecting: set[str] = field(default_factory=set)
    """Names of the units that rejected rows."""
    rows: int = 0
    answered: int = 0
    windows: int = 0
    groups: int = 0
    read_again: int = 0
    rejects: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    sums: Sums = field(default_factory=Sums)

    @classmethod
    def read(cls, output: str, wanted: Iterable[str], *, timeout_s: float) -> "Ledger":
        """Return the sum of the records that an output folder has of some units.

        Args:
            output: The output folder.
            wanted: Names of units.
            timeout_s: Of the listing, and of each ten thousand records, see `mrc.storage.persistently`.
        """
        ledger = cls()
        list_records = partial(storage.list_names, storage.join(output, RECORDS))
        there = set(storage.persistently(list_records, timeout_s=timeout_s))
        urls = [storage.join(output, RECORDS, name + _SUFFIX) for name in wanted if name + _SUFFIX in there]
        for at in range(0, len(urls), _READ_AT_ONCE):
            read = partial(storage.for_each, storage.read_text, urls[at : at + _READ_AT_ONCE])
            for text in storage.persistently(read, timeout_s=timeout_s):
                ledger.add(UnitRecord(**json.loads(text)))
        return ledger

    def add(self, record: UnitRecord) -> None:
        """Count a unit; one that was counted is passed over."""
        if record.name in self.names:
            return
        self.names.add(record.name)
        if record.rejects:
            self.rejecting.add(record.name)
        self.rows += record.rows
        self.answered += record.answered
        self.windows += record.windows
        self.groups += record.groups
        self.read_again += record.read_again
        self.rejects.update(record.rejects)
        self.seconds.update(record.seconds)
        self.sums += Sums.from_dict(record.sums)

    @property
    def rejected(self) -> int:
        """Rejected questions."""
        return self.rejects.total()

    def reasons(self) -> str:
        """Return the reasons of rejection, the commonest first."""
        return ", ".join(f"{count:,} {reason}" for reason, count in self.rejects.most_common())
