"""The same questions cut, spread and batched in many ways: are the predictions the same?

    python -m benchmarks.invariance --model path/to/reader --data path/to/KorQuAD_v1.0_dev.json --limit 600

The questions are read as JSON, and from 7 and 70 Parquet files, by 1 and 2 actors, with small and large token budgets.
Each outcome is compared with the first: ids, answers and positions have to be equal, and the largest difference of a
score is told. In bfloat16 rounding depends on how a batch is made up, so near ties may fall otherwise: it is counted.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measuring import read_examples
from mrc.launch import run_job, start_ray

VARIANTS: list[dict[str, Any]] = [
    {"files": 0, "num_actors": 1},
    {"files": 7, "num_actors": 1, "max_batch_tokens": 512},
    {"files": 70, "num_actors": 2, "max_batch_tokens": 8192},
    {"files": 0, "num_actors": 2, "unit_rows": 100, "max_batch_tokens": 1000},
]


def main() -> None:
    """Answer in each way, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a reader")
    parser.add_argument("--data", required=True, help="SQuAD-style JSON file")
    parser.add_argument("--limit", type=int, default=None, help="first questions only")
    parser.add_argument("--precision", default="float32")
    arguments = parser.parse_args()
    start_ray()
    print("| files | actors | tokens a batch | rows a unit | seconds | other answers | largest difference of a score |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="mrc-invariance-") as folder:
        first: pa.Table | None = None
        for number, variant in enumerate(VARIANTS):
            began = time.perf_counter()
            found = answer(arguments, f"{folder}/{number}", **variant)
            first = found if first is None else first
            others, difference = compare(first, found)
            budget, unit_rows = (variant.get(name, "default") for name in ("max_batch_tokens", "unit_rows"))
            print(
                f"| {variant['files'] or 'JSON'} | {variant['num_actors']} | {budget} | {unit_rows} "
                f"| {time.perf_counter() - began:.0f} | {others} of {len(found)} | {difference:.1e} |",
                flush=True,
            )


def answer(arguments: argparse.Namespace, folder: str, *, files: int, **flags: Any) -> pa.Table:
    """Answer the questions, cut into so many Parquet files (0: as they are); return predictions sorted by id."""
    from mrc.answering import AnswerConfig, plan, run
    from mrc.sources import SourceConfig

    data = arguments.data if not files else cut(arguments, Path(folder) / "input", files)
    config = AnswerConfig(
        model=arguments.model,
        input=data,
        output=f"{folder}/answers",
        limit=arguments.limit,
        precision=arguments.precision,
        **flags,
    )
    run(plan(config, SourceConfig()))
    return pq.read_table(f"{folder}/answers/predictions").sort_by("id")


def cut(arguments: argparse.Namespace, folder: Path, files: int) -> str:
    """Write the questions as Parquet files and return their folder."""
    from mrc.examples import examples_to_table

    examples = read_examples(arguments.data, arguments.limit)
    folder.mkdir(parents=True)
    for number in range(files):
        pq.write_table(examples_to_table(examples[number::files]), folder / f"{number:02d}.parquet")
    return str(folder)


def compare(first: pa.Table, other: pa.Table) -> tuple[int, float]:
    """Return how many answers differ, and the largest difference of a score."""
    assert first["id"].equals(other["id"]), "other ids"
    names = ("answer", "start", "end", "has_answer", "num_windows")
    differs = np.zeros(len(first), dtype=bool)
    for name in names:
        differs |= np.array(first[name].to_pylist(), dtype=object) != np.array(other[name].to_pylist(), dtype=object)
    scores = [np.array(table["score"].to_numpy(), dtype=np.float64) for table in (first, other)]
    return int(differs.sum()), float(np.abs(scores[0] - scores[1]).max())


if __name__ == "__main__":
    run_job(main)
