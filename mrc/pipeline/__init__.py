"""The old pipeline's way of asking: its forms -> examples, and predictions -> its dicts. No torch.

    questions.py  positional arguments, texts, dicts, objects, lists or iterators -> examples, in order
    options.py    top_k, max_answer_len and the like -> checked, and the settings of one call
    answers.py    predictions -> the dicts {"score", "start", "end", "answer"}, `batch_size` questions at a time

Up to 5.2 transformers answered questions with `pipeline("question-answering")`. `Reader.__call__` takes what that took
and returns what that returned, so that code written for it runs on; it lists where mrc differs on purpose. Arguments
are read before the first question is answered: a wrong one is an error of the call, not of an iteration much later.
"""

from mrc.pipeline.answers import AnswerDict, rank, respond
from mrc.pipeline.options import BATCH_SIZE, Options, configure, pipeline_errors, read_options
from mrc.pipeline.questions import Form, Questions, read_questions

__all__ = [
    "BATCH_SIZE",
    "AnswerDict",
    "Form",
    "Options",
    "Questions",
    "configure",
    "pipeline_errors",
    "rank",
    "read_options",
    "read_questions",
    "respond",
]
