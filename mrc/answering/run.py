"""An answering job as its driver sees it: hold the folder, answer what has no record yet, check, say that it is done.

answers/config.yaml     the resolved config with fingerprints of model and input, which another run is compared with
        predictions/    one Parquet file a unit
        rejects/        rows that were not answered, as Parquet
        metrics/        EM and F1 where gold is known, as Parquet
        best/           with --best_per, the best row of each group
        commits/        the record of each unit, written after its files
        manifest.json   config, totals, metrics
        _SUCCESS        written last: the job is done
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import ray

from mrc import storage
from mrc.answering.best import PARTS
from mrc.answering.config import MAY_CHANGE
from mrc.answering.duplicates import find_duplicates
from mrc.answering.finish import SUCCESS, Outcome, finish, finished
from mrc.answering.isolate import Isolation
from mrc.answering.pipeline import ROUND_UNITS, Failure, Shape, shape_of, stream
from mrc.answering.plan import Plan
from mrc.answering.progress import Progress
from mrc.answering.records import RECORDS, Ledger, UnitRecord
from mrc.answering.stages import UnitError
from mrc.answering.work import Order, Work, work_of
from mrc.errors import MrcError, RunError, UsageError
from mrc.lease import NAME, lease
from mrc.settings import differences, read_settings, write_settings
from mrc.sources import first_file
from mrc.tasks import check_seen, living_nodes, watched_nodes, while_ray_starts

logger = logging.getLogger("mrc")

_PASSES = 3
_RETRIES = 3
_LEAST_ROWS = 1_000
_MOST_ISOLATED = 100
_STORE_FAILURES = 16
_STORE_DOWN_S = 300.0
# As they are removed: at no moment do records, or a mark of success, stand for files that are gone, and while anything
# is left it is known of which run.
_WRITTEN = (
    RECORDS, SUCCESS, "manifest.json", "predictions", "rejects", "metrics", "best", PARTS, "config.yaml"
)  # fmt: skip


@storage.explained()
def run(plan: Plan, start_ray: Callable[[], None] = lambda: None) -> Outcome:
    """Carry out a plan on the cluster that Ray is connected to; a job that is done already is only read.

    Args:
        plan: The job.
        start_ray: Connects to a cluster; called where there is anything to do, and the folder is this job's.

    Raises:
        UsageError: The folder holds another run or belongs to another driver, the model is none that can be read, or
            the cluster is too small.
        RunError: Too many rows were rejected, or some units could not be answered; the same command goes on.
    """
    if not plan.config.overwrite:
        check_folder(plan)
        if done := finished(plan):
            logger.info("this job is done: %s", plan.url("manifest.json"))
            return done
    work = while_ray_starts(start_ray, partial(work_of, plan))
    shape = shape_of(plan.config, living_nodes(), len(plan.units))
    with lease(plan.config.output) as check_lease:
        if plan.config.overwrite:
            for name in _WRITTEN:
                storage.remove(plan.url(name))
        check_folder(plan)
        plan.patiently(lambda: write_settings(plan.url("config.yaml"), plan.settings))
        asked = "input" if plan.input.questions is None else "documents"
        check_seen(model=plan.config.model, output=plan.url(NAME), **{asked: first_file(plan.units)})
        ledger = _Answering(plan, replace(work, threads=shape.threads), shape, check_lease).run()
        return finish(plan, ledger)


def check_folder(plan: Plan) -> None:
    """Refuse a folder that another config, model or input has written to. Raises UsageError naming the difference."""
    there = read_settings(plan.url("config.yaml"))
    changed = differences(there, plan.settings, MAY_CHANGE) if there else []
    if changed:
        shown = "; ".join(changed).replace("--model_fingerprint", "model").replace("--input_fingerprint", "input")
        raise UsageError(
            f"--output {plan.config.output} holds another run ({shown}): choose another folder, or start over with "
            "--overwrite true"
        )


class _Answering:
    """The passes of a job over what has no record yet."""

    def __init__(self, plan: Plan, work: Work, shape: Shape, check_lease: Callable[[], None]) -> None:
        self._plan, self._shape, self._check_lease = plan, shape, check_lease
        self._units = {unit.name: Order(unit) for unit in plan.units}
        self._ledger = Ledger.read(plan.config.output, self._units, timeout_s=plan.config.store_timeout_s)
        self._progress = Progress(self._ledger, plan.num_questions)
        self._failures: dict[str, UnitError] = {}
        """Of the last pass, by the unit's name."""
        self._store_failures: list[float] = []
        """Times at which a unit failed because the store did, since one was done."""
        self._lost_by = "its process died"
        """Why units of the last pass are missing of which no failure is told."""
        self._stalled = False
        """Whether they waited in vain, as for nodes, so that nothing is known of their rows."""
        self._work = ray.put(work)

    def run(self) -> Ledger:
        """Answer all units and return the sum of their records."""
        if self._ledger.names:
            done, all_units = f"{len(self._ledger.names):,}", f"{len(self._units):,}"
            logger.info("going on: %s of %s units are done", done, all_units)
        self._skip_duplicates()
        for number in range(_PASSES):
            missing = self._missing()
            self._failures.clear()
            self._stalled = False
            for at in range(0, len(missing), ROUND_UNITS):
                # Not in the second pass, which is to tell what keeps dying.
                self._stream(missing[at : at + ROUND_UNITS], retries=0 if number == _PASSES - 2 else _RETRIES)
            if number == _PASSES - 2 and not self._stalled:
                self._isolate([order for order in self._missing() if not self._is_of_the_store(order)])
        self._check_rejects(final=True)
        self._check_complete()
        return self._ledger

    def _missing(self) -> list[Order]:
        return [order for name, order in self._units.items() if name not in self._ledger.names]

    def _stream(self, orders: Sequence[Order], *, retries: int) -> None:
        try:
            with watched_nodes(self._shape.lack):
                for outcome in stream(orders, self._work, self._shape, retries=retries):
                    self._take(outcome)
        except MrcError:
            raise
        except Exception as error:  # of Ray, as where it stalls: what has no record yet is for the next pass
            self._stalled |= isinstance(error, ray.data.exceptions.ExecutionTimeoutError)
            self._lost_by = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            logger.warning("Ray gave up; what is missing is tried again: %s", self._lost_by)

    def _take(self, outcome: UnitRecord | Failure) -> None:
        self._check_lease()
        if isinstance(outcome, Failure):
            self._note(outcome)
        else:
            self._store_failures.clear()
            self._ledger.add(outcome)
            self._check_rejects(final=False)
            self._progress.tell()

    def _note(self, failure: Failure) -> None:
        """Keep a failure that another attempt may not meet; raise any other.

        Raises:
            RunError: The store has failed for minutes: all other units would, one after the other.
        """
        if not isinstance(failure.error, UnitError):
            raise failure.error
        if failure.error.of_the_store:
            times = self._store_failures = [*self._store_failures, time.monotonic()]
            if len(times) >= _STORE_FAILURES and times[-1] - times[0] >= _STORE_DOWN_S:
                raise RunError(
                    f"the store failed {len(times):,} times without a unit that was done ({failure.error}); once it "
                    "answers, the same command goes on"
                )
        self._failures[failure.name] = failure.error
        logger.warning("unit %s failed, and is tried again: %s", failure.name, failure.error)

    def _is_of_the_store(self, order: Order) -> bool:
        failure = self._failures.get(order.unit.name)
        return failure is not None and failure.of_the_store

    def _skip_duplicates(self) -> None:
        if not self._plan.config.check_ids:
            return
        detail = ("duplicate_id", "the id stands in an earlier unit too")
        found = find_duplicates(self._plan.input, self._plan.units, self._plan.config.output)
        for number, items in found.items():
            unit = self._plan.units[number]
            self._units[unit.name] = Order(unit, dict.fromkeys(items, detail))

    def _isolate(self, lost: Sequence[Order]) -> None:
        """Find the rows that end their process, in each unit that was lost twice, to be rejected from now on."""
        if len(lost) > _MOST_ISOLATED:
            logger.warning("%d units were lost twice: too many for it to be their rows", len(lost))
            return
        with Isolation(self._work, self._shape) as isolation:
            for order in lost:
                self._check_lease()
                found = isolation.find(order, self._plan.input.num_questions(order.unit))
                self._units[order.unit.name] = order._replace(skip={**order.skip, **found})

    def _check_rejects(self, *, final: bool) -> None:
        """Stop where too large a share of the rows is rejected, as soon as that can be told.

        Raises:
            RunError: Tells the commonest reasons.
        """
        ledger, most = self._ledger, self._plan.config.max_reject_share
        is_telling = final or ledger.rows >= min(_LEAST_ROWS, self._plan.num_questions)
        if is_telling and ledger.rejected > most * ledger.rows:
            raise RunError(
                f"{ledger.rejected:,} of the first {ledger.rows:,} rows rejected ({ledger.reasons()}), more than "
                f"--max_reject_share {most}: is it the right column? The rows are in {self._plan.url('rejects')}"
            )

    def _check_complete(self) -> None:
        """Hold the invariant: every unit has a record, and every row was answered or rejected.

        Raises:
            RunError: Names the units that are missing, and why as far as it is known.
        """
        missing = self._missing()
        if missing:
            names = [order.unit.name for order in missing]
            causes = {str(self._failures[name]) for name in names if name in self._failures} or {self._lost_by}
            raise RunError(
                f"{len(missing):,} of {len(self._units):,} units could not be answered, such as {names[0]}: "
                f"{'; '.join(sorted(causes)[:3])}; the same command goes on with them"
            )
        ledger = self._ledger
        if not ledger.rows == ledger.answered + ledger.rejected == self._plan.num_questions:
            raise RunError(
                f"{self._plan.num_questions:,} rows went in, {ledger.answered:,} were answered and {ledger.rejected:,} "
                f"rejected: the records in {self._plan.url(RECORDS)} are damaged; start over with --overwrite true"
            )
