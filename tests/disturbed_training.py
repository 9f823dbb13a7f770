"""A training run to disturb: its command, its checkpoints, and whether it ended as one that nothing disturbed."""

import contextlib
import json
import pathlib

import pytest
from safetensors.torch import load_file
from torch.testing import assert_close

from mrc.training import checkpoints
from mrc.training.checkpoints import TrainState

STEPS = 72
SAVE_STEPS = 3
VALIDATION_STEPS = 36


class Run:
    """The output folder of one run, and the command for it."""

    def __init__(self, model: str, output: pathlib.Path, **changes: object) -> None:
        self.model, self.output, self.changes = model, output, changes

    @property
    def flags(self) -> list[str]:
        values: dict[str, object] = {
            "model": self.model,
            "output": str(self.output),
            "train_data": "sample://train?num_examples=40&language=en",
            "validation_data": "sample://validation?num_examples=10&language=en",
            "version_2_with_negative": "true",
            "max_seq_length": 64,
            "doc_stride": 16,
            "train_batch_size": 4,
            "learning_rate": 1e-3,
            "max_steps": STEPS,
            "eval_steps": VALIDATION_STEPS,
            "save_steps": SAVE_STEPS,
            "logging_steps": 1,
            **self.changes,
        }
        return [f"--{name}={value}" for name, value in values.items()]

    @property
    def committed(self) -> list[TrainState]:
        """The whole checkpoints, oldest first; none where the worker is just deleting one."""
        with contextlib.suppress(FileNotFoundError):
            return [state for _, state in checkpoints.committed(str(self.output / "checkpoints"))]
        return []

    @property
    def last_step(self) -> int:
        return self.committed[-1].step if self.committed else 0

    @property
    def rows(self) -> list[dict[str, float]]:
        """What the log tells of the steps."""
        lines = (self.output / "logs" / "metrics.jsonl").read_text().splitlines()
        return [row for row in map(json.loads, lines) if row["kind"] == "train"]

    def tells_steps(self, last: int) -> bool:
        """Say whether the log has each step up to the last one, once; no while the driver writes a line."""
        with contextlib.suppress(json.JSONDecodeError):
            return [row["step"] for row in self.rows] == list(range(1, last + 1))
        return False


def assert_same_outcome(run: Run, undisturbed: Run) -> None:
    """The model, the last checkpoint with its optimizer, the scores and the losses on the way are the same."""
    last = f"checkpoints/step-{STEPS:08d}/model"
    for folder in ("model", last):
        expected = load_file(undisturbed.output / folder / "model.safetensors")
        assert_close(load_file(run.output / folder / "model.safetensors"), expected, rtol=0, atol=1e-6)
    expected_evaluations, evaluations = undisturbed.committed[-1].evaluations, run.committed[-1].evaluations
    assert [row["step"] for row in evaluations] == [VALIDATION_STEPS, STEPS]
    for name in ("exact_match", "f1", "loss"):
        assert [row[name] for row in evaluations] == pytest.approx(
            [row[name] for row in expected_evaluations], abs=1e-4
        )
    assert run.tells_steps(STEPS)
    assert [row["loss"] for row in run.rows] == pytest.approx([row["loss"] for row in undisturbed.rows], abs=1e-4)
