"""From a config to a job: scoring is planned, or the answering that comes before it where there is only a model."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from mrc import answering, storage
from mrc.evaluation.config import EvaluateConfig
from mrc.evaluation.plan import Plan, plan, plan_references, run_folder, settle
from mrc.sources import SourceConfig


@dataclass(frozen=True, kw_only=True)
class Job:
    """An evaluation that can be carried out on a cluster."""

    config: EvaluateConfig
    """With absolute places and a run id."""
    source: SourceConfig
    created_at: datetime
    answers: answering.Plan | None
    """Of the answering that comes first; None where there are predictions."""
    scoring: Plan | None
    """None before the answering is done."""

    @property
    def plan(self) -> Plan:
        """The plan of the scoring."""
        assert self.scoring is not None
        return self.scoring


@storage.explained()
def prepare(config: EvaluateConfig, source: SourceConfig) -> Job:
    """Check all that can be checked without a cluster.

    Raises:
        UsageError: Says what to change.
    """
    config, created_at = settle(config)
    known: dict[str, Any] = {"config": config, "source": source, "created_at": created_at}
    if config.model is None:
        return Job(**known, answers=None, scoring=plan(config, source, created_at))
    assert config.input is not None
    assert config.run_id is not None
    # Hours of answers without gold to hold them against would be for nothing.
    plan_references(config.input, source, config.slice_columns)
    names = ("model", "input", "scorer", "precision", "num_actors", "use_gpu", "max_batch_tokens", "store_timeout_s")
    asked = answering.AnswerConfig(
        **{name: getattr(config, name) for name in names},
        output=f"{run_folder(config.output, config.run_id)}/answers",
        overwrite=config.overwrite,
        max_reject_share=1.0,  # a row that is not answered is a missing prediction, which scoring tells of
    )
    return Job(**known, answers=answering.plan(asked, source), scoring=None)


def answer_first(job: Job) -> Plan:
    """Answer, and return the plan of the scoring; answers that are there already are not made again."""
    assert job.answers is not None
    answering.run(job.answers)
    config = replace(
        job.config,
        predictions=job.answers.config.output,
        references=job.config.input,
        model=None,
        input=None,
        tokenizer=job.config.tokenizer or job.config.model,
    )
    return plan(config, job.source, job.created_at)
