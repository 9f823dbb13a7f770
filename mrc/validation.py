"""What makes a row an example: each check passes, or raises a RowError with a reason that is counted and reported.

Nothing is repaired or guessed. An answer has to stand in its context at its own offset: searching for its text would
find another occurrence (in KorQuAD's dev set one answer in four occurs more than once in its context). Where the text
stands there once the offset is read in another unit, the reason says so.
"""

import contextlib
import json
from collections.abc import Mapping
from typing import Any, Literal, get_args

from mrc.examples import Answer, Reject

OffsetUnit = Literal["characters", "utf16", "bytes"]

REASONS: Mapping[str, str] = {
    "missing_value": "A required value is null, empty in a CSV file, or absent in this row.",
    "wrong_type": "A value is not of the type that its column needs.",
    "invalid_json": "The line is not one JSON object.",
    "invalid_csv": "The record breaks CSV's rules or has another number of cells than the header.",
    "invalid_utf8": "A text has bytes that are not UTF-8, or half of a surrogate pair.",
    "empty_question": "The question is empty or only white space.",
    "empty_context": "The context is empty or only white space.",
    "context_too_long": "The context has more characters than max_context_chars.",
    "duplicate_id": "An earlier row of the same unit has this id.",
    "no_answer": "Gold is required and the row has none.",
    "empty_answer": "A gold answer has no text; a question without an answer has no gold answers at all.",
    "answer_not_in_context": "The answer's text occurs nowhere in the context.",
    "answer_not_at_offset": "The answer's text occurs in the context, but not at its offset.",
    "answer_offset_in_characters": "The answer stands at its offset only when that counts characters.",
    "answer_offset_in_utf16_units": "The answer stands at its offset only when that counts UTF-16 code units.",
    "answer_offset_in_bytes": "The answer stands at its offset only when that counts UTF-8 bytes.",
    "bad_file": "The file is torn where the row stands, and is to be left out.",
    "ends_the_process": "The row ends or fails the process that reads it, alone, every time.",
    "question_too_long": "The question leaves too little room for the context in a window.",
    "no_tokens": "Neither the question nor the context gives the tokenizer anything to read.",
}
"""Why a row is rejected, when it is read or cut into windows: the code that is stored, and what it means."""

MAX_REJECT_CHARS = 10_000
"""How much of a rejected row's text is kept, in characters."""

_UNIT_REASONS: Mapping[OffsetUnit, str] = {
    "characters": "answer_offset_in_characters",
    "utf16": "answer_offset_in_utf16_units",
    "bytes": "answer_offset_in_bytes",
}
_ENCODINGS = {"utf16": ("utf-16-le", 2), "bytes": ("utf-8", 1)}
_MAX_EXACT_FLOAT = 2**53


class RowError(Exception):
    """A row is no example; caught where rows are read, and turned into a Reject.

    Attributes:
        reason: A key of REASONS.
        detail: What was seen.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def check_text(value: Any, name: str) -> str:
    """Return a text value, bytes decoded; raises RowError where it is null, no text, or no valid Unicode."""
    if value is None:
        raise RowError("missing_value", f"{name} is null or absent")
    text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
    if not isinstance(text, str):
        raise RowError("wrong_type", f"{name} is {_shown(value)}, not a text")
    if not text.isascii():
        _check_unicode(text, name)
    return text


def _check_unicode(text: str, name: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RowError(
            "invalid_utf8", f"{name} has {text[error.start]!a} at character {error.start}, which UTF-8 cannot hold"
        ) from None


def check_filled(value: Any, name: str, reason: str) -> str:
    """Return a text that has more than white space, unstripped; raises RowError with the reason otherwise."""
    text = check_text(value, name)
    if not text or text.isspace():
        raise RowError(reason, f"{name} is {text[:20]!r}")
    return text


def check_id(value: Any, name: str) -> str:
    """Return an id: a text as it is, an integer as its digits, and 12.0 as "12".

    (pandas turns a column of integers with a gap into floats. From 2**53 on these have lost digits: refused.)
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < _MAX_EXACT_FLOAT:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = check_text(value, name)
    if not text:
        raise RowError("missing_value", f"{name} is ''")
    return text


