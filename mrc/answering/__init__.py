"""Bulk answering on Ray: a unit of work in, a unit of answers out, each question answered exactly once.

    config.py      AnswerConfig; which settings make another run of it
    plan.py        what is named -> units, settings, fingerprints, without a cluster
    output.py      spans -> the predictions' columns
    best.py        the best row of each group, for many passages a question
    records.py     the commit of a unit, and the sums over all commits
    work.py        what is done with a unit
    stages.py      that as three steps: read and window, find spans, commit
    pipeline.py    units through the steps, by Ray Data
    isolate.py     the rows that end their process, found by halving
    duplicates.py  ids that stand in several units
    progress.py    the line that tells how far it is
    finish.py      the end: files checked, metrics, manifest, the mark of success
    run.py         all of it, from a plan to an outcome
    estimate.py    what a dry run tells

Data passes through them in about this order, and imports point upwards.
"""

from mrc.answering.config import AnswerConfig
from mrc.answering.estimate import estimate
from mrc.answering.finish import Outcome, summary
from mrc.answering.plan import CONFIGS, Plan, plan
from mrc.answering.run import run

__all__ = ["CONFIGS", "AnswerConfig", "Outcome", "Plan", "estimate", "plan", "run", "summary"]
