"""README's "Operations": each line that it quotes is one of mrc's, with that exit code, and its arithmetic adds up."""

import ast
import pathlib
import re
from typing import NamedTuple

import pytest

from mrc import errors
from mrc.answering.pipeline import ROUND_UNITS
from mrc.answering.plan import _UNIT_ROWS

ROOT = pathlib.Path(__file__).resolve().parents[1]
HOLE = "…"
RECORDS_S, START_S, UNIT_KIB = 18 / 100_000, 10, 1.9
"""Seconds a record of a resume, seconds a round's start, and the driver's memory for a unit, as the section says."""


class Line(NamedTuple):
    """A text of mrc's with holes in it, and the exit code where it is an error's."""

    text: str
    code: int | None


@pytest.fixture(scope="module")
def section() -> str:
    found = re.search(r"^## Operations\n(.*?)^## ", (ROOT / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def lines() -> list[Line]:
    """All texts of mrc's."""
    nodes = [
        node for path in (ROOT / "mrc").rglob("*.py") for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    ]
    raised = [
        Line(text, getattr(errors, node.func.id).exit_code)
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and hasattr(errors, node.func.id)
        if node.args and (text := text_of(node.args[0]))
    ]
    return raised + [Line(text, None) for node in nodes if isinstance(node, ast.expr) and (text := text_of(node))]


def text_of(node: ast.expr) -> str:
    """Return a text with a hole for each thing that is put into it; "" for any other expression."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%[sd]|\{\}", HOLE, node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) or HOLE for part in node.values)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        return text_of(node.func.value)
    return ""


def says(line: Line, quote: str) -> bool:
    """Tell whether a quote, whose holes may stand for more than one of the line's, is of a line."""
    pattern = ".*".join(re.escape(part) for part in quote.split(HOLE))
    return re.search(pattern, line.text) is not None


def table_after(section: str, head: str) -> list[list[str]]:
    """Return the cells of the table whose first line begins so."""
    rows = section[section.index(head) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_a_line_with_a_code_is_raised_with_that_code(section: str, lines: list[Line]) -> None:
    quoted = [
        (int(code), quote)
        for code, told, _ in table_after(section, "| code |")
        for quote in re.findall("`(.+?)`", told)
    ]
    assert len(quoted) > 15
    assert {code for code, _ in quoted} == {1, 2, 3}
    unknown = [
        (code, quote) for code, quote in quoted if not any(line.code == code and says(line, quote) for line in lines)
    ]
    assert not unknown


def test_a_line_of_a_job_that_goes_on_is_one(section: str, lines: list[Line]) -> None:
    going_on = section[section.index("While a job goes on") :].split("\n\n")[0].replace("\n", " ")
    quotes = [*re.findall("`(.+?)`", going_on), *re.findall("`(going on.*?)`", section)]
    assert len(quotes) > 4
    assert not [quote for quote in quotes if not any(says(line, quote) for line in lines)]


def number(text: str) -> float:
    """Return the quantity that a cell begins with: in units, MiB or seconds."""
    found = re.match(r"\**([\d.,]+)\**(?: (million|billion|GiB|min|h)\b)?", text)
    assert found, text
    scale = {"million": 1e6, "billion": 1e9, "GiB": 1_024, "min": 60, "h": 3_600}.get(found[2], 1)
    return float(found[1].replace(",", "")) * scale


def test_the_arithmetic_of_sizes_adds_up(section: str) -> None:
    rows = table_after(section, "| questions | `--unit_rows`")
    assert len(rows) == 4
    for questions, unit_rows, units, driver, records, rounds in rows:
        count = number(units)
        assert count == -(-number(questions) // number(unit_rows))
        assert number(driver) == pytest.approx(count * UNIT_KIB / 1_024, rel=0.1, abs=0.2)
        assert number(records) == pytest.approx(count * RECORDS_S, rel=0.1, abs=0.05)
        num_rounds, starts = rounds.split(", ")
        assert number(num_rounds) == -(-count // ROUND_UNITS)
        assert number(starts) == pytest.approx(number(num_rounds) * START_S, rel=0.1)
    assert number(rows[0][1]) == _UNIT_ROWS


def test_the_arithmetic_of_costs_adds_up() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    log = (ROOT / "benchmarks" / "LOG.md").read_text("utf-8")
    *measured, gpu = table_after(readme, "| on | questions/s")
    for _, speed, hours, price, cost in measured:
        assert f"| {number(speed)} |" in log
        assert number(hours) == pytest.approx(1e6 / number(speed) / 3_600, abs=0.01)
        assert number(cost) == pytest.approx(number(hours) * number(price), abs=0.01)
    assert "not measured" in gpu[1]
    per_r = 1e6 / 3_600 * number(gpu[3])
    assert number(gpu[4]) == pytest.approx(per_r, abs=0.5)
    for cost, speed in re.findall(r"([\d.]+) at ([\d,]+)", gpu[4]):
        assert float(cost) == pytest.approx(per_r / number(speed), abs=0.01)
