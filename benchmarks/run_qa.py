"""Hugging Face's run_qa recipe with all its defaults: the first of two that mrc's speed is measured against.

Written anew after its documentation, to do what `run_qa.py --do_predict` and `--do_train` do for those who run them:
`datasets` maps questions to windows padded to 384 tokens, `Trainer` reads them in float32, 8 at a time, and a loop in
Python tries the 20 best starts with the 20 best ends of each window. What it repeats and converts on the way is part of
what is measured, so none of it is made faster here. Only caches are off, since measurements repeat: run_qa's
`--overwrite_cache`. Answers go into a Parquet file, with the n best, where run_qa writes two files of JSON.
"""

import collections
import operator
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import transformers
from transformers import (
    AutoModelForQuestionAnswering,
    AutoTokenizer,
    BatchEncoding,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    default_data_collator,
)

from mrc.examples import Example

MAX_SEQ_LENGTH = 384
DOC_STRIDE = 128
N_BEST_SIZE = 20
MAX_ANSWER_LENGTH = 30

Columns = Mapping[str, list[Any]]
Floats = npt.NDArray[np.float32]
Entry = dict[str, Any]
"""A line of the n-best list: text, start_logit, end_logit, probability."""


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


def validation_features(rows: Columns, tokenizer: PreTrainedTokenizerBase) -> BatchEncoding:
    """Return windows with the id of each one's question, and offsets that are None outside the context."""
    encoded = _cut(rows, tokenizer)
    encoded["example_id"] = [rows["id"][row] for row in encoded.pop("overflow_to_sample_mapping")]
    context = _context_index(tokenizer)
    encoded["offset_mapping"] = [
        [pair if part == context else None for pair, part in zip(pairs, encoded.sequence_ids(window), strict=True)]
        for window, pairs in enumerate(encoded["offset_mapping"])
    ]
    return encoded


def train_features(rows: Columns, tokenizer: PreTrainedTokenizerBase) -> BatchEncoding:
    """Return windows with the tokens at which the answer starts and ends, the CLS where it is not in the window."""
    encoded = _cut(rows, tokenizer)
    golds = [rows["answers"][row] for row in encoded.pop("overflow_to_sample_mapping")]
    offsets = encoded.pop("offset_mapping")
    labels = [_label(encoded, window, offsets[window], gold, tokenizer) for window, gold in enumerate(golds)]
    encoded["start_positions"] = [start for start, _ in labels]
    encoded["end_positions"] = [end for _, end in labels]
    return encoded


def postprocess(
    questions: datasets.Dataset,
    features: datasets.Dataset,
    start_logits: Floats,
    end_logits: Floats,
    *,
    version_2_with_negative: bool,
    null_score_diff_threshold: float,
) -> tuple[dict[str, str], dict[str, list[Entry]]]:
    """Return answers and n-best lists by id, as `postprocess_qa_predictions` of utils_qa.py makes them."""
    number = {identity: i for i, identity in enumerate(questions["id"])}
    windows = collections.defaultdict(list)
    for i, feature in enumerate(features):
        windows[number[feature["example_id"]]].append(i)
    answers: dict[str, str] = {}
    n_bests: dict[str, list[Entry]] = {}
    for i, question in enumerate(questions):
        found: list[Entry] = []
        nulls: list[Entry] = []
        for window in windows[i]:
            start, end = start_logits[window], end_logits[window]
            nulls.append(_entry((0, 0), start[0], end[0]))
            found += _candidates(start, end, features[window]["offset_mapping"])
        null = min(nulls, key=operator.itemgetter("score")) if version_2_with_negative else None
        n_best = _n_best(found, null, question["context"])
        n_bests[question["id"]] = n_best
        answers[question["id"]] = _answer(n_best, null, null_score_diff_threshold)
    return answers, n_bests


