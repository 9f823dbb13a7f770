"""Extractive question answering at scale: fine-tune a reader on Ray, answer millions of questions, score them.

import mrc

reader = mrc.Reader.from_pretrained("out/model")
[prediction] = reader.answer([mrc.Example(id="1", question="Who wrote it?", context="Ada wrote it in 1843.")])
"""

from typing import TYPE_CHECKING, Any

from mrc.errors import MrcError, RunError, UsageError
from mrc.examples import Answer, Example, Prediction, Span

if TYPE_CHECKING:
    from mrc.reader import Reader

__all__ = ["Answer", "Example", "MrcError", "Prediction", "Reader", "RunError", "Span", "UsageError"]


def __getattr__(name: str) -> Any:
    # The reader imports torch, which the pure modules below it do without.
    if name == "Reader":
        from mrc.reader import Reader

        return Reader
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
