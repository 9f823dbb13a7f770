"""The report: passages are marked to the letter, texts are inert, and the page stands alone, in light and dark."""

import itertools
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, TypeVar

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mrc.evaluation.outcome import (
    Calibration,
    Evaluation,
    KoreanAnalysis,
    QuestionView,
    SliceChange,
    SliceScore,
    Thresholds,
)
from mrc.report import passages, render, wording
from mrc.report.drawing import WIDTH, Chart, fit, house_style, text_width
from tests import report_data

INJECTED = (
    '\'"><script>alert(1)</script><img src=x onerror="alert(2)"><b style="color: #fe00ef">$x^$ --> {{ 7*7 }} &amp; 한'
)

Slice = TypeVar("Slice", SliceScore, SliceChange)

SECTIONS = {
    "warnings": "mismatches",
    "history": "history",
    "slices": "slices",
    "calibration": "calibration",
    "answerability": "answerability",
    "korean": "korean",
    "comparison": "comparison",
    "worst": "worst",
}
"""Sections that may be absent, and what of an evaluation each shows."""

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


class Page(HTMLParser):
    """The elements, ids, references, and the text of a page, and whether its elements are closed in order."""

    VOID = ("meta", "br", "img", "link", "input")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str | None]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def values(self, name: str) -> list[str]:
        return [value or "" for _, attribute, value in self.attributes if attribute == name]


@pytest.fixture(scope="module")
def rich() -> Evaluation:
    return report_data.rich()


@pytest.fixture(scope="module")
def page(rich: Evaluation) -> str:
    return render(rich)


# Passages


@st.composite
def passage_and_spans(draw: st.DrawFn) -> tuple[str, list[tuple[int, int]], tuple[int, int] | None]:
    passage = draw(st.text(alphabet=st.sampled_from("가나 ab\n😀"), max_size=400))
    place = st.integers(-3, len(passage) + 3)
    spans = draw(st.lists(st.tuples(place, place), max_size=8))
    return passage, spans, draw(st.none() | st.tuples(place, place))


@given(passage_and_spans(), st.integers(0, 300), st.integers(0, 30))
def test_pieces_are_the_kept_passage_marked_letter_by_letter(
    given_: tuple[str, list[tuple[int, int]], tuple[int, int] | None], whole: int, around: int
) -> None:
    passage, golds, answer = given_

    pieces = passages.excerpt(passage, golds, answer, whole=whole, around=around)

    stretches = "".join("\0" if piece.is_gap else piece.text for piece in pieces).split("\0")
    spans = [span for span in [*([answer] if answer else []), *golds] if max(span[0], 0) < min(span[1], len(passage))]
    inside = [(max(start, 0), min(end, len(passage))) for start, end in spans]
    kept = [(0, len(passage))] if len(passage) <= whole else passages.ranges(passage, inside, around)
    assert [stretch for stretch in stretches if stretch] == [passage[start:end] for start, end in kept if start < end]
    assert [piece.is_gap for piece in pieces if not piece.text] == [True] * sum(piece.is_gap for piece in pieces)
    letters = [(piece.is_gold, piece.is_answer) for piece in pieces for _ in piece.text]
    wanted = [
        (any(start <= place < end for start, end in golds), bool(answer and answer[0] <= place < answer[1]))
        for start, end in kept
        for place in range(start, end)
    ]
    assert letters == wanted


@given(passage_and_spans(), st.integers(0, 30))
def test_kept_ranges_are_apart_and_hold_the_edges_of_the_first_span(
    given_: tuple[str, list[tuple[int, int]], tuple[int, int] | None], around: int
) -> None:
    passage, spans, _ = given_
    inside = [(start, end) for start, end in spans if 0 <= start < end <= len(passage)]

    kept = passages.ranges(passage, inside, around)

    assert all(before[1] < after[0] for before, after in itertools.pairwise(kept))
    for edge in inside[0] if inside else ():
        assert any(start <= max(edge - around, 0) and min(edge + around, len(passage)) <= end for start, end in kept)