def _candidates(start: Floats, end: Floats, offsets: Sequence[Sequence[int] | None]) -> list[Entry]:
    """Return what the best starts and the best ends of a window make, without what is no span of the context."""
    starts = np.argsort(start)[-1 : -N_BEST_SIZE - 1 : -1].tolist()
    ends = np.argsort(end)[-1 : -N_BEST_SIZE - 1 : -1].tolist()
    found = []
    for first in starts:
        for last in ends:
            left, right = offsets[first], offsets[last]
            if left is None or right is None or last < first or last - first + 1 > MAX_ANSWER_LENGTH:
                continue
            found.append(_entry((left[0], right[1]), start[first], end[last]))
    return found


def _entry(characters: tuple[int, int], start: np.float32, end: np.float32) -> Entry:
    return {"offsets": characters, "score": start + end, "start_logit": start, "end_logit": end}


def _n_best(found: list[Entry], null: Entry | None, context: str) -> list[Entry]:
    """Return the best candidates with their texts and probabilities, the null answer among them where it may win."""
    nulls = [] if null is None else [dict(null)]
    best = sorted(found + nulls, key=operator.itemgetter("score"), reverse=True)[:N_BEST_SIZE]
    if not any(entry["offsets"] == (0, 0) for entry in best):
        best += nulls
    for entry in best:
        start, end = entry.pop("offsets")
        entry["text"] = context[start:end]
    if not best or (len(best) == 1 and not best[0]["text"]):
        best.insert(0, {"text": "empty", "start_logit": 0.0, "end_logit": 0.0, "score": 0.0})
    scores = np.array([entry.pop("score") for entry in best])
    weights = np.exp(scores - scores.max())
    for entry, probability in zip(best, weights / weights.sum(), strict=True):
        entry["probability"] = probability
    return [{key: value if key == "text" else float(value) for key, value in entry.items()} for entry in best]


def _answer(n_best: list[Entry], null: Entry | None, threshold: float) -> str:
    if null is None:
        return str(n_best[0]["text"])
    best = next((entry for entry in n_best if entry["text"]), None)
    if best is None or null["score"] - best["start_logit"] - best["end_logit"] > threshold:
        return ""
    return str(best["text"])


def _context_index(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return which of the two texts of a window the context is: the first where padding stands on the left."""
    return 1 if tokenizer.padding_side == "right" else 0


def _cut(rows: Columns, tokenizer: PreTrainedTokenizerBase) -> BatchEncoding:
    texts = [question.lstrip() for question in rows["question"]], rows["context"]
    context = _context_index(tokenizer)
    encoded: BatchEncoding = tokenizer(
        texts[1 - context],
        texts[context],
        truncation="only_second" if context == 1 else "only_first",
        max_length=min(MAX_SEQ_LENGTH, tokenizer.model_max_length),
        stride=DOC_STRIDE,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding="max_length",
    )
    return encoded


def _label(
    encoded: BatchEncoding,
    window: int,
    offsets: Sequence[tuple[int, int]],
    gold: Mapping[str, list[Any]],
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[int, int]:
    """Return the tokens between which the first gold answer stands.

    An answer that begins in the window's last token of the context starts, as in run_qa, in the row's last token: the
    offsets of what comes after the context are (0, 0), so the search for a later start runs through it.
    """
    ids = encoded["input_ids"][window]
    null = next((ids.index(token) for token in (tokenizer.cls_token_id, tokenizer.bos_token_id) if token in ids), 0)
    context = [k for k, part in enumerate(encoded.sequence_ids(window)) if part == _context_index(tokenizer)]
    if not gold["text"]:
        return null, null
    start, end = gold["answer_start"][0], gold["answer_start"][0] + len(gold["text"][0])
    if start < offsets[context[0]][0] or end > offsets[context[-1]][1]:
        return null, null
    after = next((k for k in range(context[0], len(ids)) if offsets[k][0] > start), len(ids))
    before = next(k for k in range(context[-1], -1, -1) if offsets[k][1] < end)
    return after - 1, before + 1


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
