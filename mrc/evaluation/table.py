"""The table of evaluations: a Parquet file a run, in a schema that does not change from run to run.

A run's file is the last thing that it writes, so the table shows no run that died. Nothing is rewritten: two runs at a
time do not disturb each other, and any reader of Parquet data sets reads the folder as one table.
"""

from datetime import datetime

import pyarrow as pa

from mrc import storage
from mrc.evaluation.outcome import OVERALL, Evaluation, PastRun
from mrc.metrics import METRICS_SCHEMA, Sums, metrics_row
from mrc.storage import join

METRICS = "metrics"
_LONGEST_HISTORY = 100


def write_row(output: str, evaluation: Evaluation, created_at: datetime, sums: dict[tuple[str, str], Sums]) -> None:
    """Add a run to the table."""
    rows = [
        metrics_row(
            sums[one.slice_by, one.slice],
            run_id=evaluation.run_id,
            created_at=created_at,
            scorer=evaluation.scorer,
            model_fingerprint=evaluation.model_fingerprint,
            data_fingerprint=evaluation.data_fingerprint,
            slice_by=one.slice_by,
            slice_=one.slice,
            exact_match_interval=one.exact_match_interval,
            f1_interval=one.f1_interval,
        )
        for one in evaluation.slices
    ]
    table = pa.Table.from_pylist(rows, schema=METRICS_SCHEMA)
    storage.write_table(join(output, METRICS, f"{evaluation.run_id}.parquet"), table)


def past_runs(output: str, scorer: str | None = None) -> list[PastRun]:
    """Return the overall scores of the runs in the table, oldest first, at most a hundred.

    Args:
        output: The folder of all evaluations.
        scorer: Leave out the runs of other scorers.
    """
    names = [name for name in storage.list_names(join(output, METRICS)) if name.endswith(".parquet")]
    tables = storage.for_each(storage.read_table, [join(output, METRICS, name) for name in names])
    rows = [row for table in tables for row in table.slice(0, 1).to_pylist()]
    rows.sort(key=lambda row: (row["created_at"], row["run_id"]))
    return [
        PastRun(
            run_id=row["run_id"],
            created_at=row["created_at"].isoformat(timespec="seconds"),
            exact_match=row["exact_match"],
            f1=row["f1"],
            f1_interval=None if row.get("f1_low") is None else (row["f1_low"], row["f1_high"]),
        )
        for row in rows
        if row["slice_by"] == OVERALL and scorer in (None, row["scorer"])
    ][-_LONGEST_HISTORY:]


def latest_run(output: str, *, but: str | None = None) -> str | None:
    """Return the id of the newest run in the table but one, None where there is none."""
    return next((run.run_id for run in reversed(past_runs(output)) if run.run_id != but), None)
