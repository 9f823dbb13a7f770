"""Bulk answering written by hand in an hour, on Ray Data: the second of two that mrc's speed is measured against.

Questions are read from Parquet and answered 32 at a time by an actor that holds the model, windows padded to the
longest of a batch, in float32; the answers are written as Parquet. Nothing is sorted, packed, resumed or rejected.
"""

import time
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import ray
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

BATCH_SIZE = 32
"""Questions that are answered together, and windows that the model reads together."""

MAX_SEQ_LENGTH = 384
DOC_STRIDE = 128
N_BEST_SIZE = 20
MAX_ANSWER_LENGTH = 30

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


class Answerer:
    """The model, in an actor of its own."""

    def __init__(self, model_folder: str, threads: int) -> None:
        """Load the model; `threads` are torch's."""
        torch.set_num_threads(threads)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._tokenizer = AutoTokenizer.from_pretrained(model_folder)
        self._model = AutoModelForQuestionAnswering.from_pretrained(model_folder).to(self._device).eval()
        self._loaded_at = time.time()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return ids, answers and scores, and in each row when the model was loaded and the row was answered."""
        encoded = self._tokenizer(
            [question.lstrip() for question in batch["question"]],
            batch["context"].tolist(),
            truncation="only_second",
            max_length=MAX_SEQ_LENGTH,
            stride=DOC_STRIDE,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            padding=True,
            return_tensors="pt",
        )
        rows = encoded.pop("overflow_to_sample_mapping").tolist()
        offsets = encoded.pop("offset_mapping").numpy()
        starts, ends = self._logits(encoded)
        best = [("", -np.inf)] * len(batch["id"])
        for window, row in enumerate(rows):
            in_context = np.array([part == 1 for part in encoded.sequence_ids(window)])
            first, last, score = best_span(starts[window], ends[window], in_context)
            if score > best[row][1]:
                best[row] = batch["context"][row][offsets[window, first, 0] : offsets[window, last, 1]], score
        times = {"loaded_at": self._loaded_at, "answered_at": time.time()}
        return {
            "id": batch["id"],
            "answer": [answer for answer, _ in best],
            "score": [score for _, score in best],
            **{name: np.full(len(best), at) for name, at in times.items()},
        }

    @torch.inference_mode()
    def _logits(self, encoded: dict[str, torch.Tensor]) -> tuple[Floats, Floats]:
        parts = []
        for at in range(0, len(encoded["input_ids"]), BATCH_SIZE):
            inputs = {name: tensor[at : at + BATCH_SIZE].to(self._device) for name, tensor in encoded.items()}
            found = self._model(**inputs)
            parts.append((found.start_logits.cpu().numpy(), found.end_logits.cpu().numpy()))
        return np.concatenate([start for start, _ in parts]), np.concatenate([end for _, end in parts])


def best_span(start: Floats, end: Floats, in_context: npt.NDArray[np.bool_]) -> tuple[int, int, float]:
    """Return first and last token, and the score, of the best span that the top starts and ends of a window make.

    The score is -inf where they make none.
    """
    starts, ends = np.argsort(start)[: -N_BEST_SIZE - 1 : -1], np.argsort(end)[: -N_BEST_SIZE - 1 : -1]
    length = ends[None, :] - starts[:, None] + 1
    legal = (length > 0) & (length <= MAX_ANSWER_LENGTH) & in_context[starts][:, None] & in_context[ends][None, :]
    scores = np.where(legal, start[starts][:, None] + end[ends][None, :], -np.inf)
    first, last = np.unravel_index(scores.argmax(), scores.shape)
    return int(starts[first]), int(ends[last]), float(scores[first, last])


def answer(model_folder: str, in_path: str, out_folder: str, threads: int) -> dict[str, float]:
    """Answer the questions of a Parquet file into a folder of such, on the Ray cluster that runs.

    Args:
        model_folder: A Hugging Face folder.
        in_path: Rows with id, question and context.
        out_folder: Made anew.
        threads: Of the model, and the CPUs that its actor asks for; reading and writing need one CPU more.

    Returns:
        Seconds of what came one after the other: `start`, until the model was loaded; `answer`, until the last batch
        was answered; `write`, until the files were written.
    """
    began = time.time()
    questions = ray.data.read_parquet(in_path).select_columns(["id", "question", "context"])
    answers = questions.map_batches(
        Answerer,
        fn_constructor_args=(model_folder, threads),
        batch_size=BATCH_SIZE,
        compute=ray.data.ActorPoolStrategy(size=1),
        num_cpus=threads,
    )
    answers.write_parquet(out_folder)
    ended = time.time()
    times = pq.read_table(out_folder, columns=["loaded_at", "answered_at"])
    loaded, answered = (max(times[name].to_pylist()) for name in ("loaded_at", "answered_at"))
    return {"start": loaded - began, "answer": answered - loaded, "write": ended - answered}
