"""Prepared units as Arrow files: windows and labels to learn from, with their examples to validate on.

    <unit>.windows.arrow     one row per window, mapped into memory by the workers
    <unit>.examples.arrow    one row per example, where the unit is for validation
    <unit>.json              the record, written last: rows, examples, windows, rejects by reason

A unit without its record was cut short, and is made again.
"""

import hashlib
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mrc import storage
from mrc.batching import first_token
from mrc.windows import Windows

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LabelledWindows:
    """Windows with the tokens, inside each window, at which its answer starts and ends (inclusive)."""

    windows: Windows
    start_positions: npt.NDArray[np.int32]
    end_positions: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.windows)

    def take(self, indices: npt.NDArray[np.integer[Any]]) -> "LabelledWindows":
        """Return the windows at `indices`, shape (n,), in that order."""
        return LabelledWindows(self.windows.take(indices), self.start_positions[indices], self.end_positions[indices])

    def padded_positions(self, padding_side: str) -> "dict[str, torch.Tensor]":
        """Return `start_positions` and `end_positions` as tokens of the padded rows of these windows as one batch.

        Each is of shape (num_windows,), int64.
        """
        import torch  # which the tasks that write windows do without

        shift = first_token(self.windows.lengths, padding_side)
        return {
            name: torch.from_numpy(positions + shift)
            for name, positions in [("start_positions", self.start_positions), ("end_positions", self.end_positions)]
        }


def windows_to_table(labelled: LabelledWindows) -> pa.Table:
    """Lay windows out as Arrow columns that `windows_from_table` reads without copying."""
    windows = labelled.windows
    columns = {
        "example": pa.array(windows.example),
        "input_ids": pa.LargeListArray.from_arrays(windows.row_splits, windows.input_ids),
        "offsets": pa.LargeListArray.from_arrays(
            windows.row_splits, pa.FixedSizeListArray.from_arrays(windows.offsets.reshape(-1), 2)
        ),
        "null_index": pa.array(windows.null_index),
        "start_position": pa.array(labelled.start_positions),
        "end_position": pa.array(labelled.end_positions),
    }
    if windows.token_type_ids is not None:
        columns["token_type_ids"] = pa.LargeListArray.from_arrays(windows.row_splits, windows.token_type_ids)
    return pa.table(columns)


def windows_from_table(table: pa.Table) -> LabelledWindows:
    """Undo `windows_to_table`."""
    columns = {name: table.column(name).combine_chunks() for name in table.column_names}
    input_ids = columns["input_ids"]
    windows = Windows(
        example=columns["example"].to_numpy(),
        row_splits=input_ids.offsets.to_numpy(),
        input_ids=input_ids.values.to_numpy(),
        token_type_ids=columns["token_type_ids"].values.to_numpy() if "token_type_ids" in columns else None,
        offsets=columns["offsets"].values.values.to_numpy().reshape(-1, 2),
        null_index=columns["null_index"].to_numpy(),
    )
    return LabelledWindows(windows, columns["start_position"].to_numpy(), columns["end_position"].to_numpy())


def concatenate(parts: Sequence[LabelledWindows]) -> LabelledWindows:
    """Join windows; `example` goes on counting each part's own examples."""
    if len(parts) == 1:
        return parts[0]
    windows = [part.windows for part in parts]
    types = [part.token_type_ids for part in windows if part.token_type_ids is not None]
    return LabelledWindows(
        Windows(
            example=np.concatenate([part.example for part in windows]),
            row_splits=np.concatenate([[0], np.cumsum(np.concatenate([part.lengths for part in windows]))]),
            input_ids=np.concatenate([part.input_ids for part in windows]),
            token_type_ids=np.concatenate(types) if types else None,
            offsets=np.concatenate([part.offsets for part in windows]),
            null_index=np.concatenate([part.null_index for part in windows]),
        ),
        np.concatenate([part.start_positions for part in parts]),
        np.concatenate([part.end_positions for part in parts]),
    )


def write_arrow(url: str, table: pa.Table) -> None:
    """Write a table as one batch of an Arrow file, uncompressed, so that it can be mapped into memory."""
    with storage.open_atomic(url) as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table.combine_chunks())


def digest_tables(tables: Iterable[pa.Table]) -> str:
    """Name what tables hold, whatever files it is in."""
    name = hashlib.blake2b(digest_size=8)
    for table in tables:
        for column in table.columns:
            for buffer in column.combine_chunks().buffers():
                name.update(buffer or b"")
    return name.hexdigest()


def read_arrow(url: str) -> pa.Table:
    """Read an Arrow file: mapped where it is local, else fetched once."""
    if storage.is_local(url):
        return pa.ipc.open_file(pa.memory_map(storage.local_path(url))).read_all()
    with tempfile.TemporaryDirectory(prefix="mrc-windows-") as folder:
        copy = Path(folder) / "table.arrow"
        copy.write_bytes(storage.persistently(lambda: storage.read_bytes(url)))
        # The mapping outlives the file's name, and its pages can be dropped under memory pressure as a buffer's cannot.
        return pa.ipc.open_file(pa.memory_map(str(copy))).read_all()


class WindowStore:
    """The windows of a run's units as one sequence, mapped from their files; a step copies what it takes and no more.

    Attributes:
        lengths: Shape (num_windows,), tokens of each window.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        """Map the files at `urls`."""
        self._parts = [windows_from_table(read_arrow(url)) for url in urls]
        self._first = np.concatenate([[0], np.cumsum([len(part) for part in self._parts])])
        self.lengths = np.concatenate([part.windows.lengths for part in self._parts])

    def take(self, indices: npt.NDArray[np.integer[Any]]) -> LabelledWindows:
        """Return the windows at `indices`, shape (n,), grouped by file and else in that order."""
        part_of = np.searchsorted(self._first, indices, side="right") - 1
        return concatenate(
            [self._parts[part].take(indices[part_of == part] - self._first[part]) for part in np.unique(part_of)]
        )
