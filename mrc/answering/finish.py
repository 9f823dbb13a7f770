"""The end of a job: its files are checked, and what is told of the whole of it is written, the mark of success last."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from mrc import storage
from mrc.answering.best import PARTS, write_best
from mrc.answering.plan import Plan
from mrc.answering.records import RECORDS, Ledger
from mrc.errors import RunError
from mrc.metrics import METRICS_SCHEMA, metrics_row

SUCCESS = "_SUCCESS"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a finished job did; `manifest.json` holds it."""

    run_id: str
    created_at: str
    """When the job was done, ISO 8601 in UTC."""
    output: str
    rows: int
    """Questions of the input: `answered` plus all of `rejects`."""
    answered: int
    rejects: dict[str, int]
    """Rejected questions by reason."""
    units: int
    windows: int
    read_again: int
    """Questions that float32 read again, see `--exact`."""
    groups: int | None
    """Rows of best/."""
    scorer: str
    metrics: dict[str, float]
    """EM and F1 over the questions that have gold; empty where none has."""
    bad_files: dict[str, str]
    """Files that were left out, and what is wrong with them."""
    seconds: dict[str, float]
    """Of all tasks and actors together: reading, the model, writing."""
    config: dict[str, Any]


def finished(plan: Plan) -> Outcome | None:
    """Return the outcome of a job whose folder says that it is done."""
    if not storage.exists(plan.url(SUCCESS)):
        return None
    storage.remove(plan.url(PARTS))  # where its driver died right after
    return Outcome(**json.loads(storage.read_text(plan.url("manifest.json"))))


def finish(plan: Plan, ledger: Ledger) -> Outcome:
    """Write what is told of the whole job, its mark of success last."""
    names = [unit.name for unit in plan.units]
    plan.patiently(lambda: _check_files(plan, "predictions", names))
    plan.patiently(lambda: _check_files(plan, "rejects", ledger.rejecting))
    groups = None
    if plan.config.best_per is not None:
        groups = write_best(
            plan.config.output,
            names,
            plan.config.best_per,
            ledger.groups,
            timeout_s=plan.config.store_timeout_s,
        )
    now = datetime.now(UTC)
    run_id = f"{now:%Y%m%dT%H%M%SZ}-{plan.settings['model_fingerprint'][:8]}"
    outcome = Outcome(
        run_id=run_id,
        created_at=now.isoformat(timespec="seconds"),
        output=plan.config.output,
        rows=ledger.rows,
        answered=ledger.answered,
        rejects=dict(ledger.rejects.most_common()),
        units=len(names),
        windows=ledger.windows,
        read_again=ledger.read_again,
        groups=groups,
        scorer=plan.scorer,
        metrics=ledger.sums.result() if ledger.sums.total else {},
        bad_files=plan.bad_files,
        seconds={name: round(value, 3) for name, value in ledger.seconds.items()},
        config=plan.settings,
    )

    def write() -> None:
        if ledger.sums.total:
            row = metrics_row(
                ledger.sums,
                run_id=run_id,
                created_at=now,
                scorer=plan.scorer,
                model_fingerprint=plan.settings["model_fingerprint"],
                data_fingerprint=plan.settings["input_fingerprint"],
            )
            table = pa.Table.from_pylist([row], schema=METRICS_SCHEMA)
            storage.write_table(plan.url("metrics", "metrics.parquet"), table)
        storage.write_text(plan.url("manifest.json"), json.dumps(asdict(outcome), indent=2, ensure_ascii=False))
        storage.write_text(plan.url(SUCCESS), "")
        storage.remove(plan.url(PARTS))

    plan.patiently(write)
    return outcome


def _check_files(plan: Plan, folder: str, names: Iterable[str]) -> None:
    """Check that the files which units were committed with are there, and remove all others.

    Others are of an attempt that died before its record, and another one then had nothing to write there.

    Raises:
        RunError: Names a file that is gone.
    """
    there = set(storage.list_names(plan.url(folder)))
    wanted = {name + ".parquet" for name in names}
    if wanted - there:
        raise RunError(
            f"{plan.url(folder, min(wanted - there))} is gone though its unit was committed: remove its record "
            f"in {plan.url(RECORDS)}, and run the same command again"
        )
    for stray in there - wanted:
        storage.remove(plan.url(folder, stray))


def summary(outcome: Outcome) -> str:
    """Say in a few lines what a finished job did and where everything is."""
    rejected = sum(outcome.rejects.values())
    lines = [
        f"predictions  {storage.join(outcome.output, 'predictions')} ({outcome.answered:,} of {outcome.rows:,} "
        f"questions in {outcome.units:,} files)"
    ]
    if rejected:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in outcome.rejects.items())
        lines.append(f"rejects      {storage.join(outcome.output, 'rejects')} ({rejected:,}: {reasons})")
    if outcome.read_again:
        share = outcome.read_again / outcome.answered
        lines.append(f"read again   {outcome.read_again:,} questions in float32 ({share:.1%})")
    if outcome.groups is not None:
        lines.append(f"best         {storage.join(outcome.output, 'best')} ({outcome.groups:,} groups)")
    if outcome.metrics:
        figures = outcome.metrics
        lines.append(
            f"scores       exact match {figures['exact_match']:.2f}  F1 {figures['f1']:.2f}  by the {outcome.scorer} "
            f"rule on {figures['total']:,} questions with gold"
        )
    lines += [f"left out     {url}: {error}" for url, error in outcome.bad_files.items()]
    lines.append(f"manifest     {storage.join(outcome.output, 'manifest.json')}")
    return "\n".join(lines)
