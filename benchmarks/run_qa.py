"""Hugging Face's run_qa recipe with all its defaults: the first of two that mrc's speed is measured against.

Written anew after its documentation, to do what `run_qa.py --do_predict` and `--do_train` do for those who run them:
`datasets` maps questions to windows padded to 384 tokens, `Trainer` reads them in float32, 8 at a time, and a loop in
Python tries the 20 best starts with the 20 best ends of each window. What it repeats and converts on the way is part of
what is measured, so none of it is made faster here. Only caches are off, since measurements repeat: run_qa's
`--overwrite_cache`. Answers go into a Parquet file, with the n best, where run_qa writes two files of JSON.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import transformers
from transformers import (
    AutoModelForQuestionAnswering,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    default_data_collator,
)

from benchmarks.run_qa_decoding import Entry, Floats, postprocess
from benchmarks.run_qa_features import train_features, validation_features
from mrc.examples import Example


class RunQA:
    """Answers questions as `run_qa.py --do_predict` does; its stages can be called one by one.

    Attributes:
        start_s: Seconds until model and tokenizer were loaded.
    """

    def __init__(
        self,
        model_folder: str,
        threads: int,
        *,
        version_2_with_negative: bool = False,
        null_score_diff_threshold: float = 0.0,
    ) -> None:
        """Load the model.

        Args:
            model_folder: A Hugging Face folder.
            threads: Of torch, for the whole process.
            version_2_with_negative: Whether a question may have no answer.
            null_score_diff_threshold: By how much the null answer has to be better then, in logits.
        """
        began = time.perf_counter()
        _prepare_process(threads)
        self._tokenizer = AutoTokenizer.from_pretrained(model_folder)
        self._nulls: dict[str, Any] = {
            "version_2_with_negative": version_2_with_negative,
            "null_score_diff_threshold": null_score_diff_threshold,
        }
        model = AutoModelForQuestionAnswering.from_pretrained(model_folder)
        with tempfile.TemporaryDirectory() as folder:  # which the Trainer makes, and predicting does not use
            self._trainer = _trainer(model, self._tokenizer, _arguments(folder))
        self.start_s = time.perf_counter() - began

    def windows(self, questions: datasets.Dataset) -> datasets.Dataset:
        """Cut questions into windows."""
        return _map(questions, validation_features, self._tokenizer)

    def forward(self, features: datasets.Dataset) -> tuple[Floats, Floats]:
        """Return start and end logits, shape (num_windows, 384) each."""
        predictions: Any = self._trainer.predict(features).predictions
        start, end = predictions
        return start, end

    def decode(
        self, questions: datasets.Dataset, features: datasets.Dataset, start: Floats, end: Floats
    ) -> tuple[dict[str, str], dict[str, list[Entry]]]:
        """Return answers and n-best lists, by id."""
        return postprocess(questions, features, start, end, **self._nulls)

    def predict_parquet(self, in_path: str, out_path: str) -> dict[str, float]:
        """Answer the questions of a Parquet file into another, and return the seconds of each stage."""
        seconds: dict[str, float] = {}
        with tempfile.TemporaryDirectory() as cache:
            with _timed(seconds, "read"):
                questions = datasets.load_dataset("parquet", data_files=in_path, split="train", cache_dir=cache)
            with _timed(seconds, "windows"):
                features = self.windows(questions)
            with _timed(seconds, "forward"):
                start, end = self.forward(features)
            with _timed(seconds, "decode"):
                answers, n_best = self.decode(questions, features, start, end)
        with _timed(seconds, "write"):
            columns = {"id": list(answers), "answer": list(answers.values()), "n_best": list(n_best.values())}
            pq.write_table(pa.table(columns), out_path)
        return seconds


def train(
    model_folder: str,
    examples: Sequence[Example],
    *,
    learning_rate: float,
    batch_size: int,
    seed: int,
    output_dir: str,
    epochs: float = 3.0,
    max_steps: int = -1,
    bf16: bool = False,
    threads: int | None = None,
) -> dict[str, Any]:
    """Fine-tune as `run_qa.py --do_train` does, and save the model.

    Args:
        model_folder: What to start from; its dropout stays as it is.
        examples: With gold answers, of which the first is learnt.
        learning_rate: The highest; it falls linearly to 0, with no warm-up.
        batch_size: Windows of a step.
        seed: Of a new head, the order and dropout.
        output_dir: Where the model is saved.
        epochs: How often each window is learnt.
        max_steps: Steps in place of epochs, where above 0.
        bf16: Whether to compute in bfloat16 where autocast does.
        threads: Of torch; by default as they are.

    Returns:
        `windows_s`, seconds to cut the windows; `train_s`, seconds of all steps; `samples_per_s`, windows a second in
        these; `losses`, one a step; `steps`; `windows`, how many there are to learn from.
    """
    _prepare_process(threads)
    transformers.set_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForQuestionAnswering.from_pretrained(model_folder)
    found: dict[str, Any] = {}
    with _timed(found, "windows_s"):
        features = _map(as_dataset(examples), train_features, tokenizer)
    arguments = _arguments(
        output_dir,
        learning_rate=learning_rate,
        per_device_train_batch_size=batch_size,
        num_train_epochs=epochs,
        max_steps=max_steps,
        seed=seed,
        bf16=bf16,
        logging_steps=1,
    )
    trainer = _trainer(model, tokenizer, arguments, train_dataset=features)
    metrics = trainer.train().metrics
    trainer.save_model()
    return found | {
        "train_s": metrics["train_runtime"],
        "samples_per_s": metrics["train_samples_per_second"],
        "losses": [row["loss"] for row in trainer.state.log_history if "loss" in row],
        "steps": trainer.state.global_step,
        "windows": len(features),
    }


def as_dataset(examples: Sequence[Example]) -> datasets.Dataset:
    """Return examples with the columns of SQuAD."""
    rows = [
        {
            "id": example.id,
            "question": example.question,
            "context": example.context,
            "answers": {
                "text": [answer.text for answer in example.answers or ()],
                "answer_start": [answer.start for answer in example.answers or ()],
            },
        }
        for example in examples
    ]
    return datasets.Dataset.from_list(rows)


def _map(questions: datasets.Dataset, features: Any, tokenizer: PreTrainedTokenizerBase) -> datasets.Dataset:
    return questions.map(
        features,
        fn_kwargs={"tokenizer": tokenizer},
        batched=True,
        remove_columns=questions.column_names,
        load_from_cache_file=False,
    )


def _arguments(output_dir: str, **changes: Any) -> TrainingArguments:
    return TrainingArguments(
        output_dir=output_dir,
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **changes,
    )


def _trainer(model: Any, tokenizer: PreTrainedTokenizerBase, arguments: TrainingArguments, **data: Any) -> Trainer:
    trainer = Trainer(model, arguments, data_collator=default_data_collator, processing_class=tokenizer, **data)
    trainer.remove_callback(PrinterCallback)  # which takes the place of a progress bar
    return trainer


def _prepare_process(threads: int | None) -> None:
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(threads or torch.get_num_threads())


@contextmanager
def _timed(seconds: dict[str, Any], stage: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - began
