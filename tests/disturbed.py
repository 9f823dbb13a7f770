"""A job of bulk answering to disturb: its input, its command, and whether what it wrote is what it should be."""

import copy
import json
import pathlib
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tokenizers import Regex, normalizers
from transformers import PreTrainedTokenizerFast

from mrc.sample import iter_examples
from tests import faults
from tests.bulk import write_bulk_reader
from tests.tokenizers import tokenizer_of

FILES, FILE_ROWS, UNIT_ROWS = 3, 80, 20
ROWS, UNITS = FILES * FILE_ROWS, FILES * FILE_ROWS // UNIT_ROWS

HELD, DEADLY, PANICKING = "São", "Łódź", "x" * 40
"""Words at the ends of some contexts. The first two are one token each, the last is more than the tokenizer bears."""
HELD_ROW, DEADLY_ROW, PANICKING_ROW, BAD_ROW = 107, 47, 71, 150
"""Where those stand, and a row that is no question, counted over all files."""

_EXACT = ("id", "answer", "start", "end", "has_answer", "num_windows", "exact_match", "f1")
_NEAR = ("score", "probability", "null_score")


def token_of(word: str) -> str:
    """Return the number of a word that is one token, as `faults.Rule` takes it."""
    [number] = tokenizer_of("bert_cased")(word, add_special_tokens=False)["input_ids"]
    return str(number)


def write_models(folder: pathlib.Path) -> tuple[str, str]:
    """Write a tiny reader, and one that differs in that its tokenizer panics at `PANICKING`; return their paths."""
    settings = {"positions": 96, "max_seq_length": 96, "doc_stride": 24, "max_question_length": 40}
    sound, panicking = (write_bulk_reader(folder / name, **settings) for name in ("sound", "panicking"))
    own = tokenizer_of("bert_cased")
    backend = copy.deepcopy(own.backend_tokenizer)
    # Such expressions stand in tokenizers that people use, and the Rust code panics where one takes too many steps.
    backend.normalizer = normalizers.Sequence([backend.normalizer, normalizers.Replace(Regex("(x+x+)+y"), "y")])
    # Not of BERT's class, which makes a normalizer of its own.
    panics = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, model_input_names=own.model_input_names, **own.special_tokens_map
    )
    panics.save_pretrained(folder / "panicking")
    return sound, panicking


def write_questions(folder: pathlib.Path) -> list[str]:
    """Write the input, and return its ids."""
    rows = [
        {
            "id": example.id,
            "question": "" if row == BAD_ROW else example.question,
            "context": example.context,
            "answers": {
                "text": [answer.text for answer in example.answers or ()],
                "answer_start": [answer.start for answer in example.answers or ()],
            },
        }
        for row, example in enumerate(iter_examples("test", num_examples=ROWS))
    ]
    for row, word in ((HELD_ROW, HELD), (DEADLY_ROW, DEADLY), (PANICKING_ROW, PANICKING)):
        rows[row]["context"] = f"{rows[row]['context']} {word}"
    folder.mkdir()
    for number in range(FILES):
        part = rows[number * FILE_ROWS : (number + 1) * FILE_ROWS]
        pq.write_table(pa.Table.from_pylist(part), folder / f"{number}.parquet", row_group_size=UNIT_ROWS)
    return [str(row["id"]) for row in rows]


@dataclass(frozen=True)
class Run:
    """The output folder of a job, and the command for it."""

    model: str
    questions: pathlib.Path
    output: pathlib.Path

    def flags(self, **changes: object) -> list[str]:
        """Return the job's flags: its folders lie in the faulty store."""
        values = {
            "model": self.model,
            "input": faults.url(self.questions),
            "output": faults.url(self.output),
            "precision": "float32",
            "unit_rows": UNIT_ROWS,
            "n_best_size": 3,
            "scorer": "squad_v2",
            # Each is a start of torch more, which costs more than it reads.
            "num_actors": 1,
            **changes,
        }
        return [f"--{name}={value}" for name, value in values.items()]

    @property
    def committed(self) -> dict[str, int]:
        """The units that have a record, with the time at which their predictions were written, in nanoseconds."""
        names = [path.stem for path in (self.output / "commits").glob("*.json")]
        return {name: (self.output / "predictions" / f"{name}.parquet").stat().st_mtime_ns for name in names}

    @property
    def is_done(self) -> bool:
        return (self.output / "_SUCCESS").exists()

    @property
    def manifest(self) -> dict[str, object]:
        return dict(json.loads((self.output / "manifest.json").read_text()))

    def table(self, name: str) -> pa.Table:
        """Return all rows below a folder of the output, sorted by id."""
        paths = sorted((self.output / name).glob("*.parquet"))
        return pa.concat_tables(map(pq.read_table, paths)).sort_by("id")


def assert_exact(run: Run, undisturbed: Run, ids: Collection[str], *, rejected: Collection[str] = ()) -> None:
    """Check that a job answered every question once, and as an undisturbed one did.

    Args:
        run: The job.
        undisturbed: One that answered at least the same questions.
        ids: What the job was asked.
        rejected: What it has to reject beside those that the undisturbed one did.
    """
    assert run.is_done
    assert not (run.output / "_driver.json").exists()
    table, rejects = run.table("predictions"), run.table("rejects")
    assert sorted(table["id"].to_pylist() + rejects["id"].to_pylist()) == sorted(ids)
    bad = {*undisturbed.table("rejects")["id"].to_pylist(), *rejected}.intersection(ids)
    assert set(rejects["id"].to_pylist()) == bad
    expected = undisturbed.table("predictions")
    expected = expected.filter(pc.is_in(expected["id"], pa.array(set(ids) - bad)))
    assert table.select(_EXACT).equals(expected.select(_EXACT))
    for name in _NEAR:
        np.testing.assert_allclose(_numbers(table, name), _numbers(expected, name), rtol=0, atol=1e-4)
    manifest = run.manifest
    assert (manifest["rows"], manifest["answered"]) == (len(ids), len(table))
    if len(table) == len(undisturbed.table("predictions")):
        assert manifest["metrics"] == undisturbed.manifest["metrics"]


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    return np.asarray(table[name].to_numpy(zero_copy_only=False), dtype=np.float64)
