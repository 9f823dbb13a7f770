"""What a training run is told, and how it is told apart from another run."""

from dataclasses import dataclass
from typing import Any, Literal

from mrc.errors import UsageError
from mrc.metrics import ScorerChoice

# Fields that say where and how a run runs, not what it learns, and the temperature, which is fitted whatever is said: a
# run may be continued with others.
MAY_CHANGE = frozenset(
    {
        "output", "overwrite", "num_workers", "use_gpu", "cpus_per_worker", "max_failures", "wait_for_nodes",
        "max_batch_tokens", "logging_steps", "save_steps", "save_minutes",
        "temperature",
    }
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Fine-tuning of a reader."""

    model: str = "bert-base-multilingual-cased"
    """Where to start from: a folder that AutoModelForQuestionAnswering loads (a base encoder gets a fresh head), a
    T5-family model (its encoder is used), or a name on the Hugging Face hub."""
    train_data: str = "squad_kor_v1"
    """What to learn from: file, folder, glob or comma-separated list of them at any fsspec URL (SQuAD or KorQuAD JSON,
    JSON Lines, CSV, Parquet), the name of a Hugging Face data set, or sample://train, the built-in sample."""
    validation_data: str | None = None
    """What to validate on, in the same forms. Default: `validation_split` of the training data where that is above 0,
    else the `validation` split of a Hugging Face data set."""
    validation_split: float = 0.0
    """Share of the training questions that is held out for validation, 0 to 1. No context is in both parts."""
    split_by: Literal["article", "context"] = "article"
    """What `validation_split` keeps together: all contexts of an article (its title), or only each context."""
    output: str = "out"
    """Folder for all results, at any fsspec URL: model/, checkpoints/, windows/, rejects/, logs. The same command with
    the same folder continues a run that was cut short."""
    overwrite: bool = False
    """Start over where the output folder holds another run; what it holds is deleted."""
    max_train_samples: int | None = None
    """Learn from this many questions only: the first ones, or a random draw where `sample_seed` is given."""
    max_eval_samples: int | None = None
    """Validate on this many questions only."""
    sample_seed: int | None = None
    """Seed of the draw of `max_train_samples` and `max_eval_samples`. Default: take the first ones."""
    max_reject_share: float = 0.1
    """Stop before training where more than this share of the rows is rejected, 0 to 1."""
    windows_without_answer: Literal["null", "ignore"] = "null"
    """What a training window that does not hold its question's answer teaches: that the answer is at the null position
    (CLS), as run_qa does, or nothing, so that it is left out. Unanswerable questions always teach the null position."""
    learning_rate: float = 2e-5
    """Peak learning rate of AdamW."""
    num_train_epochs: float = 3.0
    """Passes over the training windows; a fraction ends inside an epoch."""
    max_steps: int | None = None
    """Stop after this many optimizer steps, whatever `num_train_epochs` says."""
    train_batch_size: int = 16
    """Windows of one optimizer step, over all workers."""
    max_batch_tokens: int = 8192
    """Tokens, padding included, of one forward and backward pass of a worker. A step of more is accumulated from
    several passes; what is learned does not depend on it."""
    weight_decay: float = 0.01
    """Decoupled weight decay of AdamW; biases and layer norms have none."""
    warmup_ratio: float = 0.1
    """Share of the steps over which the learning rate rises from 0 to its peak; then it falls to 0, both linearly."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm where theirs is larger."""
    dropout: float | None = None
    """Sets every dropout probability of the model, 0 to 1. Default: the model's own."""
    seed: int = 42
    """Seed of the new head, the order of windows and dropout."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the passes; weights and optimizer stay in float32. `auto` is bfloat16 where the hardware computes
    in it, else float16 on a GPU and float32 on a CPU."""
    eval_steps: int | None = None
    """Validate every so many optimizer steps. Default: at the end of each epoch. The last step always validates."""
    eval_on_start: bool = False
    """Validate before the first step, too, to see what training adds."""
    save_minutes: float = 10.0
    """Write a checkpoint where the last one is this old, in minutes; each validation writes one, too. At most this much
    work is lost when a worker, a node or the driver dies."""
    save_steps: int | None = None
    """Write a checkpoint every so many optimizer steps as well."""
    logging_steps: int = 50
    """Report progress every so many optimizer steps."""
    metric_for_best_model: Literal["f1", "exact_match", "loss"] = "f1"
    """Validation figure that decides which checkpoint becomes the model."""
    early_stopping_patience: int | None = None
    """Stop after this many validations without a better `metric_for_best_model`."""
    scorer: ScorerChoice = "auto"
    """Rule for EM and F1. `auto` is korquad where the validation questions are mostly Korean, else squad_v2 where some
    of them have no answer, else squad."""
    num_workers: int = 1
    """Data-parallel workers: one GPU each, or an equal part of a machine's CPU threads."""
    use_gpu: bool | None = None
    """Train on GPUs. Default: where the cluster has any."""
    cpus_per_worker: float = 0.5
    """Ray CPUs that a worker reserves. It is bookkeeping: a CPU worker computes with all the threads that are its share
    of the machine."""
    max_failures: int = 3
    """Restarts after the loss of a worker or a node, each from the last checkpoint, before the run fails."""
    wait_for_nodes: bool = False
    """Start although the cluster is too small now, because it scales up by itself."""

    def __post_init__(self) -> None:
        """Refuse values that no run can use. Raises UsageError naming the flag."""
        for name in ("train_batch_size", "max_batch_tokens", "logging_steps", "num_workers"):
            _check(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        for name in (
            "max_steps",
            "eval_steps",
            "save_steps",
            "max_train_samples",
            "max_eval_samples",
            "early_stopping_patience",
        ):
            value = getattr(self, name)
            _check(name, value, value is None or value >= 1, "at least 1, or leave it out")
        for name in ("learning_rate", "num_train_epochs", "max_grad_norm", "cpus_per_worker", "save_minutes"):
            _check(name, getattr(self, name), getattr(self, name) > 0, "above 0")
        for name in ("warmup_ratio", "max_reject_share"):
            _check(name, getattr(self, name), 0 <= getattr(self, name) <= 1, "a share from 0 to 1")
        _check("validation_split", self.validation_split, 0 <= self.validation_split < 1, "a share from 0 to below 1")
        _check("dropout", self.dropout, self.dropout is None or 0 <= self.dropout < 1, "from 0 to below 1")
        _check("weight_decay", self.weight_decay, self.weight_decay >= 0, "0 or more")
        _check("max_failures", self.max_failures, self.max_failures >= 0, "0 or more")


def _check(name: str, value: Any, holds: bool, expected: str) -> None:
    if not holds:
        raise UsageError(f"--{name} {value}: must be {expected}")
