"""How fast a reader learns: run_qa's recipe and mrc with the same hyper-parameters and dropout, interleaved.

    python -m benchmarks.training --model path/to/MiniLM --data path/to/xquad.en.json --steps 30 --rounds 3

Each round trains both on the same questions with a seed of its own. Samples are windows; start-up does not count. mrc
goes through Ray Train, in the precision that it chooses; run_qa's defaults are float32, padded to 384 tokens.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measuring import table
from mrc.launch import run_job, start_ray

_BATCH_SIZE = 16
_LEARNING_RATE = 1e-4


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of an encoder")
    parser.add_argument("--data", required=True, help="SQuAD-style file")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    start_ray()
    competitors = {"run_qa": run_qa, "mrc": mrc}
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in competitors}
    for seed in range(arguments.rounds):
        for name, train in competitors.items():
            with tempfile.TemporaryDirectory(prefix="mrc-benchmark-") as folder:
                rounds[name].append(train(arguments.model, arguments.data, folder, arguments.steps, seed))
            print(f"  {name}, seed {seed}: {rounds[name][-1]}", flush=True)
    print(table([_row(name, rounds) for name in competitors]))


def _row(name: str, rounds: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    speed, loss = ([figures[key] for figures in rounds[name]] for key in ("samples_per_s", "loss"))
    expected = statistics.median(figures["samples_per_s"] for figures in rounds["run_qa"])
    return {
        "": name,
        "samples/s": statistics.median(speed),
        "ratio to run_qa": round(statistics.median(speed) / expected, 2),
        "loss of the last steps, by seed": ", ".join(f"{value:.2f}" for value in loss),
    }


def run_qa(model: str, data: str, folder: str, steps: int, seed: int) -> dict[str, float]:
    """Hugging Face's Trainer."""
    from benchmarks.run_qa import train
    from mrc.examples import Example
    from mrc.sources import SourceConfig, plan_units, read_unit

    source = SourceConfig()
    items = [item for unit in plan_units(data, source) for item in read_unit(unit, source)]
    result = train(
        model,
        [item for item in items if isinstance(item, Example)],
        learning_rate=_LEARNING_RATE,
        batch_size=_BATCH_SIZE,
        seed=seed,
        output_dir=folder,
        max_steps=steps,
    )
    return {"samples_per_s": result["samples_per_s"], "loss": statistics.mean(result["losses"][-steps // 3 :])}


def mrc(model: str, data: str, folder: str, steps: int, seed: int) -> dict[str, float]:
    """jobs/train.py, without the start of Python and Ray."""
    from mrc.sources import SourceConfig
    from mrc.spans import SpanConfig
    from mrc.training import TrainConfig, plan, run
    from mrc.windows import WindowConfig

    train = TrainConfig(
        model=model,
        output=f"{folder}/run",
        train_data=data,
        train_batch_size=_BATCH_SIZE,
        learning_rate=_LEARNING_RATE,
        warmup_ratio=0.0,
        weight_decay=0.0,
        max_steps=steps,
        logging_steps=1,
        seed=seed,
    )
    run(plan(train, SourceConfig(), WindowConfig(), SpanConfig()))
    lines = Path(folder, "run", "logs", "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for line in lines if (row := json.loads(line))["kind"] == "train"]
    # The first steps make oneDNN's kernels; run_qa's are in its figure, over the same number of steps.
    speed = statistics.harmonic_mean(row["windows_per_s"] for row in rows)
    return {"samples_per_s": speed, "loss": statistics.mean(row["loss"] for row in rows[-steps // 3 :])}


if __name__ == "__main__":
    run_job(main)
