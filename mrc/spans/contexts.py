"""Contexts, each distinct one once, as one text: what is found out for all of it at once serves every example."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class JoinedContexts(NamedTuple):
    """The distinct contexts of examples, end to end."""

    text: str

    starts: npt.NDArray[np.int64]
    """Shape (num_distinct,): the characters at which they begin."""

    start_of: npt.NDArray[np.int64]
    """Shape (num_examples,): the character at which each example's begins."""


def join_contexts(contexts: Sequence[str]) -> JoinedContexts:
    """Join the contexts of examples, one for each."""
    number = {context: at for at, context in enumerate(dict.fromkeys(contexts))}
    lengths = np.fromiter(map(len, number), dtype=np.int64, count=len(number))
    starts = np.cumsum(lengths) - lengths
    distinct = np.fromiter(map(number.__getitem__, contexts), dtype=np.int64, count=len(contexts))
    return JoinedContexts("".join(number), starts, starts[distinct])
