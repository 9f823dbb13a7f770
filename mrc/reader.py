"""The reader: a model, its tokenizer and its settings on one device. Examples in, predictions out; no Ray.

Every answer that mrc gives, in validation, in bulk or in a notebook, comes out of `Reader.read`.
"""

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mrc import pipeline, storage
from mrc.errors import UsageError
from mrc.examples import Example, Prediction
from mrc.finder import Look, SpanFinder
from mrc.model_files import SETTINGS, load_settings
from mrc.models import load_model
from mrc.pretrained import load_tokenizer
from mrc.probes import check_fits
from mrc.sample import QUESTIONS_PER_PASSAGE, iter_examples
from mrc.spans import ExampleSpans, SpanConfig, lead_error, locate, make_predictions
from mrc.windows import PairTokenizer, WindowConfig, Windows, make_windows

_MARGIN = 5.0
"""Of `exact`, in errors of leads. benchmarks/LOG.md has what it was chosen and judged by."""


class Reader:
    """Answers questions about contexts.

        reader = Reader.from_pretrained("out/model")
        [prediction] = reader.answer([Example(id="1", question="Who?", context="It was Ada.")])
        reader(question="Who?", context="It was Ada.")  # {"score": ..., "start": 7, "end": 10, "answer": "Ada"}

    Attributes:
        window: How contexts are cut.
        span: How logits become answers.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        window: WindowConfig,
        span: SpanConfig,
        *,
        device: torch.device | None = None,
        precision: str = "auto",
        max_batch_tokens: int | None = None,
        exact: bool = False,
        exact_margin: float | None = None,
        cast_weights: bool = False,
    ) -> None:
        """Take a model as it is; `from_pretrained` loads one.

        Args:
            model: Moved to `device`.
            tokenizer: A fast one.
            window: How contexts are cut.
            span: How logits become answers.
            device: By default the model's own.
            precision: Of the forward pass: auto, float32, bfloat16 or float16.
            max_batch_tokens: Tokens of one forward pass, padding included; by default what suits the device.
            exact: Have float32 read a question again whose answer is close to another, by `exact_margin`.
            exact_margin: With `exact`: what a span's score has to be ahead of another's, in logits; by sqrt(2) less
                where both share an end. By default what this model's rounding errors ask for, as measured on the
                built-in sample.
            cast_weights: Read with a copy whose weights are in the precision of the pass, where that serves.
        """
        self.window, self.span = window, span
        self._tokenizer, self._pairs = tokenizer, PairTokenizer.of(tokenizer)
        self._finder = SpanFinder(
            model,
            tokenizer,
            window.max_seq_length,
            device=device or model.device,
            precision=precision,
            max_batch_tokens=max_batch_tokens,
            exact=exact,
            cast_weights=cast_weights,
        )
        if self._finder.reads_twice:
            self._finder.exact_margin = self._measured_margin() if exact_margin is None else exact_margin

    @classmethod
    def from_pretrained(
        cls,
        path: str,
        *,
        device: str | torch.device | None = None,
        precision: str = "auto",
        max_batch_tokens: int | None = None,
        exact: bool = False,
        exact_margin: float | None = None,
        **settings: Any,
    ) -> "Reader":
        """Load a model folder, with the settings that it was trained and scored with where it has any.

        Args:
            path: A folder, the URL of one, or a name on the Hugging Face hub.
            device: By default a GPU where there is one, else the CPU.
            precision: Of the forward pass: auto, float32, bfloat16 or float16.
            max_batch_tokens: Tokens of one forward pass, padding included.
            exact: Give float32's answers: have it read a question again whose answer is close to another.
            exact_margin: With `exact`: how close, in logits; by default measured.
            **settings: Fields of WindowConfig and SpanConfig that shall differ from the folder's.

        Raises:
            UsageError: There is no such model, it was not trained to answer, it does not take windows of this length,
                or a setting is unknown.
        """
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        with storage.local_copy(path) as folder:
            window, span = load_settings(folder, settings)
            model, tokenizer = load_model(folder, fresh_head=False), load_tokenizer(folder)
        check_fits(model, tokenizer, window.max_seq_length)
        return cls(
            model,
            tokenizer,
            window,
            span,
            device=chosen,
            precision=precision,
            max_batch_tokens=max_batch_tokens,
            exact=exact,
            exact_margin=exact_margin,
            cast_weights=True,
        )

    @property
    def padding_side(self) -> str:
        """Where batches are padded: "left" or "right"."""
        return self._finder.collator.padding_side

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a Hugging Face model folder, with the settings beside the weights."""
        self._finder.save_model(folder)
        self._tokenizer.save_pretrained(folder)
        settings = {**asdict(self.window), **asdict(self.span)}
        (Path(folder) / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    def __call__(
        self,
        *inputs: Any,
        question: Any = None,
        context: Any = None,
        data: Any = None,
        X: Any = None,  # noqa: N803
        **options: Any,
    ) -> Any:
        """Answer as `pipeline("question-answering")` did, which transformers had up to 5.2.

        Where the call says nothing, the model folder's settings hold, not the pipeline's 384 tokens a window, 128 of
        overlap and 15 an answer. Settings of a call are its own: the reader is left as it is.

        Differences on purpose. One softmax ranks the spans of a context, all its windows together, so that scores of
        windows compare; it is over the n best, so those of contexts do too only where `handle_impossible_answer` gives
        the null answer its share. No span comes twice, and none is widened to whole words: `align_to_words=True` is
        refused. `null_score_diff_threshold` decides on the null answer, as in `answer`. The form alone says what comes
        back: a list of one question gives a list of one result, a `top_k` over 1 a list whatever is found.

        Args:
            *inputs: A question and a context, or one `data`, or several examples.
            question: A text, or a list of them.
            context: A text, or a list of them. Lists of both are pairs; else one goes with each of the other.
            data: An example, a list of them, or an iterator. An example is a dict with "question" and "context", or has
                these as attributes, or SquadExample's `question_text` and `context_text`.
            X: An older name of `data`.
            **options: Fields of `mrc.pipeline.Options`: `top_k`, `handle_impossible_answer`, `max_answer_len`,
                `max_question_len`, `max_seq_len`, `doc_stride`, `batch_size` and others.

        Returns:
            `{"score", "start", "end", "answer"}`, the score a probability, the others in characters of the context; the
            null answer, or where there is nothing to answer with, is "" from 0 to 0. With `top_k` over 1 a list of at
            most that many, best first. For a list a list of these, in order; for an iterator a generator, which reads
            `batch_size` questions (256) before it gives their results.

        Raises:
            ValueError: A question or context is missing, empty or no text, a question is too long for a window, lists
                differ in length, or an option is unknown or not legal, such as windows longer than the model takes.
        """
        questions = pipeline.read_questions(
            inputs, question=question, context=context, data=X if data is None else data
        )
        chosen = pipeline.read_options(options)
        with pipeline.pipeline_errors():
            reader = self._with(*pipeline.configure(chosen, self.window, self.span))
        return pipeline.respond(questions, chosen, reader.answer, null_competes=reader.span.version_2_with_negative)

    def _measured_margin(self) -> float:
        """Return how close is close for this model, by questions of the built-in sample in both its languages."""
        asked = list(iter_examples("test", num_examples=10 * QUESTIONS_PER_PASSAGE))[::QUESTIONS_PER_PASSAGE]
        windows, _ = make_windows(asked, self._pairs, self.window)
        reader, found = self._with(self.window, SpanConfig()), []
        for self._finder.exact_margin in (0.0, math.inf):  # with which nothing, and then everything, is read again
            found.append(reader.read(asked, windows))
        return _MARGIN * lead_error(*found)

    def answer(self, examples: Sequence[Example]) -> list[Prediction]:
        """Answer examples, in order.

        Raises:
            UsageError: An example cannot be cut into windows, such as one with too long a question.
        """
        windows, rejections = make_windows(examples, self._pairs, self.window)
        for index, reason, detail in rejections:
            raise UsageError(f"example {examples[index].id!r}: {reason}: {detail}")
        return make_predictions(examples, self.read(examples, windows))

    def read(self, examples: Sequence[Example], windows: Windows, look: Look | None = None) -> ExampleSpans:
        """Read windows and return the n best spans of every example.

        Args:
            examples: Those that `windows.example` numbers.
            windows: All windows of these examples, in any order.
            look: Called with the logits of every batch.
        """
        return self.read_located(locate(windows, [example.context for example in examples]), len(examples), look)

    def read_located(self, located: Windows, num_examples: int, look: Look | None = None) -> ExampleSpans:
        """Do what `read` does with windows that `locate` gave, which need no texts."""
        return self._finder.find(located, num_examples, self.span, look)

    def _with(self, window: WindowConfig, span: SpanConfig) -> "Reader":
        """Return a reader with the same model under other settings; raises UsageError if they do not suit it."""
        self._finder.check_fits(window.max_seq_length)
        other = copy.copy(self)
        other.window, other.span = window, span
        return other
