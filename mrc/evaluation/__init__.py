"""Offline evaluation on Ray: answers of any system against gold, with intervals, slices and a baseline.

    config.py       EvaluateConfig
    outcome.py      what is found, as plain data
    table.py        the table of evaluations, a file a run
    plan.py         what is named -> units of both sides, without a cluster
    reading.py      units of references -> tables of what scoring needs
    predictions.py  the same of predictions, whoever made them
    slices.py       into which slices a question falls
    parts.py        sums of everything, which merge in any order
    summing.py      scored questions -> their part of the sums
    score.py        one bucket of ids: joined and scored
    exchange.py     rows -> buckets, buckets -> parts, by Ray
    views.py        the questions that a report shows, with their passages
    compare.py      against a baseline; the gate
    finish.py       parts -> what is told
    answers.py      from a config to a job; answering before it, where there is only a model
    run.py          all of it, from a job to an Evaluation

Data passes through them in about this order, and imports point upwards.
"""

from mrc.evaluation.answers import prepare
from mrc.evaluation.compare import check_gate
from mrc.evaluation.config import EvaluateConfig
from mrc.evaluation.outcome import Evaluation
from mrc.evaluation.plan import CONFIGS
from mrc.evaluation.run import run, summary

__all__ = ["CONFIGS", "EvaluateConfig", "Evaluation", "check_gate", "prepare", "run", "summary"]
