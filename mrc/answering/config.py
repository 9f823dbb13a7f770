"""What bulk answering is told, and how it is told apart from another run."""

from dataclasses import dataclass
from typing import Any, Literal

from mrc.errors import UsageError
from mrc.metrics import ScorerChoice

# Fields that say where and how a run runs, not what it answers: a run may be continued with others.
MAY_CHANGE = frozenset(
    {
        "output", "overwrite", "dry_run", "num_actors", "use_gpu", "wait_for_nodes", "max_batch_tokens",
        "max_reject_share", "store_timeout_s",
    }
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class AnswerConfig:
    """Answering questions in bulk."""

    model: str = "out/model"
    """Model folder to answer with, at any fsspec URL, or a name on the Hugging Face hub."""
    input: str | None = None
    """Questions with their contexts: file, folder, glob or comma-separated list of them at any fsspec URL (Parquet,
    JSON Lines, CSV, SQuAD JSON), the name of a Hugging Face data set, or sample://test?num_examples=1000."""
    questions: str | None = None
    """Instead of `input`: questions to ask of every one of `documents`, in the same forms."""
    documents: str | None = None
    """The contexts that every one of `questions` is asked of, in the same forms."""
    question_id_column: str = "id"
    """Column of a question's id in `questions`; `id_column` is then a document's."""
    output: str = "answers"
    """Folder for all results, at any fsspec URL: predictions/, rejects/, metrics/, manifest.json, _SUCCESS. The same
    command with the same folder continues a run that was cut short."""
    overwrite: bool = False
    """Start over where the output folder holds another run; what that wrote is deleted."""
    limit: int | None = None
    """Answer this many rows only, the first ones; of a product, this many documents."""
    dry_run: bool = False
    """Check everything, print units, rows, model, plan and an estimate, and answer nothing."""
    keep_columns: str = ""
    """Columns of the input to carry through to the predictions, with commas between. Files of lines give them as
    text, Parquet files and data sets as they are."""
    best_per: str | None = None
    """Also write best/: of all rows with the same value in this column (one of `keep_columns`, document_id or
    question_id) the one with the best answer."""
    n_best_size: int | None = None
    """Candidate spans in the column n_best; 0 leaves the column out. Default: as many as the model's folder says."""
    max_seq_length: int | None = None
    """Most tokens in a window. This and the next five: by default what the model's folder says, from its training."""
    doc_stride: int | None = None
    """Overlap of neighbouring windows, in tokens of the context."""
    max_question_length: int | None = None
    """Questions are cut after this many tokens."""
    max_answer_length: int | None = None
    """Most tokens of an answer."""
    version_2_with_negative: bool | None = None
    """Whether a question may have no answer: the null answer then competes with the spans."""
    null_score_diff_threshold: float | None = None
    """The null answer wins where null score minus best score is greater, in logits. Training tunes it."""
    min_probability: float = 0.0
    """Answer nothing where the probability of the best span is lower, 0 to 1."""
    scorer: ScorerChoice = "auto"
    """Rule for EM and F1 where the input has gold answers. `auto` looks at the first rows: korquad where the questions
    are mostly Korean, else squad_v2 where some of them have no answer, else squad."""
    check_ids: bool = False
    """Read all ids first and reject each row whose id an earlier row of any unit has. Without it, an id that is
    repeated inside a unit is rejected, and one that is repeated in another unit is answered twice."""
    skip_bad_files: bool = False
    """Go on without files that are torn or not of their format; the manifest lists them."""
    max_reject_share: float = 0.1
    """Stop as soon as more than this share of the rows is rejected, 0 to 1."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the forward pass. `auto` is bfloat16 where the hardware computes in it, else float16 on a GPU and
    float32 on a CPU."""
    max_batch_tokens: int | None = None
    """Tokens, padding included, of one forward pass. Default: 32,768 on a GPU and 2,048 on a CPU."""
    exact: bool = False
    """Give float32's answers at nearly bfloat16's speed: read again in float32 where an answer is ahead of another by
    less than `exact_margin`."""
    exact_margin: float | None = None
    """With `exact`: least lead of an answer, in logits, that is not looked at again; over a span that shares an end
    with it, 0.7 times as much. Default: 5 times the rounding error of the model's leads on ten questions of the
    built-in sample."""
    unit_rows: int | None = None
    """Rows of a unit of work, which is committed as a whole and whose predictions are one file. Default: 2,048, and
    fewer where the input is too small for 16 units of that."""
    num_actors: int | None = None
    """Processes that hold the model. Default: one for each GPU, or where there is none, for each CPU that has 2 GiB of
    memory; no more than there are units."""
    use_gpu: bool | None = None
    """Answer on GPUs, one for each actor. Default: where the cluster has any."""
    wait_for_nodes: bool = False
    """Start although the cluster is too small now, because it scales up by itself."""
    store_timeout_s: float = 600.0
    """Seconds after which reading a unit or writing its files is tried again, at most three times."""

    def __post_init__(self) -> None:
        """Refuse values that no run can use. Raises UsageError naming the flag."""
        for name in ("limit", "max_batch_tokens", "num_actors", "unit_rows"):
            value = getattr(self, name)
            _check(name, value, value is None or value >= 1, "at least 1")
        _check("n_best_size", self.n_best_size, self.n_best_size is None or self.n_best_size >= 0, "0 or more")
        for name in ("min_probability", "max_reject_share"):
            _check(name, getattr(self, name), 0 <= getattr(self, name) <= 1, "a share from 0 to 1")
        _check("exact_margin", self.exact_margin, self.exact_margin is None or self.exact_margin > 0, "above 0")
        _check("store_timeout_s", self.store_timeout_s, self.store_timeout_s > 0, "above 0")

    @property
    def kept_columns(self) -> tuple[str, ...]:
        """The names in `keep_columns`, each once."""
        return tuple(dict.fromkeys(name for part in self.keep_columns.split(",") if (name := part.strip())))

    def reader_settings(self) -> dict[str, Any]:
        """Return the settings of the model's folder that are set otherwise here."""
        names = (
            "max_seq_length",
            "doc_stride",
            "max_question_length",
            "max_answer_length",
            "version_2_with_negative",
            "null_score_diff_threshold",
        )
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


def check_input(config: AnswerConfig) -> None:
    """Refuse a command that names no input, or two kinds of it. Raises UsageError."""
    is_product = config.questions is not None or config.documents is not None
    if is_product and (config.questions is None or config.documents is None):
        missing = "questions" if config.questions is None else "documents"
        raise UsageError(f"--{missing} is missing: every one of --questions is asked of every one of --documents")
    if is_product and config.input is not None:
        raise UsageError("--input and --questions with --documents are two kinds of input: give one of them")
    if not is_product and config.input is None:
        raise UsageError("no input: give --input, or --questions and --documents")


def _check(name: str, value: Any, holds: bool, expected: str) -> None:
    if not holds:
        raise UsageError(f"--{name} {value}: must be {expected}")
