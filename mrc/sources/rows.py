"""One raw row -> an Example: the columns by the user's names, and the gold answers in each shape they come in."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mrc.errors import UsageError
from mrc.examples import Answer, Example
from mrc.sources.config import SourceConfig
from mrc.validation import RowError, check_answer, check_filled, check_flag, check_id, check_integer, check_text

_DEFAULTS = SourceConfig()


def choose_columns(columns: Sequence[str], where: str, config: SourceConfig, keep: Sequence[str] = ()) -> list[str]:
    """Return which of a file's columns are read, in the file's order; see `check_columns` for what is refused."""
    check_columns(columns, where, config, keep)
    wanted = {*(getattr(config, flag) for flag in config.column_flags()), *keep}
    return [column for column in columns if column in wanted]


def check_columns(columns: Iterable[str], where: str, config: SourceConfig, keep: Sequence[str] = ()) -> None:
    """Refuse a file that lacks a column as a whole, rather than each of its rows.

    Args:
        columns: The names of all columns of the file.
        where: The file, for the message.
        config: Names the columns; those it renames and those it `needs` have to be there, and gold if required.
        keep: Further columns that have to be there.

    Raises:
        UsageError: A column is absent; names the columns seen and the flag.
    """
    seen = list(columns)
    for flag in config.column_flags():
        name = getattr(config, flag)
        needed = flag in config.needs or name != getattr(_DEFAULTS, flag)
        if needed and name not in seen:
            named = f"--{config.flags.get(flag, flag)}"
            raise UsageError(f"{where} has no column {name!r}; name the right one with {named} ({_shown(seen)})")
    for name in keep:
        if name not in seen:
            raise UsageError(f"{where} has no column {name!r}, which --{config.keep_flag} names ({_shown(seen)})")
    if "answers_column" in config.column_flags():
        _check_gold_columns(seen, where, config)


def _check_gold_columns(seen: Sequence[str], where: str, config: SourceConfig) -> None:
    if config.answers_column in seen:
        return
    text, start = config.answer_text_column, config.answer_start_column
    if config.needs_offsets and text in seen and start not in seen:
        raise UsageError(
            f"{where} has answers in {text!r} but no offsets in {start!r}: an answer is never searched for, as it may "
            f"occur several times; name the column of offsets with --answer_start_column ({_shown(seen)})"
        )
    if config.require_answers and text not in seen:
        flags = "--answers_column, or --answer_text_column and --answer_start_column"
        raise UsageError(f"{where} has no gold answers, which are needed here; name them with {flags} ({_shown(seen)})")


def _shown(columns: Sequence[str]) -> str:
    return f"it has {', '.join(map(repr, columns[:30])) or 'no columns'}"


def parse_row(row: Mapping[str, Any], row_id: str, config: SourceConfig) -> Example:
    """Return the example that a row holds.

    Args:
        row: Column names to values, as the file gives them.
        row_id: The row's id, as `row_id_of` gives it.
        config: Names the columns and the unit of offsets.

    Raises:
        RowError: The row is no example; tells why.
    """
    question = parse_question(row, config)
    context = parse_context(row, config)
    answers = _answers(row, context, config)
    return Example(id=row_id, question=question, context=context, answers=answers, title=parse_title(row, config))


def parse_question(row: Mapping[str, Any], config: SourceConfig) -> str:
    """Return a row's question; raises RowError where it has none."""
    return check_filled(row.get(config.question_column), config.question_column, "empty_question")


def parse_context(row: Mapping[str, Any], config: SourceConfig) -> str:
    """Return a row's context; raises RowError where it has none, or a longer one than is taken."""
    name = config.context_column
    context = check_filled(row.get(name), name, "empty_context")
    if len(context) > config.max_context_chars:
        detail = f"{name} has {len(context)} characters; --max_context_chars is {config.max_context_chars}"
        raise RowError("context_too_long", detail)
    return context


def parse_title(row: Mapping[str, Any], config: SourceConfig) -> str | None:
    """Return a row's title, None where it has none; raises RowError where it is no text."""
    title = row.get(config.title_column)
    return None if title is None else check_text(title, config.title_column)


