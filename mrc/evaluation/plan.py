"""What the user named -> a plan: units of both sides, run id, baseline, without a cluster."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from mrc import storage
from mrc.errors import UsageError
from mrc.evaluation.config import EvaluateConfig
from mrc.evaluation.table import METRICS, latest_run
from mrc.settings import resolved
from mrc.sources import PredictionSource, ReferenceSource, SourceConfig, Unit, plan_units, read_records
from mrc.storage import join

CONFIGS = (EvaluateConfig, SourceConfig)
"""What an evaluation reads its flags into; `plan` takes one of each, in this order."""

PER_QUESTION = "per_question"
UNIT_ROWS = 8_192

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An evaluation that can be carried out on a cluster."""

    config: EvaluateConfig
    run_id: str
    created_at: datetime
    references: tuple[Unit, ...]
    predictions: tuple[Unit, ...]
    baseline_files: tuple[str, ...]
    baseline: str | None
    """Its run id."""
    reference_source: ReferenceSource
    prediction_source: PredictionSource
    manifest: dict[str, Any]
    """Of the answering job that wrote the predictions; empty where they are another system's."""
    settings: dict[str, Any]
    """The resolved config, flat."""

    @property
    def num_references(self) -> int:
        """Rows of the references, bad ones with them."""
        return sum(unit.num_rows for unit in self.references)

    @property
    def folder(self) -> str:
        """The folder of this run."""
        return run_folder(self.config.output, self.run_id)

    @property
    def model_fingerprint(self) -> str | None:
        """Of the model that made the predictions, where that is known."""
        found: str | None = self.manifest.get("config", {}).get("model_fingerprint")
        return found

    def url(self, *names: str) -> str:
        """Return the URL of something in the run's folder."""
        return join(self.folder, *names)

    def patiently(self, operation: Callable[[], T]) -> T:
        """Return what an operation on the store gives, see `mrc.storage.persistently`."""
        return storage.persistently(operation, timeout_s=self.config.store_timeout_s)


def run_folder(output: str, run_id: str) -> str:
    """Return the folder of a run."""
    return join(output, "runs", run_id)


def settle(config: EvaluateConfig) -> tuple[EvaluateConfig, datetime]:
    """Return the config with absolute places and a run id, and the time that the run bears.

    Raises:
        UsageError: It is not said what to score, or the table has a run of this id.
    """
    config.check_sides()
    now = datetime.now(UTC)
    config = replace(
        config,
        model=config.model and storage.absolute(config.model),
        tokenizer=config.tokenizer and storage.absolute(config.tokenizer),
        output=storage.absolute(config.output, new=True),
        run_id=config.run_id or f"{now:%Y%m%dT%H%M%S.%fZ}",
    )
    assert config.run_id is not None
    if storage.exists(join(config.output, METRICS, f"{config.run_id}.parquet")) and not config.overwrite:
        raise UsageError(
            f"--run_id {config.run_id} is in the table of --output {config.output}: choose another one, or evaluate it "
            "again with --overwrite true"
        )
    return config, now


def plan(config: EvaluateConfig, source: SourceConfig, created_at: datetime) -> Plan:
    """Check and cut references and predictions.

    Args:
        config: As `settle` gave it, with `predictions` and `references`.
        source: Names the columns of the references.
        created_at: The time that the run bears.

    Raises:
        UsageError: Says what to change.
    """
    assert config.predictions is not None
    assert config.references is not None
    assert config.run_id is not None
    references, reference_units = plan_references(config.references, source, config.slice_columns)
    predictions = PredictionSource(id_column=config.prediction_id_column, answer_text_column=config.prediction_column)
    if config.tokenizer is not None:
        from mrc.pretrained import load_tokenizer  # imports torch, which the tasks do without

        with storage.local_copy(config.tokenizer) as folder:
            load_tokenizer(folder)
    places, manifest = _predictions_of(config.predictions)
    prediction_units = plan_units(places, predictions, unit_rows=UNIT_ROWS)
    baseline, files = _baseline(config)
    return Plan(
        config=config,
        run_id=config.run_id,
        created_at=created_at,
        references=tuple(reference_units),
        predictions=tuple(_whole_maps(prediction_units)),
        baseline=baseline,
        baseline_files=files,
        reference_source=references,
        prediction_source=predictions,
        manifest=manifest,
        settings=resolved(config, source),
    )


def plan_references(locations: str, source: SourceConfig, keep: Sequence[str]) -> tuple[ReferenceSource, list[Unit]]:
    """Cut the references into units, and look at the columns of the first.

    Raises:
        UsageError: There is no row, no gold, or not one of the columns to slice by.
    """
    references = ReferenceSource(**{**asdict(source), "require_answers": True})
    units = plan_units(locations, references, unit_rows=UNIT_ROWS)
    if not units:
        raise UsageError(f"the references in {locations} have no rows")
    next(read_records(replace(units[0], stop=units[0].start + 1), references, keep), None)
    return references, units


def _whole_maps(units: Sequence[Unit]) -> list[Unit]:
    """Return the units with one for all rows of a JSON file, which is read whole whichever rows are wanted."""
    whole = {unit.source: unit for unit in reversed(units) if unit.format == "json"}
    last = {unit.source: unit.stop for unit in units}
    return [unit for unit in units if unit.format != "json"] + [
        replace(unit, start=0, stop=last[source]) for source, unit in whole.items()
    ]


def _predictions_of(location: str) -> tuple[str, dict[str, Any]]:
    """Return where the predictions are, and the manifest of the answering job that wrote them."""
    folder = location.rstrip("/")
    if os.path.basename(folder) == "predictions":
        folder = os.path.dirname(folder) or "."
    if (
        "," in location
        or not storage.exists(join(folder, "predictions"))
        or not storage.exists(join(folder, "commits"))
    ):
        return location, {}
    if not storage.exists(join(folder, "_SUCCESS")):
        raise UsageError(f"--predictions {location}: the answering job there is not done; run it to its end first")
    return join(folder, "predictions"), json.loads(storage.read_text(join(folder, "manifest.json")))


def _baseline(config: EvaluateConfig) -> tuple[str | None, tuple[str, ...]]:
    """Return the run id of the baseline and its files; none where `last` names the first run of all.

    Raises:
        UsageError: There is no such run.
    """
    named = config.baseline
    if named == "last":
        named = latest_run(config.output, but=config.run_id)
    if named is None:
        return None, ()
    folder = named.rstrip("/") if "/" in named else run_folder(config.output, named)
    files = [name for name in storage.list_names(join(folder, PER_QUESTION)) if name.endswith(".parquet")]
    if not files:
        raise UsageError(
            f"--baseline {config.baseline}: {join(folder, PER_QUESTION)} has no file; name a run of the table"
        )
    return folder.rsplit("/", 1)[-1], tuple(join(folder, PER_QUESTION, name) for name in files)
