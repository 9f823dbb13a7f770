"""Fine-tuning on Ray: questions -> windows -> workers -> a model folder with its scores.

    config.py       TrainConfig; which settings make another run of it
    data.py         what is named -> units to train and to validate on
    prepare.py      units -> windows in Arrow files, by Ray Data
    store.py        those files, mapped into memory
    schedule.py     which windows a step learns from, at which rate, as pure functions
    feed.py         steps -> batches on the device
    meter.py        loss and speed between two lines of progress
    signals.py      the wish to stop and the clock, for all workers alike
    assignment.py   what the driver tells the workers
    loop.py         what each worker of Ray Train does
    validation.py   EM, F1 and loss, by the code that answers
    checkpoints.py  whole or not there
    progress.py     console, metrics.jsonl, TensorBoard
    room.py         whether the workers fit on the cluster, and what they wait for
    supervise.py    the driver while workers train: progress, signals, failures
    card.py         the model card
    run.py          all of it, from a plan to a result

Data passes through them in about this order, and imports point upwards.
"""

from mrc.training.config import TrainConfig
from mrc.training.room import check_cluster
from mrc.training.run import CONFIGS, Plan, Result, plan, run, summary

__all__ = ["CONFIGS", "Plan", "Result", "TrainConfig", "check_cluster", "plan", "run", "summary"]