def kept_values(row: Mapping[str, Any], keep: Sequence[str], *, as_text: bool) -> tuple[Any, ...]:
    """Return a row's values of the columns that are carried through.

    Args:
        row: Column names to values, as the file gives them.
        keep: Names of the columns; a row of a file of lines may lack one, which is null then.
        as_text: Whether anything but a text or null becomes its JSON text, as where a file has no types.

    Raises:
        RowError: A text has bytes that are not UTF-8.
    """
    values = tuple(row.get(name) for name in keep)
    for name, value in zip(keep, values, strict=True):
        _check_texts(value, name)
    if not as_text:
        return values
    return tuple(
        value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values
    )


def _check_texts(value: Any, name: str) -> None:
    """Check the texts in a value, however deep they stand."""
    if isinstance(value, str):
        check_text(value, name)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_texts(item, name)
    elif isinstance(value, dict):
        for key, item in value.items():
            check_text(key, name)
            _check_texts(item, name)


def row_id_of(row: Mapping[str, Any], default_id: str, config: SourceConfig) -> str:
    """Return a row's id as text, the default where there is no id column; raises RowError where it cannot be used."""
    return check_id(row[config.id_column], config.id_column) if config.id_column in row else default_id


def _answers(row: Mapping[str, Any], context: str, config: SourceConfig) -> tuple[Answer, ...] | None:
    """Return a row's gold: answers, () where the context has none, None where the gold is not known."""
    pairs = gold_pairs(row, config)
    return None if pairs is None else tuple(_answer(context, text, start, config) for text, start in pairs)


def gold_pairs(row: Mapping[str, Any], config: SourceConfig) -> list[tuple[Any, Any]] | None:
    """Return the (text, offset) of each gold answer as the row gives them, unchecked.

    Returns:
        An empty list where the context has no answer, None where the gold is not known.

    Raises:
        RowError: The answers are of no known shape, or gold is required and there is none.
    """
    is_impossible = check_flag(row.get(config.is_impossible_column), config.is_impossible_column)
    # Data sets of SQuAD 2.0's kind list plausible answers of impossible questions here: they are not gold.
    pairs = [] if is_impossible else _answer_pairs(row, config)
    if is_impossible is False and not pairs:
        pairs = None
    if pairs is None and config.require_answers:
        raise RowError("no_answer", "the row has no gold answers")
    return pairs


def _answer(context: str, text: Any, start: Any, config: SourceConfig) -> Answer:
    offset = check_integer(start, "an answer's offset")
    return check_answer(context, check_text(text, "an answer's text"), offset, config.answer_offsets)


def _answer_pairs(row: Mapping[str, Any], config: SourceConfig) -> list[tuple[Any, Any]] | None:
    """Return the (text, offset) of each gold answer as the row gives them, None where it gives none."""
    gold = row.get(config.answers_column)
    if gold is None:
        gold = {"text": row.get(config.answer_text_column), "answer_start": row.get(config.answer_start_column)}
        gold = None if gold["text"] is None else gold
    if isinstance(gold, str):
        gold = _parsed(gold, config.answers_column)
    if gold is None:
        return None
    return _paired(gold) if isinstance(gold, dict) else [_pair(item) for item in _items(gold, config.answers_column)]


def _parsed(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RowError("wrong_type", f"{name} is a text that is not JSON: {error}") from None


def _paired(gold: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """Pair the parallel lists (or two single values) of {text: ..., answer_start: ...}."""
    texts, starts = gold.get("text"), gold.get("answer_start", gold.get("start"))
    if starts is None and isinstance(texts, list):
        starts = [None] * len(texts)
    if not isinstance(texts, list) and not isinstance(starts, list):
        return [(texts, starts)]
    texts, starts = _items(texts, "answers' text"), _items(starts, "answers' answer_start")
    if len(texts) != len(starts):
        raise RowError("wrong_type", f"answers have {len(texts)} texts and {len(starts)} offsets")
    return list(zip(texts, starts, strict=True))


def _items(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise RowError("wrong_type", f"{name} is {value!r:.80}, not a list")
    return value


def _pair(item: Any) -> tuple[Any, Any]:
    """Return (text, offset) of one answer, {text, answer_start} as SQuAD has it or {text, start} as mrc writes it."""
    if not isinstance(item, dict):
        raise RowError("wrong_type", f"an answer is {item!r:.80}, not an object")
    return item.get("text"), item.get("answer_start", item.get("start"))
