"""What a person sees of a run: lines in the console, metrics.jsonl, TensorBoard events.

The workers post rows to the Conductor, the driver takes them from it and writes them down: one writer, in one place,
whatever runs on how many nodes. The same actor carries the wish to stop the other way.
"""

import contextlib
import json
import logging
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ray

from mrc import storage
from mrc.errors import MrcError

logger = logging.getLogger("mrc")

METRICS = "metrics.jsonl"

Row = dict[str, Any]


class _Conductor:
    """A mailbox between the driver and the workers of one run."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._losses: list[str] = []
        self._has_workers = False
        self._stop = False
        self._error: MrcError | None = None

    def begin(self) -> bool:
        """Note that workers run; tell whether there is any use in it: no error that no restart mends was reported."""
        self._has_workers = True
        return self._error is None

    def post(self, row: Row) -> None:
        """Add a row of progress."""
        self._rows.append(row)

    def lose(self, cause: str) -> None:
        """Report a worker that failed: all are ended, and may be started again."""
        self._has_workers = False
        if self._error is None:
            self._losses.append(cause)

    def take(self) -> tuple[list[Row], list[str], bool, MrcError | None]:
        """Return the rows and the losses since the last call, whether workers run, and what a worker explained."""
        rows, self._rows = self._rows, []
        losses, self._losses = self._losses, []
        return rows, losses, self._has_workers, self._error

    def fail(self, error: MrcError) -> None:
        """Report an error that no restart mends."""
        self._error = self._error or error

    def ask_to_stop(self) -> None:
        """Wish for a checkpoint and an end after the step that is running."""
        self._stop = True

    def stop_asked(self) -> bool:
        """Tell whether somebody wants the run to stop."""
        return self._stop


Conductor = ray.remote(num_cpus=0)(_Conductor)


class RunLog:
    """Writes the rows of a run to the console, `metrics.jsonl` and TensorBoard, into an output folder at any URL.

    Steps that are done again, by a run that continues from a checkpoint or by workers that were started again from it,
    take the place of what they wrote before. What a driver did not come to write before it was killed, the next one
    writes from the checkpoint.
    """

    def __init__(self, output: str, *, resumed_step: int = 0, reported: Iterable[Row] = ()) -> None:
        """Open the log.

        Args:
            output: URL of the run's folder.
            resumed_step: Of the checkpoint that the run continues from.
            reported: What was reported up to there.
        """
        self._url = storage.join(output, "logs")
        self._temporary = None if storage.is_local(output) else tempfile.TemporaryDirectory(prefix="mrc-logs-")
        self._folder = Path(self._temporary.name) if self._temporary else Path(storage.local_path(self._url))
        self._folder.mkdir(parents=True, exist_ok=True)
        self._begin(read_rows(self._url), before=(resumed_step + 1 if resumed_step else 0, False))
        for row in reported:
            if _place(row) > self._last:
                self._record(row)

    def _begin(self, rows: list[Row], before: tuple[int, bool]) -> None:
        """Open both files, with those rows that stand before a place."""
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and only a run needs it

        kept = [row for row in rows if _place(row) < before]
        self._last = _place(kept[-1]) if kept else (-1, False)
        write_rows(self._folder, kept)
        self._jsonl = (self._folder / METRICS).open("a", encoding="utf-8")
        self._tensorboard = SummaryWriter(str(self._folder / "tensorboard"), purge_step=before[0])

    def write(self, row: Row) -> None:
        """Write one row; one of a validation also brings the files to a remote output folder."""
        logger.info("%s", describe(row))
        if _place(row) <= self._last:
            self._jsonl.close()
            self._tensorboard.close()
            self._begin(read_rows(str(self._folder)), before=_place(row))
        self._record(row)
        if row["kind"] == "validation":
            self._tensorboard.flush()
            try:
                self._upload()
            except OSError as error:
                logger.warning("the logs are not in the output folder yet: %s", error)

    def _record(self, row: Row) -> None:
        self._last = _place(row)
        self._jsonl.write(json.dumps(row) + "\n")
        self._jsonl.flush()
        for name, value in row.items():
            if isinstance(value, int | float) and name not in ("step", "total_steps"):
                self._tensorboard.add_scalar(f"{row['kind']}/{name}", value, row["step"])

    def close(self) -> None:
        """Finish the files."""
        self._jsonl.close()
        self._tensorboard.close()
        self._upload()
        if self._temporary:
            self._temporary.cleanup()

    def _upload(self) -> None:
        if self._temporary:
            storage.upload_tree(str(self._folder), self._url)


def write_rows(folder: Path, rows: Iterable[Row]) -> None:
    """Write the `metrics.jsonl` of a folder."""
    with (folder / METRICS).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def read_rows(folder: str) -> list[Row]:
    """Read the `metrics.jsonl` of a folder at any URL, if it has one; a kill may have cut its last line short."""
    url = storage.join(folder, METRICS)
    text = storage.persistently(lambda: storage.read_text(url) if storage.exists(url) else "")
    rows = []
    for line in text.splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


def _place(row: Row) -> tuple[int, bool]:
    """Where a row stands in a run: by its step, a validation after the training step."""
    return row["step"], row["kind"] == "validation"


def describe(row: Mapping[str, Any]) -> str:
    """Put a row into one line that a person can follow."""
    where = f"step {row['step']:,}/{row['total_steps']:,}  epoch {row['epoch']:.2f}"
    if row["kind"] == "train":
        return (
            f"{where}  loss {row['loss']:.4f}  learning rate {row['learning_rate']:.2e}  "
            f"{row['questions_per_s']:,.1f} questions/s  {duration(row['left_s'])} left"
        )
    line = f"{where}  validation: "
    if "f1" in row:
        line += f"exact match {row['exact_match']:.2f}  F1 {row['f1']:.2f}  "
    line += f"loss {row['loss']:.4f}  {row['total']:,} questions in {duration(row['seconds'])}"
    return line + ("  (best so far)" if row["is_best"] else "")


def duration(seconds: float) -> str:
    """Say a time as people do: `48 s`, `12 min 5 s`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
