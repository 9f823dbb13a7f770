"""Checkpoints that are whole or not there: a folder a step, whose marker is written last and deleted first.

    checkpoints/step-00000120/model/          the model folder, as the run would leave it
                             /trainer.pt      optimizer, gradient scaler
                             /metrics.jsonl   what was reported up to here
                             /state.json      the marker: step, best step, evaluations so far

A folder without its marker was cut short, in writing or in deleting, and is never loaded. (Ray Train has a checkpoint
manager too; its index is overwritten in place, so that a kill in that moment makes a run unreadable, and it refuses an
index that another version of Ray wrote.)
"""

import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mrc import storage

_MARKER = "state.json"
_STEP_FOLDER = re.compile(r"step-(\d{8})$")


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """Where a run is: all that it needs besides the model and the optimizer.

    Batches, learning rates and random numbers are functions of (seed, step), so there is no more to keep.
    """

    step: int
    """Optimizer steps done."""
    best_step: int | None = None
    """The step of the best validation so far."""
    finished: bool = False
    """Whether the run ends here, at its last step or out of patience."""
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    """One entry per validation so far: step, epoch, loss, exact_match, f1 and what else the scorer tells."""
    data: dict[str, str] = field(default_factory=dict)
    """Side (`train`, `validation`) -> digest of what the run learns from, or is validated on."""


def save(folder: str, state: TrainState, write: Callable[[Path], None]) -> str:
    """Write a checkpoint and commit it.

    Args:
        folder: URL of the folder that holds all checkpoints.
        state: Becomes the marker.
        write: Writes the other files into the local folder that it is given.

    Returns:
        URL of the checkpoint.
    """
    url = storage.join(folder, f"step-{state.step:08d}")
    storage.persistently(lambda: discard(url))
    with tempfile.TemporaryDirectory(prefix="mrc-checkpoint-") as local:
        write(Path(local))
        storage.upload_tree(local, url)
    marker = storage.join(url, _MARKER)
    storage.persistently(lambda: storage.write_text(marker, json.dumps(asdict(state))))
    return url


def committed(folder: str) -> list[tuple[str, TrainState]]:
    """Return URL and state of the checkpoints that are whole, oldest first."""

    def read() -> list[tuple[str, TrainState]]:
        found = []
        for url in storage.list_folders(folder):
            marker = storage.join(url, _MARKER)
            if _STEP_FOLDER.search(url) and storage.exists(marker):
                found.append((url, TrainState(**json.loads(storage.read_text(marker)))))
        return found

    return sorted(storage.persistently(read), key=lambda pair: pair[1].step)


def keep_only(folder: str, steps: set[int]) -> None:
    """Delete every checkpoint but those of `steps`, and what was cut short."""

    def delete() -> None:
        for url in storage.list_folders(folder):
            match = _STEP_FOLDER.search(url)
            if match and int(match[1]) not in steps:
                discard(url)

    storage.persistently(delete)


def discard(url: str) -> None:
    """Delete a checkpoint, its marker first, so that what a kill leaves over is not taken for whole."""
    storage.remove(storage.join(url, _MARKER))
    storage.remove(url)
