"""What a person sees of a run: lines in the console, metrics.jsonl, TensorBoard events.

The workers post rows to the Conductor, the driver takes them from it and writes them down: one writer, in one place,
whatever runs on how many nodes. The same actor carries the wish to stop the other way.
"""

import json
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray

from mrc import storage
from mrc.errors import MrcError

logger = logging.getLogger("mrc")

Row = dict[str, Any]


class _Conductor:
    """A mailbox between the driver and the workers of one run."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._stop = False
        self._error: MrcError | None = None

    def post(self, row: Row) -> None:
        """Add a row of progress."""
        self._rows.append(row)

    def take(self) -> tuple[list[Row], MrcError | None]:
        """Return the rows since the last call, and the error that a worker explained, if any."""
        rows, self._rows = self._rows, []
        return rows, self._error

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

    A run that continues from a checkpoint drops the rows after it, which are about to be written again.
    """

    def __init__(self, output: str, *, resumed_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and only a run needs it

        self._url = storage.join(output, "logs")
        self._temporary = None if storage.is_local(output) else tempfile.TemporaryDirectory(prefix="mrc-logs-")
        self._folder = Path(self._temporary.name) if self._temporary else Path(storage.local_path(self._url))
        self._folder.mkdir(parents=True, exist_ok=True)
        url = storage.join(self._url, "metrics.jsonl")
        lines = storage.read_text(url).splitlines() if storage.exists(url) else []
        kept = [line for line in lines if resumed_step and json.loads(line)["step"] <= resumed_step]
        (self._folder / "metrics.jsonl").write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        self._jsonl = (self._folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._tensorboard = SummaryWriter(str(self._folder / "tensorboard"), purge_step=resumed_step + 1)

    def write(self, row: Row) -> None:
        """Write one row; one of a validation also brings the files to a remote output folder."""
        logger.info("%s", describe(row))
        self._jsonl.write(json.dumps(row) + "\n")
        self._jsonl.flush()
        for name, value in row.items():
            if isinstance(value, int | float) and name not in ("step", "total_steps"):
                self._tensorboard.add_scalar(f"{row['kind']}/{name}", value, row["step"])
        if row["kind"] == "validation":
            self._tensorboard.flush()
            self._upload()

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