def check_integer(value: Any, name: str) -> int:
    """Return an integer, given as one, as an integral float, or as its decimal text."""
    if value is None:
        raise RowError("missing_value", f"{name} is null or absent")
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    with contextlib.suppress(ValueError):
        if isinstance(value, float | str) and float(value).is_integer():
            return int(float(value))
    raise RowError("wrong_type", f"{name} is {_shown(value)}, not an integer")


def check_flag(value: Any, name: str) -> bool | None:
    """Return a truth value, given as one, as 0 or 1, or as the text of either; None stays None."""
    if value is None:
        return None
    flag = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}.get(str(value).lower())
    if flag is None:
        raise RowError("wrong_type", f"{name} is {_shown(value)}, not true or false")
    return flag


def check_answer(context: str, text: str, offset: int, unit: OffsetUnit = "characters") -> Answer:
    """Return the answer that stands in the context at an offset counted in the given unit.

    Args:
        context: The original context.
        text: The answer.
        offset: Where the answer starts, in `unit`s of the context, from 0.
        unit: Characters (Python code points), UTF-16 code units (JavaScript, Java) or UTF-8 bytes (Rust, Go).

    Raises:
        RowError: The answer is empty or does not stand there.
    """
    if not text:
        raise RowError("empty_answer", f"an answer at offset {offset} has no text")
    start = _standing(context, text, offset, unit)
    if start is not None:
        return Answer(text=text, start=start)
    raise _offset_error(context, text, offset, unit)


def _standing(context: str, text: str, offset: int, unit: OffsetUnit) -> int | None:
    """Return the character at which the text stands when the offset counts `unit`s; None where it does not."""
    start = _to_characters(context, offset, unit)
    # A negative start would count from the end.
    return start if start is not None and start >= 0 and context.startswith(text, start) else None


def _to_characters(context: str, offset: int, unit: OffsetUnit) -> int | None:
    """Convert an offset to characters; None where it is outside the context or inside a character."""
    if unit == "characters" or context.isascii():
        return offset
    encoding, width = _ENCODINGS[unit]
    encoded = context.encode(encoding)
    if not 0 <= offset * width <= len(encoded):
        return None
    try:
        return len(encoded[: offset * width].decode(encoding))
    except UnicodeDecodeError:
        return None


def _offset_error(context: str, text: str, offset: int, unit: OffsetUnit) -> RowError:
    """Say why an answer that does not stand at its offset does not: the unit, a shift, or absence."""
    for other in get_args(OffsetUnit):
        if other != unit and _standing(context, text, offset, other) is not None:
            detail = f"{text[:80]!r} stands at {offset} counted in {other}; use --answer_offsets {other}"
            return RowError(_UNIT_REASONS[other], detail)
    if text not in context:
        return RowError("answer_not_in_context", f"{text[:80]!r}, expected at {offset}, is nowhere in the context")
    return RowError("answer_not_at_offset", _shift(context, text, offset, unit))


def _shift(context: str, text: str, offset: int, unit: OffsetUnit) -> str:
    """Describe how far from its offset an answer stands, to name an off-by-one; it is not repaired."""
    start = _to_characters(context, offset, unit)
    if start is None or start < 0:
        return f"{text[:80]!r} is elsewhere: its offset {offset} is outside the context or inside a character"
    before, after = context.rfind(text, 0, start + len(text)), context.find(text, start)
    nearest = min((at for at in (before, after) if at >= 0), key=lambda at: abs(at - start))
    side = "before" if nearest < start else "after"
    return f"the nearest {text[:80]!r} stands {abs(nearest - start)} character(s) {side} its offset {offset}"


def _shown(value: Any) -> str:
    return f"{value!r:.80} ({type(value).__name__})"


def reject_row(source: str, row: int, raw: Any, row_id: str | None, error: RowError) -> Reject:
    """Return the Reject of a row.

    Args:
        source: The file or data set.
        row: The row's number in it, from 0.
        raw: The row as it was read: a mapping, or the text of a line that could not be parsed.
        row_id: The id, where it could be read.
        error: What is wrong.
    """
    text = raw if isinstance(raw, str) else json.dumps(raw, ensure_ascii=False, default=_json_text)
    return Reject(
        source=source,
        row=row,
        id=row_id,
        reason=error.reason,
        detail=_writable(error.detail),
        text=_writable(text)[:MAX_REJECT_CHARS],
    )


def _json_text(value: Any) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _writable(text: str) -> str:
    """Spell what UTF-8 cannot hold as an escape, so that Arrow takes the text."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
