"""An evaluation as its driver sees it: read both sides, join and score them on the cluster, write what was found.

evaluations/metrics/<run>.parquet     a run's rows of the table; written last: the table shows finished runs only
            runs/<run>/per_question/  every question with its answer, scores and slices, as Parquet
                       mismatches/    ids that do not pair up and rows that could not be read, as Parquet
                       answers/       with --model, what jobs/answer.py leaves
                       report.html    one page, without anything from elsewhere
                       manifest.json  all that was found
                       config.yaml    the resolved config
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict

from mrc import storage
from mrc.errors import RunError
from mrc.evaluation.answers import Job, answer_first
from mrc.evaluation.exchange import scatter_baseline, scatter_predictions, scatter_references, score_all
from mrc.evaluation.finish import conclude, interval_text, mismatches_of, sums_of
from mrc.evaluation.outcome import Evaluation, Mismatches
from mrc.evaluation.parts import Parts
from mrc.evaluation.plan import PER_QUESTION, Plan
from mrc.evaluation.score import MISMATCHES
from mrc.evaluation.summing import Work
from mrc.evaluation.table import METRICS, write_row
from mrc.lease import NAME, lease
from mrc.metrics import fitting_scorer
from mrc.settings import write_settings
from mrc.sources import first_file
from mrc.storage import join
from mrc.tasks import check_seen

logger = logging.getLogger("mrc")

_MOST_VALUES = 50
_WORDS = {
    "missing": "references without a prediction",
    "extra": "predictions without a reference",
    "duplicate_references": "repeated ids of references",
    "duplicate_predictions": "repeated ids of predictions",
    "bad_references": "bad rows of references",
    "bad_predictions": "bad rows of predictions",
}
Render = Callable[[Evaluation], str]


@storage.explained()
def run(job: Job, render: Render) -> Evaluation:
    """Carry out a job on the cluster that Ray is connected to.

    Args:
        job: See `prepare`.
        render: Draws the report.

    Raises:
        UsageError: It cannot be done as asked, or another driver evaluates this run.
        RunError: Ids do not pair up, or the store failed.
    """
    planned = answer_first(job) if job.answers is not None else job.plan
    with lease(planned.folder) as check_lease:
        return _evaluate(planned, render, check_lease)


def _evaluate(planned: Plan, render: Render, check_lease: Callable[[], None]) -> Evaluation:
    began = time.perf_counter()
    _start_over(planned)
    planned.patiently(lambda: write_settings(planned.url("config.yaml"), planned.settings))
    files = {"references": first_file(planned.references), "predictions": first_file(planned.predictions)}
    check_seen(output=planned.url(NAME), **files)
    references, predictions = scatter_references(planned), scatter_predictions(planned)
    baseline = scatter_baseline(planned)
    facts = references.facts
    logger.info("read %s references and the predictions", f"{facts.questions:,}")
    scorer = planned.config.scorer
    if scorer == "auto":
        scorer = fitting_scorer(total=facts.questions, korean=facts.korean, unanswerable=facts.unanswerable)
    kept = tuple(frozenset(name for name, _ in _commonest(counter)) for counter in facts.values)
    work = Work(plan=planned, scorer=scorer, kept_values=kept)
    parts = score_all(work, references, predictions, baseline)
    parts.counts.update(bad_references=facts.bad, bad_predictions=predictions.facts.bad)
    _check_mismatches(planned, mismatches_of(parts))
    found = conclude(planned, scorer, facts, parts, time.perf_counter() - began)
    check_lease()
    planned.patiently(lambda: _write(planned, found, parts, render))
    return found


def _commonest(values: Counter[str]) -> list[tuple[str, int]]:
    """Return the values that get a slice of their own, by count and then by name, whatever order they came in."""
    return sorted(values.items(), key=lambda item: (-item[1], item[0]))[:_MOST_VALUES]


def _start_over(planned: Plan) -> None:
    """Remove what an earlier attempt at this run left, the row of the table first."""

    def remove() -> None:
        storage.remove(join(planned.config.output, METRICS, f"{planned.run_id}.parquet"))
        for name in ("manifest.json", "report.html", PER_QUESTION, MISMATCHES):
            storage.remove(planned.url(name))

    planned.patiently(remove)


def _check_mismatches(planned: Plan, found: Mismatches) -> None:
    """Refuse to tell a score of ids that do not pair up.

    Raises:
        RunError: Has the counts and where they are listed.
    """
    if not found.total:
        return
    told = ", ".join(f"{count:,} {_WORDS[name]}" for name, count in asdict(found).items() if count)
    if planned.config.allow_mismatches:
        logger.warning("%s, listed in %s", told, planned.url(MISMATCHES))
        return
    raise RunError(
        f"{told}, listed in {planned.url(MISMATCHES)}: correct them, or score with --allow_mismatches true, where a "
        "missing answer counts 0"
    )


def _write(planned: Plan, found: Evaluation, parts: Parts, render: Render) -> None:
    """Write all that is told of a run, its row of the table last."""
    storage.write_text(planned.url("report.html"), render(found))
    storage.write_text(planned.url("manifest.json"), json.dumps(asdict(found), indent=2, ensure_ascii=False))
    sums = {one: sums_of(parts, one) for one in parts.sums}
    write_row(planned.config.output, found, planned.created_at, sums)


def summary(found: Evaluation, output: str) -> str:
    """Say in a few lines what an evaluation found and where everything is."""
    overall = found.overall
    lines = [
        f"scores   exact match {overall.figures['exact_match']:.2f}{interval_text(overall.exact_match_interval)}  "
        f"F1 {overall.figures['f1']:.2f}{interval_text(overall.f1_interval)}  by the {found.scorer} rule on "
        f"{overall.figures['total']:,} questions"
    ]
    if found.comparison is not None and found.comparison.changes:
        change = found.comparison.changes[0]
        lines.append(
            f"change   F1 {change.f1:+.2f}{interval_text(change.f1_interval)} against {found.comparison.baseline}: "
            f"{found.comparison.won:,} questions won, {found.comparison.lost:,} lost"
        )
    folder = join(output, "runs", found.run_id)
    lines.append(f"report   {join(folder, 'report.html')}")
    lines.append(f"table    {join(output, METRICS, found.run_id)}.parquet")
    return "\n".join(lines)
