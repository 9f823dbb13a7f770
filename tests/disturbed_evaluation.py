"""An evaluation to disturb: its sides and its command, and whether it ended as one that nothing disturbed."""

import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

from tests.evaluations import predictions, references, write_shards
from tests.faults import url

RUN = "night"


def write_sides(folder: pathlib.Path) -> dict[str, str]:
    """Write references and predictions in several files each, and return their flags."""
    rows = references()
    write_shards(rows, folder / "golds", 4)
    write_shards(predictions(rows), folder / "predictions", 3, seed=1)
    return {"references": url(folder / "golds"), "predictions": url(folder / "predictions")}


def flags_of(sides: dict[str, str], output: pathlib.Path) -> list[str]:
    """Return the command's flags: all its folders lie in the faulty store."""
    values = {**sides, "output": url(output), "run_id": RUN, "store_timeout_s": 60}
    return [f"--{name}={value}" for name, value in values.items()]


def assert_same_evaluation(output: pathlib.Path, undisturbed: pathlib.Path) -> None:
    """Check that two evaluations have the same rows in the table, and the same questions."""
    tables = [
        pq.read_table(each / "metrics" / f"{RUN}.parquet").drop_columns("created_at") for each in (output, undisturbed)
    ]
    assert tables[0].equals(tables[1])
    questions = []
    for each in (output, undisturbed):
        files = sorted((each / "runs" / RUN / "per_question").glob("*.parquet"))
        questions.append(pa.concat_tables(map(pq.read_table, files)).sort_by("id"))
    assert questions[0].equals(questions[1])
