"""How fast a reader learns: run_qa's recipe and mrc with the same hyper-parameters and dropout, interleaved.

    python -m benchmarks.training --model path/to/MiniLM --data path/to/xquad.en.json --steps 30 --rounds 3

Each round trains both on the same questions with a seed of its own. Samples are windows; start-up does not count. mrc
goes through Ray Train, in the precision that it chooses; run_qa's defaults are float32, padded to 384 tokens. What each
logs as its loss does not compare, since run_qa's softmax has the padding in it: both are judged by one function, on the
last questions of the file, which neither learns.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measuring import read_examples, table
from mrc.examples import Example
from mrc.launch import run_job, start_ray

_BATCH_SIZE = 16
_LEARNING_RATE = 1e-4
_HELD_OUT = 200
"""Questions at the end of the file."""


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of an encoder")
    parser.add_argument("--data", required=True, help="SQuAD-style file")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    examples = read_examples(arguments.data)
    learned, held_out = examples[:-_HELD_OUT], examples[-_HELD_OUT:]
    start_ray()
    competitors = {"run_qa": run_qa, "mrc": mrc}
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in competitors}
    for seed in range(arguments.rounds):
        for name, train in competitors.items():
            with tempfile.TemporaryDirectory(prefix="mrc-benchmark-") as folder:
                speed = train(arguments.model, arguments.data, learned, folder, arguments.steps, seed)
                rounds[name].append({"samples_per_s": speed, **judge(f"{folder}/model", held_out)})
            print(f"  {name}, seed {seed}: {rounds[name][-1]}", flush=True)
    print(table([_row(name, rounds) for name in competitors]))


def _row(name: str, rounds: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    speed, loss, f1 = ([figures[key] for figures in rounds[name]] for key in ("samples_per_s", "loss", "f1"))
    expected = statistics.median(figures["samples_per_s"] for figures in rounds["run_qa"])
    return {
        "": name,
        "samples/s": statistics.median(speed),
        "ratio to run_qa": round(statistics.median(speed) / expected, 2),
        "held-out loss, by seed": ", ".join(f"{value:.2f}" for value in loss),
        "held-out F1, by seed": ", ".join(f"{value:.1f}" for value in f1),
    }


def judge(model: str, examples: Sequence[Example]) -> dict[str, float]:
    """Return loss and F1 of a saved model in float32."""
    from mrc.pretrained import load_tokenizer
    from mrc.reader import Reader
    from mrc.training.store import LabelledWindows
    from mrc.training.validation import ValidationSet
    from mrc.windows import label_windows, make_windows

    reader = Reader.from_pretrained(model, precision="float32")
    windows, _ = make_windows(examples, load_tokenizer(model), reader.window)
    labelled = LabelledWindows(windows, *label_windows(windows, examples))
    found = ValidationSet(examples, labelled).score(reader, "squad", world_size=1)
    return {name: found[name] for name in ("loss", "f1")}


def run_qa(model: str, data: str, examples: Sequence[Example], folder: str, steps: int, seed: int) -> float:
    """Train with Hugging Face's Trainer, and return windows/s."""
    from benchmarks.run_qa import train

    result = train(
        model,
        examples,
        learning_rate=_LEARNING_RATE,
        batch_size=_BATCH_SIZE,
        seed=seed,
        output_dir=f"{folder}/model",
        max_steps=steps,
    )
    return float(result["samples_per_s"])


def mrc(model: str, data: str, examples: Sequence[Example], folder: str, steps: int, seed: int) -> float:
    """Train as jobs/train.py does, and return windows/s without the start of Python and Ray."""
    from mrc.sources import SourceConfig
    from mrc.spans import SpanConfig
    from mrc.training import TrainConfig, plan, run
    from mrc.windows import WindowConfig

    train = TrainConfig(
        model=model,
        output=folder,
        train_data=data,
        max_train_samples=len(examples),
        train_batch_size=_BATCH_SIZE,
        learning_rate=_LEARNING_RATE,
        warmup_ratio=0.0,
        weight_decay=0.0,
        max_steps=steps,
        logging_steps=1,
        seed=seed,
    )
    run(plan(train, SourceConfig(), WindowConfig(), SpanConfig()))
    lines = Path(folder, "logs", "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for line in lines if (row := json.loads(line))["kind"] == "train"]
    # The first steps make oneDNN's kernels; run_qa's are in its figure, over the same number of steps.
    return float(statistics.harmonic_mean(row["windows_per_s"] for row in rows))


if __name__ == "__main__":
    run_job(main)
