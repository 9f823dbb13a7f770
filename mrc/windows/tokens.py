"""The tokens of texts as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Tokens:
    """The tokens of several texts, end to end: those of text t are `row_splits[t]:row_splits[t + 1]`."""

    row_splits: npt.NDArray[np.int64]
    """Shape (num_texts + 1,)."""

    input_ids: npt.NDArray[np.int32]
    """Shape (num_tokens,)."""

    offsets: npt.NDArray[np.int32]
    """Shape (num_tokens, 2): half-open characters of the token's own text."""

    @classmethod
    def of(cls, lengths: IntArray, input_ids: npt.NDArray[np.int32], offsets: npt.NDArray[np.int32]) -> "Tokens":
        """Lay out the tokens of texts that have so many each."""
        return cls(np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]), input_ids, offsets)

    @classmethod
    def concatenate(cls, parts: Sequence["Tokens"]) -> "Tokens":
        """Return the tokens of all texts of several."""
        return cls.of(
            np.concatenate([np.zeros(0, np.int64), *(part.lengths for part in parts)]),
            np.concatenate([np.zeros(0, np.int32), *(part.input_ids for part in parts)]),
            np.concatenate([np.zeros((0, 2), np.int32), *(part.offsets for part in parts)]),
        )

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each text; shape (num_texts,)."""
        return np.diff(self.row_splits)
