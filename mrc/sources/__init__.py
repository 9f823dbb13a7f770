"""Where examples come from: files, Hugging Face data sets and the built-in sample, cut into units of work.

config.py    SourceConfig, the user's flags, and Unit, a range of rows
locate.py    what the user names -> files, data sets, samples
plan.py      -> units (parquet.py: footers; lines.py: text files; hub.py: data sets; builtin.py: the sample)
select.py    -> units of the first rows or of a seeded sample
read.py      a unit -> Example or Reject a row (records.py: the formats; rows.py: the columns)
product.py   a unit of documents and some questions -> Example or Reject a pair
split.py     hold out questions by whole articles or contexts
"""

from mrc.sources.config import (
    DocumentSource,
    PredictionSource,
    QuestionSource,
    ReferenceSource,
    SourceConfig,
    Unit,
    first_file,
)
from mrc.sources.parquet import read_batches
from mrc.sources.plan import DEFAULT_UNIT_ROWS, kept_fields, plan_units
from mrc.sources.product import PAIR_COLUMNS, Question, read_pairs, read_questions
from mrc.sources.read import read_records, read_unit
from mrc.sources.records import Malformed, Record
from mrc.sources.rows import check_columns, gold_pairs, kept_values, row_id_of
from mrc.sources.select import select_rows
from mrc.sources.split import GroupKeys, group_keys, split_by_group

__all__ = [
    "DEFAULT_UNIT_ROWS",
    "PAIR_COLUMNS",
    "DocumentSource",
    "GroupKeys",
    "Malformed",
    "PredictionSource",
    "Question",
    "QuestionSource",
    "Record",
    "ReferenceSource",
    "SourceConfig",
    "Unit",
    "check_columns",
    "first_file",
    "gold_pairs",
    "group_keys",
    "kept_fields",
    "kept_values",
    "plan_units",
    "read_batches",
    "read_pairs",
    "read_questions",
    "read_records",
    "read_unit",
    "row_id_of",
    "select_rows",
    "split_by_group",
]
