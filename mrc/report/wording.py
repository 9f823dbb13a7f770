"""Numbers, intervals, times and findings in words, for page and charts alike."""

import re
from datetime import UTC, datetime

from mrc.evaluation.outcome import Interval, Mismatches, SliceChange

_REPEATS = "repeats an id, and is left out", "repeat an id, and are left out"

_HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]")


def count(number: float) -> str:
    """Return a whole number with commas: 5,774."""
    return f"{round(number):,}"


def figure(number: float, digits: int = 2) -> str:
    """Return a number with a minus sign, not a hyphen, which a line could break at."""
    text = f"{number:,.{digits}f}"
    # What rounds to zero from below has no sign.
    return text.replace("-", "−") if float(text.replace(",", "")) else text.removeprefix("-")


def signed(number: float, digits: int = 2) -> str:
    """Return a difference with its sign: +1.20, −0.31, ±0.00."""
    text = figure(number, digits)
    return text if text.startswith("−") else f"{'+' if float(text.replace(',', '')) else '±'}{text}"


def interval(limits: Interval | None, *, sign: bool = False) -> str:
    """Return an interval as "68.10 to 71.42", or a dash where there is none."""
    if limits is None:
        return "–"
    low, high = (signed(limit) if sign else figure(limit) for limit in limits)
    return f"{low} to {high}"


def share(part: float, whole: float) -> str:
    """Return a part in percent of the whole: "38 %"."""
    return f"{figure(100 * part / whole, 0)} %" if whole else "–"


def number_of(number: int, one: str, many: str) -> str:
    """Return a number with its noun in singular or plural: "1 row", "2 rows"."""
    return f"{count(number)} {one if number == 1 else many}"


def moment(created_at: str) -> str:
    """Return a time of ISO 8601 as "2026-03-14 09:26 UTC", and anything else as it is."""
    try:
        time = datetime.fromisoformat(created_at)
    except ValueError:
        return created_at
    return (time if time.tzinfo is None else time.astimezone(UTC)).strftime("%Y-%m-%d %H:%M UTC")


def day(created_at: str) -> str:
    """Return the date of such a time."""
    return moment(created_at).split(" ")[0]


def duration(seconds: float) -> str:
    """Return "4.2 s", "3 min 20 s" or "2 h 5 min"."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def title(name: str) -> str:
    """Return the name of a dimension or of a column as a heading: "question_type" is "Question type"."""
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def language(text: str) -> str:
    """Return "ko" for a text whose letters are Korean to a third, so that it is set and spoken as Korean; else ""."""
    letters = sum(map(str.isalpha, text))
    return "ko" if letters and 3 * len(_HANGUL.findall(text)) >= letters else ""


def excludes_zero(limits: Interval | None) -> bool:
    """Return whether a difference with this interval is one that chance does not explain."""
    return limits is not None and (limits[0] > 0 or limits[1] < 0)


def verdict(change: SliceChange) -> str:
    """Return in few words whether F1 changed."""
    if change.f1_interval is None:
        return "Too few contexts to tell"
    if not excludes_zero(change.f1_interval):
        return "No clear difference"
    return "Better" if change.f1 > 0 else "Worse"


def warnings(mismatches: Mismatches) -> list[str]:
    """Return a sentence for each way in which predictions and references do not pair up."""
    found = (
        (mismatches.missing, "question", "has no prediction, and scores 0", "have no prediction, and score 0"),
        (mismatches.extra, "prediction", "answers none of the questions", "answer none of the questions"),
        (mismatches.duplicate_references, "reference", *_REPEATS),
        (mismatches.duplicate_predictions, "prediction", *_REPEATS),
        (
            mismatches.bad_references,
            "reference",
            "has no id or gold, and is left out",
            "have no id or gold, and are left out",
        ),
        (
            mismatches.bad_predictions,
            "prediction",
            "cannot be read, and is left out",
            "cannot be read, and are left out",
        ),
    )
    return [
        f"{number_of(number, noun, f'{noun}s')} {one if number == 1 else many}."
        for number, noun, one, many in found
        if number
    ]
