"""A training run as its driver sees it: check, prepare windows, train, and leave the model folder.

    out/config.yaml     the resolved config, which another run in this folder is compared with
        windows/        prepared windows, by side and fingerprint; deleted when the run is done
        rejects/        rows that are no examples, as Parquet, by side
        checkpoints/    the last and the best
        logs/           metrics.jsonl, TensorBoard events
        model/          the outcome
        result.json     written last: the run is done

A folder without result.json holds a run that the same command continues.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from mrc import storage
from mrc.errors import RunError, UsageError
from mrc.lease import NAME, lease
from mrc.metrics import fitting_scorer
from mrc.model_files import check_there
from mrc.settings import differences, read_settings, resolved, write_settings
from mrc.sources import SourceConfig, Unit, first_file
from mrc.spans import SpanConfig
from mrc.tasks import check_seen, living_nodes, while_ray_starts
from mrc.training import checkpoints
from mrc.training.assignment import Assignment
from mrc.training.card import model_card
from mrc.training.config import MAY_CHANGE, TrainConfig
from mrc.training.data import Data, hold_out, plan_data
from mrc.training.prepare import Preparation, UnitRecord, check_rejects, digest_of, fingerprint, prepare
from mrc.training.room import check_cluster
from mrc.windows import PairTokenizer, WindowConfig

logger = logging.getLogger("mrc")

CONFIGS = (TrainConfig, SourceConfig, WindowConfig, SpanConfig)
"""What a training job reads its flags into; `plan` takes one of each, in this order."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run that was checked as far as it can be without a cluster."""

    train: TrainConfig
    source: SourceConfig
    window: WindowConfig
    span: SpanConfig
    data: Data

    @property
    def config(self) -> dict[str, Any]:
        """The resolved config, flat, as `--config` reads it."""
        return resolved(self.train, self.source, self.window, self.span)

    def url(self, *names: str) -> str:
        """Return the URL of something in the output folder."""
        return storage.join(self.train.output, *names)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a finished run leaves behind; `result.json` holds it."""

    model: str
    """URL of the model folder."""
    steps: int
    """Optimizer steps done."""
    best_step: int
    """The step whose weights the model has."""
    scorer: str
    metrics: dict[str, Any]
    """Figures of the validation at that step; empty where nothing was validated."""
    train_questions: int
    train_windows: int
    validation_questions: int
    rejects: int


@storage.explained()
def plan(train: TrainConfig, source: SourceConfig, window: WindowConfig, span: SpanConfig) -> Plan:
    """Check what can be checked without a cluster: the output folder, the model, the data.

    Raises:
        UsageError: Says what to change.
    """
    # Tasks and workers have other working directories than the driver.
    train = replace(train, model=storage.absolute(train.model), output=storage.absolute(train.output, new=True))
    _check_folder(train, resolved(train, source, window, span))
    check_there(train.model)
    return Plan(train=train, source=source, window=window, span=span, data=plan_data(train, source))


@storage.explained()
def run(plan: Plan, start_ray: Callable[[], None] = lambda: None) -> Result:
    """Carry out a plan on the cluster that Ray is connected to; a run that is done already is only read.

    Args:
        plan: The run.
        start_ray: Connects to a cluster; called where there is anything to do.

    Raises:
        UsageError: The folder belongs to another driver, the model is none that can be trained, or it or the cluster is
            too small for what is asked.
        RunError: The run failed, or was asked to stop; the same command continues it.
    """
    if not plan.train.overwrite and storage.exists(plan.url("result.json")):
        logger.info("this run is done: %s", plan.url("result.json"))
        return Result(**json.loads(storage.read_text(plan.url("result.json"))))
    tokenizer = while_ray_starts(start_ray, partial(_load_pairs, plan.train.model))
    use_gpu = check_cluster(plan.train, living_nodes())
    with lease(plan.train.output) as check_lease:
        return _train(plan, tokenizer, use_gpu, check_lease)


def _train(plan: Plan, tokenizer: PairTokenizer, use_gpu: bool, check_lease: Callable[[], None]) -> Result:
    from mrc.training.supervise import supervise

    # A run that came to no checkpoint has nothing to keep: a mistake in its flags is mended with other flags.
    if _check_folder(plan.train, plan.config) or plan.train.overwrite:
        _start_over(plan)
    storage.persistently(lambda: write_settings(plan.url("config.yaml"), plan.config))
    data = {"train_data": first_file(plan.data.train), "validation_data": first_file(plan.data.validation)}
    check_seen(model=plan.train.model, output=plan.url(NAME), **data)
    if plan.data.holds_out:
        plan = replace(plan, data=hold_out(plan.data, plan.train))
    train, train_records = _prepare_side(plan, tokenizer, "train", plan.data.train, plan.data.train_source)
    validation, validation_records = _prepare_side(
        plan, tokenizer, "validation", plan.data.validation, plan.data.validation_source
    )
    if not validation:
        logger.warning("no validation data: the last weights become the model, without a score (--validation_data)")
    digests = {"train": digest_of(train_records), "validation": digest_of(validation_records)}
    _check_data(plan, digests)
    questions = sum(record.examples for record in train_records)
    windows = sum(record.windows for record in train_records)
    scorer = _scorer(plan, validation_records)
    supervise(
        Assignment(
            train=plan.train,
            window=plan.window,
            span=plan.span,
            scorer=scorer,
            train_windows=tuple(windows_url for windows_url, _ in train),
            validation_units=tuple(validation),
            data=digests,
            questions_per_window=questions / windows,
            checkpoints=plan.url("checkpoints"),
        ),
        use_gpu=use_gpu,
        check_lease=check_lease,
    )
    return _finish(
        plan,
        scorer=scorer,
        train_questions=questions,
        train_windows=windows,
        validation_questions=sum(record.examples for record in validation_records),
        rejects=sum(sum(record.rejects.values()) for record in [*train_records, *validation_records]),
    )


def _check_folder(config: TrainConfig, wanted: dict[str, Any]) -> list[str]:
    """Return what is set otherwise in the run that the output folder holds; nothing where it holds none.

    Raises:
        UsageError: That run has learned something, and is not to be started over.
    """
    there = read_settings(storage.join(config.output, "config.yaml"))
    other = [] if there is None else differences(there, wanted, MAY_CHANGE)
    if other and not config.overwrite and checkpoints.committed(storage.join(config.output, "checkpoints")):
        raise UsageError(
            f"--output {config.output} holds another run ({'; '.join(other)}): choose another folder, or start "
            "over with --overwrite true"
        )
    return other


def _start_over(plan: Plan) -> None:
    """Delete what a run writes, its outcome first, and nothing else: the output folder may be the wrong one."""
    for name in ("result.json", "config.yaml", "model", "checkpoints", "windows", "rejects", "logs"):
        storage.remove(plan.url(name))


def _load_pairs(model: str) -> PairTokenizer:
    """Load the tokenizer; import what the driver needs of torch, which takes most of the time."""
    import mrc.training.supervise  # noqa: F401
    from mrc.pretrained import load_pairs

    return load_pairs(model)


def _prepare_side(
    plan: Plan, tokenizer: PairTokenizer, side: str, units: Sequence[Unit], source: SourceConfig
) -> tuple[list[tuple[str, str]], list[UnitRecord]]:
    """Make the windows of one side; return the URLs of each unit's windows and examples, and the units' records."""
    stamps = [f"{unit.name} {storage.stamp(unit.source) if unit.is_file else ''}" for unit in units]
    without_answer = plan.train.windows_without_answer if side == "train" else "null"
    name = fingerprint(tokenizer.backend.to_str(), source, plan.window, without_answer, stamps)
    folder = plan.url("windows", side, name)
    if not storage.exists(folder):  # then what is there is of other data
        for other in ("windows", "rejects"):
            storage.persistently(partial(storage.remove, plan.url(other, side)))
    preparation = Preparation(
        side=side,
        folder=folder,
        rejects_folder=plan.url("rejects", side),
        tokenizer=tokenizer,
        source=source,
        window=plan.window,
        windows_without_answer=without_answer,
    )
    records = prepare(units, preparation)
    if units:
        check_rejects(
            records, max_share=plan.train.max_reject_share, side=side, rejects_folder=preparation.rejects_folder
        )
        questions, windows = sum(record.examples for record in records), sum(record.windows for record in records)
        logger.info("%s data: %s questions in %s windows", side, f"{questions:,}", f"{windows:,}")
    used = [unit for unit, record in zip(units, records, strict=True) if record.windows]
    urls = [(preparation.url(unit, "windows.arrow"), preparation.url(unit, "examples.arrow")) for unit in used]
    return urls, records


def _check_data(plan: Plan, digests: dict[str, str]) -> None:
    """Refuse to go on with other data than a checkpoint is of: its step would not be a place in this run."""
    found = checkpoints.committed(plan.url("checkpoints"))
    state = found[-1][1] if found else checkpoints.TrainState(step=0)
    for side, digest in digests.items():
        if state.data.get(side, digest) != digest:
            raise UsageError(
                f"the {'training' if side == 'train' else side} data is not what the run in {plan.train.output} began "
                f"with, which has a checkpoint of step {state.step:,}: bring that data back, choose another --output, "
                "or start over with --overwrite true"
            )


def _scorer(plan: Plan, records: Sequence[UnitRecord]) -> str:
    """Return the scorer asked for, or the one that fits the validation data."""
    if plan.train.scorer != "auto":
        return plan.train.scorer
    return fitting_scorer(
        total=sum(record.examples for record in records),
        korean=sum(record.korean for record in records),
        unanswerable=sum(record.unanswerable for record in records),
    )


def _finish(plan: Plan, *, scorer: str, **counts: int) -> Result:
    """Copy the best checkpoint's model to its place, describe it, and mark the run as done."""
    from mrc.pretrained import is_t5_family, load_config

    found = checkpoints.committed(plan.url("checkpoints"))
    if not found:
        raise RunError("stopped before the first checkpoint; the same command begins anew")
    if not found[-1][1].finished:
        step = found[-1][1].step
        raise RunError(f"stopped after step {step:,} with a checkpoint; the same command continues from there")
    state = found[-1][1]
    best_step = state.best_step or state.step
    best = next(url for url, candidate in found if candidate.step == best_step)
    metrics = next((row for row in state.evaluations if row["step"] == best_step), {})
    result = Result(
        model=plan.url("model"), steps=state.step, best_step=best_step, scorer=scorer, metrics=metrics, **counts
    )
    storage.persistently(lambda: storage.remove(plan.url("model")))
    with storage.local_copy(storage.join(best, "model")) as folder:
        is_t5 = is_t5_family(load_config(folder))
        storage.upload_tree(folder, plan.url("model"))

    def conclude() -> None:
        storage.write_text(plan.url("model", "README.md"), model_card(plan.config, asdict(result), is_t5=is_t5))
        storage.remove(plan.url("windows"))
        storage.write_text(plan.url("result.json"), json.dumps(asdict(result), indent=2))

    storage.persistently(conclude)
    return result


def summary(result: Result) -> str:
    """Say in a few lines what a finished run reached and where everything is."""
    output = result.model.rsplit("/", 1)[0]
    lines = [f"model    {result.model} (step {result.best_step:,} of {result.steps:,})"]
    if result.metrics:
        figures = result.metrics
        lines.append(
            f"scores   exact match {figures['exact_match']:.2f}  F1 {figures['f1']:.2f}  by the {result.scorer} rule "
            f"on {result.validation_questions:,} validation questions"
        )
    if result.rejects:
        lines.append(f"rejects  {result.rejects:,} rows in {storage.join(output, 'rejects')}")
    lines.append(f"logs     {storage.join(output, 'logs')}")
    return "\n".join(lines)