def test_long_passage_is_cut_around_what_is_marked() -> None:
    passage = "앞 이야기. " * 400 + "답은 서울이다. " + "뒷 이야기. " * 400
    start = passage.index("서울")

    pieces = passages.excerpt(passage, [(start, start + 2)], (start, start + 4))

    assert [piece.kind for piece in pieces if piece.kind] == ["gold answer", "answer"]
    assert pieces[0].is_gap
    assert pieces[-1].is_gap
    assert sum(len(piece.text) for piece in pieces) < 2 * (passages.AROUND + 25) + 4
    text = "".join(piece.text for piece in pieces)
    assert text.startswith((" ", "앞", "이야기"))  # no word is cut through


def test_middle_of_a_long_answer_is_left_out() -> None:
    passage = "".join(f"{number} " for number in range(5_000))

    pieces = passages.excerpt(passage, [], (100, 20_000))

    assert [piece.is_gap for piece in pieces].count(True) == 2
    assert sum(piece.is_answer for piece in pieces) == 2


def test_hundreds_of_gold_spans_are_shown_in_a_few_places() -> None:
    passage = "x" * 100_000

    pieces = passages.excerpt(passage, [(place, place + 1) for place in range(0, 100_000, 500)], None)

    assert sum(len(piece.text) for piece in pieces) < 6 * (2 * passages.AROUND + 50)


# The page


def inject(value: Any) -> Any:
    """Return the same with every text in it, at any depth, replaced by one that tries to break out."""
    if isinstance(value, str):
        return INJECTED
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: inject(getattr(value, one.name)) for one in fields(value)})
    return type(value)(map(inject, value)) if isinstance(value, tuple) else value


def hostile(evaluation: Evaluation) -> Evaluation:
    """Return an evaluation of which every text is INJECTED, slices apart from each other by a number."""
    injected: Evaluation = inject(evaluation)
    assert injected.comparison

    def view(one: QuestionView) -> QuestionView:
        return replace(one, passage=INJECTED * 30, gold_spans=((3, 40), (2000, 2010)), answer_span=(10, 1500))

    def apart(slices: tuple[Slice, ...]) -> tuple[Slice, ...]:
        named = (replace(one, slice_by=f"{INJECTED}{n // 40}", slice=f"{INJECTED}{n}") for n, one in enumerate(slices))
        return slices[:1] + tuple(named)[1:]

    comparison = replace(
        injected.comparison,
        changes=apart(injected.comparison.changes),
        won_examples=tuple(map(view, injected.comparison.won_examples)),
        lost_examples=tuple(map(view, injected.comparison.lost_examples)),
    )
    return replace(
        injected,
        slices=apart(injected.slices),
        worst=tuple(map(view, injected.worst)),
        comparison=comparison,
        config={INJECTED: {INJECTED: [INJECTED, 1, None]}},
    )


def test_texts_of_the_user_are_inert(rich: Evaluation) -> None:
    evil, honest = Page(render(hostile(rich))), Page(render(rich))

    assert not evil.open
    assert set(evil.tags) == set(honest.tags)
    assert not {"script", "img", "iframe", "object", "embed", "form", "base"} & set(evil.tags)
    assert {name for _, name, _ in evil.attributes} == {name for _, name, _ in honest.attributes}
    assert not [name for _, name, _ in evil.attributes if name.startswith("on")]
    assert all("script" not in value for value in evil.values("href") + evil.values("style") + evil.values("class"))
    # And they are all there, in charts, too, to the letter: no formula is read, no colour replaced.
    assert INJECTED[:20] in evil.text
    assert INJECTED in evil.text
    assert "49" not in evil.text.split(INJECTED)[0]
    assert honest.tags["svg"] == 1 + 5 + 1 + 1 + 1 + 1


@pytest.mark.parametrize("make", [report_data.rich, report_data.bare], ids=["rich", "bare"])
def test_page_needs_nothing_else(make: Any) -> None:
    text = render(make())
    parsed = Page(text)

    assert not {"link", "script", "img", "iframe"} & set(parsed.tags)
    assert not [
        value
        for name in ("src", "href", "xlink:href", "srcset")
        for value in parsed.values(name)
        if not value.startswith("#")
    ]
    assert "@import" not in text
    assert all(address.startswith("#") for address in re.findall(r"url\(\s*['\"]?([^)]*)", text))
    assert "default-src 'none'" in parsed.values("content")[-1]


def test_every_reference_within_the_page_has_one_target(page: str) -> None:
    parsed = Page(page)
    ids = Counter(parsed.values("id"))
    used = {value[1:] for value in parsed.values("href")} | set(re.findall(r"url\(#([^)]+)\)", page))
    used |= {one for name in ("aria-labelledby", "aria-describedby") for one in parsed.values(name)}

    assert set(ids.values()) == {1}
    assert used <= set(ids)


