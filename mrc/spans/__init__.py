"""Logits -> n-best spans, null scores, and the answers of whole examples.

    contexts.py     the contexts of examples as one text
    bounds.py       tokens -> the characters at which an answer may begin and end
    best.py         logits -> the best distinct spans of every window, on the device
    merge.py        the spans of all windows -> the n best of every example, as columns
    leads.py        which examples have another outcome close to theirs
    predictions.py  those columns -> objects
    compatible.py   the same question answered as Hugging Face's run_qa does, quirks included

A span is a pair of characters of the original context, white space at its ends trimmed off; tokens matter only for
`max_answer_length`. Order everywhere: higher score, then earlier start, then shorter. That is total, so neither the
device, nor the make-up of batches, nor the order of windows can change an answer.

best.py imports torch, and is named by who has a model; the rest is for processes that do without it.
"""

from mrc.spans.bounds import bounds_repeat, locate, token_bounds
from mrc.spans.compatible import compatible_predictions
from mrc.spans.contexts import join_contexts
from mrc.spans.leads import are_close, lead_error
from mrc.spans.merge import ExampleSpans, SpanConfig, WindowSpans, merge_windows
from mrc.spans.predictions import make_predictions

__all__ = [
    "ExampleSpans",
    "SpanConfig",
    "WindowSpans",
    "are_close",
    "bounds_repeat",
    "compatible_predictions",
    "join_contexts",
    "lead_error",
    "locate",
    "make_predictions",
    "merge_windows",
    "token_bounds",
]
