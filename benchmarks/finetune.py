"""Real learning on real data: fine-tune through Ray Train, and print EM and F1 before and after, and the speed.

    python -m benchmarks.finetune korquad --model path/to/multilingual-encoder --data path/to/KorQuAD_v1.0_dev.json
    python -m benchmarks.finetune xquad --model path/to/MiniLM --data path/to/xquad.en.json

`korquad` holds out every fifth article (index % 5 == 4), so that its figures compare with those of a plain PyTorch
loop: batch 16, learning rate 1e-4, bfloat16, windows of like length together, no dropout, some 8,800 windows. It reads
as many windows, in smaller steps, and none without an answer. `xquad` holds out a fifth of the contexts, since the file
has few articles.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from mrc.launch import run_job, start_ray

RECIPES: dict[str, dict[str, Any]] = {
    "korquad": {
        "scorer": "korquad",
        "num_train_epochs": 1.92,
        "learning_rate": 1.5e-4,
        "train_batch_size": 8,
        "windows_without_answer": "ignore",
        "eval_steps": 10_000,
    },
    "xquad": {
        "scorer": "squad",
        "num_train_epochs": 4.0,
        "learning_rate": 1e-4,
        "validation_split": 0.2,
        "split_by": "context",
    },
}


def main() -> None:
    """Train, score before and after, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--model", required=True, help="folder of the encoder")
    parser.add_argument("--data", required=True, type=Path, help="SQuAD-style JSON file")
    parser.add_argument("--epochs", type=float, default=None, help="in place of the recipe's")
    parser.add_argument("--output", default=None, help="folder for the run; by default a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mrc-benchmark-") as scratch:
        output = arguments.output or f"{scratch}/run"
        print(measure(arguments.recipe, arguments.model, arguments.data, output, scratch, arguments.epochs))


def measure(name: str, model: str, data: Path, output: str, scratch: str, epochs: float | None) -> str:
    """Run a recipe and return its record as a Markdown table."""
    from mrc.sources import SourceConfig
    from mrc.spans import SpanConfig
    from mrc.training import TrainConfig, plan, run
    from mrc.windows import WindowConfig

    sides = hold_out_articles(data, Path(scratch)) if name == "korquad" else {"train_data": str(data)}
    flags = {"dropout": 0.0, "logging_steps": 20, "eval_on_start": True, **sides, **RECIPES[name]}
    if epochs is not None:
        flags["num_train_epochs"] = epochs
    train = TrainConfig(model=model, output=output, **flags)
    planned = plan(train, SourceConfig(), WindowConfig(), SpanConfig())
    start_ray()
    began = time.perf_counter()
    result = run(planned)
    minutes = (time.perf_counter() - began) / 60
    rows = [json.loads(line) for line in (Path(output) / "logs" / "metrics.jsonl").read_text().splitlines()]
    validations = [row for row in rows if row["kind"] == "validation"]
    windows_per_s = statistics.harmonic_mean(row["windows_per_s"] for row in rows if row["kind"] == "train")
    lines = ["| step | epoch | exact match | F1 | loss | validation seconds |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row['step']} | {row['epoch']:.2f} | {row['exact_match']:.2f} | {row['f1']:.2f} | {row['loss']:.3f} "
        f"| {row['seconds']:.0f} |"
        for row in validations
    ]
    return "\n".join(
        [
            f"{name}: {result.train_questions:,} training questions in {result.train_windows:,} windows, "
            f"{result.validation_questions:,} held-out questions, scorer {result.scorer}",
            "",
            *lines,
            "",
            f"{windows_per_s:.2f} windows/s in training; {minutes:.1f} minutes in all, with validation and start-up; "
            f"{os.cpu_count()} cores",
        ]
    )


def hold_out_articles(data: Path, folder: Path) -> dict[str, str]:
    """Write the articles with index % 5 == 4 and the others as files of their own, and return the flags naming them."""
    articles = json.loads(data.read_text(encoding="utf-8"))["data"]
    sides = {
        "train_data": [article for i, article in enumerate(articles) if i % 5 != 4],
        "validation_data": [article for i, article in enumerate(articles) if i % 5 == 4],
    }
    for side, chosen in sides.items():
        (folder / f"{side}.json").write_text(json.dumps({"data": chosen}, ensure_ascii=False), encoding="utf-8")
    return {side: str(folder / f"{side}.json") for side in sides}


if __name__ == "__main__":
    run_job(main)
