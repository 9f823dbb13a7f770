"""Where examples come from: files, Hugging Face data sets and the built-in sample, cut into units of work.

config.py    SourceConfig, the user's flags, and Unit, a range of rows
locate.py    what the user names -> files, data sets, samples
plan.py      -> units (parquet.py: footers; lines.py: text files; hub.py: data sets; builtin.py: the sample)
select.py    -> units of the first rows or of a seeded sample
read.py      a unit -> Example or Reject a row (records.py: the formats; rows.py: the columns)
product.py   a unit of documents and some questions -> Example or Reject a pair
split.py     hold out questions by whole articles or contexts
"""

from mrc.sources.config import DocumentSource, QuestionSource, SourceConfig, Unit
from mrc.sources.plan import DEFAULT_UNIT_ROWS, kept_fields, plan_units
from mrc.sources.product import PAIR_COLUMNS, Question, read_pairs, read_questions
from mrc.sources.read import read_unit
from mrc.sources.select import select_rows
from mrc.sources.split import GroupKeys, group_keys, split_by_group

__all__ = [
    "DEFAULT_UNIT_ROWS",
    "PAIR_COLUMNS",
    "DocumentSource",
    "GroupKeys",
    "Question",
    "QuestionSource",
    "SourceConfig",
    "Unit",
    "group_keys",
    "kept_fields",
    "plan_units",
    "read_pairs",
    "read_questions",
    "read_unit",
    "select_rows",
    "split_by_group",
]