def test_charts_follow_the_page_and_speak(page: str) -> None:
    charts = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)

    assert charts
    for chart in charts:
        assert not re.search(r"#[0-9a-f]{6}\b", re.sub(r"(url\(|href=\")#\w+", "", chart)), "a colour of its own"
        assert "<style" not in chart
        assert "font-family" not in chart
        assert re.search(r'<svg viewBox="0 0 \d+ [\d.]+" role="img" aria-labelledby="[\w-]+" aria-describedby', chart)
        assert re.match(r"<svg[^>]*><title id=[^>]+>[^<]{5,}</title><desc id=[^>]+>[^<]{5,}</desc>", chart)
    variables = set(re.findall(r"var\((--[\w-]+)\)", page))
    assert variables <= set(re.findall(r"(--[\w-]+):", page))


def test_every_table_has_headers_and_a_caption(page: str) -> None:
    parsed = Page(page)

    assert parsed.tags["table"] == parsed.tags["caption"] > 5
    assert set(parsed.values("scope")) == {"col", "row", "rowgroup"}
    assert len(parsed.values("scope")) == parsed.tags["th"]
    for level in ("h1", "h2", "h3", "h4"):
        assert parsed.tags[level]


def test_sections_are_there_with_data_and_absent_without(rich: Evaluation, page: str) -> None:
    bare = report_data.bare()
    assert {one for one in Page(page).values("id") if one in SECTIONS} == set(SECTIONS)
    assert not {one for one in Page(render(bare)).values("id") if one in SECTIONS}

    for section, name in SECTIONS.items():
        without = replace(rich, **{name: getattr(bare, name)})
        if section == "answerability":
            without = replace(without, thresholds=None)
        parsed = Page(render(without))
        assert set(SECTIONS) - set(parsed.values("id")) == {section}
        assert f"#{section}" not in parsed.values("href")


def test_same_evaluation_gives_the_same_page(rich: Evaluation, page: str) -> None:
    with matplotlib.rc_context(
        {"font.size": 40, "axes.facecolor": "red", "svg.fonttype": "path", "text.usetex": False}
    ):
        assert render(rich) == page
    assert render(report_data.rich()) == page


def test_figures_are_those_of_the_evaluation(page: str) -> None:
    text = Page(page).text

    for shown in ("83.41", "82.51 to 84.31", "74.11", "5,000", "+1.27", "+0.65 to +1.89", "412 won, 318 lost", "0.043"):
        assert shown in text
    assert "12 questions have no prediction, and score 0." in text
    assert "1 reference repeats an id, and is left out." in text
    assert "The 30 slices with the most questions of 60." in text
    assert "지방자치단체의 조례와 시행규칙" in text
    assert "fail_below: f1: 80.0" in text


def test_passages_stand_in_the_page_to_the_letter(rich: Evaluation, page: str) -> None:
    shown = re.findall(r'<p class="passage"[^>]*>(.*?)</p>', page, re.DOTALL)

    texts = ["".join(Page(passage).texts) for passage in shown]

    assert rich.comparison
    views = [*rich.comparison.won_examples, *rich.comparison.lost_examples, *rich.worst]
    pieces = [passages.excerpt(view.passage, view.gold_spans, view.answer_span) for view in views]
    assert texts == ["".join(" … " if piece.is_gap else piece.text for piece in each) for each in pieces]


def test_many_slices_and_questions_are_quick(rich: Evaluation) -> None:
    scores = [
        SliceScore(
            slice_by="문서",
            slice=f"문서 {number}",
            figures={"exact_match": 50.0, "f1": 60.0, "total": 1},
            exact_match_interval=None,
            f1_interval=None,
        )
        for number in range(5_000)
    ]
    start = time.process_time()

    text = render(replace(rich, slices=(*rich.slices, *scores), history=rich.history * 100, worst=rich.worst * 10))

    assert time.process_time() - start < 20
    assert "the 500 slices with the most questions of 5000" in text
    assert len(text) < 3_000_000


