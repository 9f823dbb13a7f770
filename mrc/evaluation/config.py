"""What an evaluation is told."""

import re
from dataclasses import dataclass
from typing import Literal

from mrc.errors import UsageError
from mrc.metrics import ScorerChoice

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Scoring answers."""

    predictions: str | None = None
    """Answers of any system: a folder that jobs/answer.py wrote, Parquet, JSON Lines or CSV files (a column of ids and
    one of answers), or a predictions.json that maps ids to answers; file, folder, glob or comma-separated list of them
    at any fsspec URL."""
    references: str | None = None
    """Questions with gold answers, in any form that training takes. Contexts are optional, and needed for intervals
    over contexts, some of the slices, and passages in the report."""
    model: str | None = None
    """Instead of `predictions`: a model folder, to answer `input` with first."""
    input: str | None = None
    """With `model`: what to answer and to score against, in place of `references`."""
    output: str = "evaluations"
    """Folder of all evaluations, at any fsspec URL: metrics/ is the table with a file a run, runs/ has the rest."""
    run_id: str | None = None
    """Name of this run in the table, such as the date in a nightly job, so that a retry is the same run. Default: the
    time and the fingerprint of what is scored."""
    overwrite: bool = False
    """Evaluate again where the table has this run."""
    scorer: ScorerChoice = "auto"
    """Rule for EM and F1. `auto`: korquad where the questions are mostly Korean, else squad_v2 where some of them have
    no answer, else squad."""
    prediction_id_column: str = "id"
    """Column of the id in `predictions`."""
    prediction_column: str = "answer"
    """Column of the answer in `predictions`; "" says that there is none."""
    null_odds: str | None = None
    """JSON file that maps ids to null score minus best score, as Hugging Face's run_qa writes it beside a
    predictions.json, for the best thresholds. Predictions of jobs/answer.py have it in them."""
    slice_by: str = ""
    """Columns of the references to score by as well, with commas between."""
    baseline: str | None = None
    """Compare with this run on the same questions: its run id in the table, `last` for the newest other one in it
    (none on the first night), or the URL of a run's folder. Its answers are scored anew, by the same rule."""
    metric: Literal["f1", "exact_match"] = "f1"
    """What `fail_if_drop` looks at."""
    fail_if_drop: float | None = None
    """With `baseline`: end with exit code 3 where `metric` is lower by more than this many percentage points and the
    95 % interval of the difference is below 0."""
    allow_mismatches: bool = False
    """Score although ids are missing, extra or repeated or rows are bad: a missing answer counts 0, of a repeated id
    the first row counts, and all are listed in mismatches/."""
    tokenizer: str | None = None
    """Model folder whose tokenizer's boundaries are compared with the gold answers'. Default: `model`."""
    num_examples: int = 20
    """Questions to show in the report, of each kind."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """With `model`: precision of the forward pass, see jobs/answer.py; so are the next three."""
    num_actors: int | None = None
    """Processes that hold the model."""
    use_gpu: bool | None = None
    """Answer on GPUs."""
    max_batch_tokens: int | None = None
    """Tokens of one forward pass."""
    store_timeout_s: float = 600.0
    """Seconds after which a request to the store is tried again, at most three times."""

    def __post_init__(self) -> None:
        """Refuse what no run can do. Raises UsageError naming the flag."""
        if self.run_id is not None and not _RUN_ID.fullmatch(self.run_id):
            raise UsageError(
                f"--run_id {self.run_id!r}: use letters, digits, '.', '_' and '-', a letter or digit first"
            )
        if self.fail_if_drop is not None and (self.baseline is None or self.fail_if_drop < 0):
            raise UsageError("--fail_if_drop needs a --baseline, and is a number of percentage points from 0")
        if self.num_examples < 0:
            raise UsageError(f"--num_examples is {self.num_examples}; give 0 or more")
        if self.store_timeout_s <= 0:
            raise UsageError(f"--store_timeout_s is {self.store_timeout_s}; give more than 0")

    def check_sides(self) -> None:
        """Refuse a command that does not name both sides. Raises UsageError."""
        pairs = ((self.model, self.input), (self.predictions, self.references))
        if [all(pair) for pair in pairs if any(pair)] != [True]:
            raise UsageError("give --predictions and --references, or --model and --input to answer first")

    @property
    def slice_columns(self) -> tuple[str, ...]:
        """The names in `slice_by`, each once."""
        return tuple(dict.fromkeys(name for part in self.slice_by.split(",") if (name := part.strip())))
