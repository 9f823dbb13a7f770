"""What one call may set, under the pipeline's names -> the settings of that call, under mrc's."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any

from mrc.errors import UsageError

if TYPE_CHECKING:
    from mrc.spans import SpanConfig
    from mrc.windows import WindowConfig

BATCH_SIZE = 256
"""Questions that are read together where the caller does not say."""

_PIPELINE_NAMES = {
    "max_seq_length": "max_seq_len",
    "max_question_length": "max_question_len",
    "max_answer_length": "max_answer_len",
}
_LEAST = {
    **dict.fromkeys(("top_k", "topk", "max_answer_len", "max_question_len", "max_seq_len", "batch_size"), 1),
    "doc_stride": 0,
}
"""The least value of each option that is a number."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What one call may set, under the pipeline's names. None is the model folder's setting where it has one.

    Raises:
        ValueError: A value is of the wrong type or out of its range.
    """

    top_k: int | None = None
    """Most answers to a question; 1 where None. Over `n_best_size` it takes its place in that call, so that the softmax
    of the scores is over as many spans."""

    topk: int | None = None
    """The name that `top_k` had before."""

    handle_impossible_answer: bool | None = None
    """Whether "no answer" competes with the spans: `version_2_with_negative`."""

    max_answer_len: int | None = None
    """Most tokens of an answer: `max_answer_length`."""

    max_question_len: int | None = None
    """Tokens after which a question is cut: `max_question_length`."""

    max_seq_len: int | None = None
    """Most tokens of a window: `max_seq_length`."""

    doc_stride: int | None = None
    """Overlap of windows in tokens; at most half of a `max_seq_len` that is given without it."""

    batch_size: int | None = None
    """Questions that are read together; BATCH_SIZE where None. No answer depends on it."""

    align_to_words: bool | None = None
    """True is refused: answers are the model's own spans."""

    padding: Any = None
    """Without effect, since no answer depends on padding."""

    num_workers: Any = None
    """Without effect, since no other process prepares the input."""

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            whole = isinstance(value, Integral) and not isinstance(value, bool)
            if value is not None and not (whole and value >= least):
                raise ValueError(f"{name} is {value!r}: give a whole number of at least {least}")
        if not isinstance(self.handle_impossible_answer, bool | None):
            raise ValueError(f"handle_impossible_answer is {self.handle_impossible_answer!r}: give True or False")
        if self.align_to_words:
            raise ValueError(
                "align_to_words is True: mrc gives the span that the model chose and widens none to whole words, which "
                "would add to a Korean answer its particle; leave it out or give False"
            )

    @property
    def num_answers(self) -> int:
        """Most answers to a question."""
        return self.top_k or self.topk or 1


def read_options(given: Mapping[str, Any]) -> Options:
    """Return the options of a call.

    Raises:
        ValueError: An option is unknown, or its value is not legal.
    """
    known = [field.name for field in fields(Options)]
    unknown = sorted(given.keys() - set(known))
    if unknown:
        raise ValueError(f"unknown option {', '.join(unknown)}: the options are {', '.join(known)}")
    return Options(**given)


def configure(options: Options, window: "WindowConfig", span: "SpanConfig") -> tuple["WindowConfig", "SpanConfig"]:
    """Return the settings of a call: those of the reader, with what the call says otherwise.

    Raises:
        UsageError: The lengths do not go together.
    """
    doc_stride = options.doc_stride
    if doc_stride is None and options.max_seq_len is not None:
        # As the pipeline did: who asks for short windows need not know that the overlap has to be shorter still.
        doc_stride = min(window.doc_stride, options.max_seq_len // 2)
    window_changes = {
        "max_seq_length": options.max_seq_len,
        "doc_stride": doc_stride,
        "max_question_length": options.max_question_len,
    }
    span_changes = {
        "n_best_size": max(span.n_best_size, options.num_answers),
        "max_answer_length": options.max_answer_len,
        "version_2_with_negative": options.handle_impossible_answer,
    }
    return replace(window, **_given(window_changes)), replace(span, **_given(span_changes))


def _given(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in changes.items() if value is not None}


@contextlib.contextmanager
def pipeline_errors() -> Iterator[None]:
    """Raise a UsageError as a ValueError, as the pipeline did, and call the settings what the pipeline called them."""
    try:
        yield
    except UsageError as error:
        message = re.sub(r"--(\w+)", lambda flag: _PIPELINE_NAMES.get(flag[1], flag[1]), str(error))
        raise ValueError(message) from error
