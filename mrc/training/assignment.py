"""What the driver tells the workers, without what they are made of: torch and transformers take seconds to import."""

from dataclasses import dataclass
from typing import Any

from mrc.spans import SpanConfig
from mrc.training.config import TrainConfig
from mrc.windows import WindowConfig


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What the driver tells every worker; it pickles."""

    train: TrainConfig
    window: WindowConfig
    span: SpanConfig
    scorer: str
    train_windows: tuple[str, ...]
    """URLs of the training windows."""
    validation_units: tuple[tuple[str, str], ...]
    """URLs of the validation windows and of their examples; empty where nothing is validated."""
    data: dict[str, str]
    """Digests of both, which checkpoints keep."""
    questions_per_window: float
    """Training questions over training windows, to report speed in questions."""
    checkpoints: str
    """URL of the folder for checkpoints."""
    conductor: Any = None
    """Handle of the actor to report to, which the driver adds."""