def test_nothing_is_too_little_to_draw() -> None:
    bare = report_data.bare()
    one = replace(bare.slices[0], slice_by="title", slice="")
    rich = report_data.rich()
    assert rich.comparison

    text = render(
        replace(
            bare,
            slices=(bare.slices[0], one),
            history=rich.history[:1] * 2,
            calibration=Calibration(bins=(), expected_error=0.0),
            thresholds=Thresholds(best_exact=0, best_exact_thresh=0, best_f1=0, best_f1_thresh=0, curve=()),
            korean=KoreanAnalysis(misses=0, only_particles=0, best_exact_match=None),
            comparison=replace(rich.comparison, changes=(), won_examples=(), lost_examples=()),
            created_at="yesterday",
            run_id="half a pair \ud83d",
        )
    )

    assert "(empty)" in text
    assert "yesterday" in text
    assert text.encode("utf-8")
    infinite = Thresholds(
        best_exact=1, best_exact_thresh=0, best_f1=1, best_f1_thresh=0, curve=((0, 1, 1), (float("inf"), 1, 1))
    )
    assert render(replace(bare, thresholds=infinite))


@given(st.text(max_size=60), st.integers(1, 40))
def test_labels_fit(text: str, width: int) -> None:
    label = fit(text, width)

    assert text_width(label) <= width + 1
    assert label == " ".join(text.split()) or label.endswith("…")


def test_any_label_goes_into_a_chart_without_a_warning() -> None:
    label = "한글 שלום हिन्दी $\\frac{1}{$ \\o/ & <b> 😀 --> \x1b"
    with house_style():
        chart = Chart("one", 50)
        chart.write(0, 10, label)
        svg = chart.svg("title", "description")

    assert label in Page(svg).texts
    assert f'viewBox="0 0 {WIDTH} 50"' in svg


def test_words() -> None:
    assert wording.figure(-0.001) == "0.00"
    assert wording.signed(-1.5) == "−1.50"
    assert wording.signed(0.001) == "±0.00"
    assert wording.interval(None) == "–"
    assert wording.moment("2026-03-14T09:26:53+09:00") == "2026-03-14 00:26 UTC"
    assert [wording.duration(seconds) for seconds in (4.24, 59.97, 200, 7500)] == [
        "4.2 s",
        "1 min 0 s",
        "3 min 20 s",
        "2 h 5 min",
    ]
    assert wording.title("question_type") == "Question type"
    assert [wording.language(text) for text in ("한국어 text", "an English text on 한글", "1994")] == ["ko", "", ""]


def contrast(first: str, second: str) -> float:
    """Return the contrast of two colours as WCAG 2 defines it, 1 to 21."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_texts_stand_out_from_their_ground(page: str, mode: int) -> None:
    palette = dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6});", re.findall(r":root \{.*?\}", page, re.DOTALL)[mode]))
    grounds = ("--ground", "--raised", "--gold-tint", "--answer-tint", "--right-tint", "--wrong-tint", "--warn-tint")

    assert [ground for ground in grounds if contrast(palette["--ink"], palette[ground]) < 7] == []
    colours = ("--muted", "--f1", "--em", "--good", "--bad")
    assert [one for one in colours for ground in grounds[:2] if contrast(palette[one], palette[ground]) < 4.5] == []


def test_no_window_system_is_asked_for() -> None:
    code = "import sys, mrc.report; print('matplotlib.pyplot' in sys.modules, 'torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split()[0] == "False"


# In a browser


def screenshot(file: Path, out: Path, *, dark: bool, width: int = 1280) -> Any:
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        f"--user-data-dir={out.parent / 'profile'}", f"--blink-settings=preferredColorScheme={int(not dark)}",
        f"--screenshot={out}", f"--window-size={width},4000", file.as_uri(),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    with Image.open(out) as image:
        return np.asarray(image.convert("L"), dtype=np.float64)


@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome is installed")
def test_browser_shows_the_page_in_light_and_dark(tmp_path: Path, page: str) -> None:
    file = tmp_path / "report.html"
    file.write_text(page, encoding="utf-8")

    light, dark = (screenshot(file, tmp_path / f"{dark}.png", dark=dark) for dark in (False, True))

    assert light.shape == dark.shape == (4000, 1280)
    for picture in (light, dark):
        # Something is drawn in every stretch of the page, and most of it is ground.
        assert all(picture[top : top + 500].std() > 5 for top in range(0, 4000, 500))
    assert np.median(light) > 200
    assert np.median(dark) < 60
