"""Into which slices questions fall, and which misses are only particles."""

import pytest

from mrc.evaluation.slices import DIMENSIONS, in_order, question_word, slice_values
from mrc.metrics.particles import differ_by_particles


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("Who wrote it?", "who / 누구"),
        ("By whom was it written?", "who / 누구"),
        ("In what year did it begin?", "when / 언제"),
        ("When was the war?", "when / 언제"),
        ("How many people live there?", "how many / 몇"),
        ("How is it made?", "how / 어떻게"),
        ("Which town is larger?", "which / 어느"),
        ("What is a quark?", "what / 무엇"),
        ("Why did it fail?", "why / 왜"),
        ("Where is it?", "where / 어디"),
        ("Name the author.", "other"),
        ("Somewhat whoever", "other"),
        ("이 소설을 쓴 사람은 누구인가?", "who / 누구"),
        ("누가 이 소설을 썼는가?", "who / 누구"),
        ("언제 태어났는가?", "when / 언제"),
        ("전쟁은 몇 년에 시작되었는가?", "how many / 몇"),
        ("수도는 어디인가?", "where / 어디"),
        ("왜 실패했는가?", "why / 왜"),
        ("어떻게 만드는가?", "how / 어떻게"),
        ("어느 도시가 더 큰가?", "which / 어느"),
        ("무엇을 발견했는가?", "what / 무엇"),
        ("저자의 이름을 쓰시오.", "other"),
    ],
)
def test_question_words(question: str, word: str) -> None:
    assert question_word(question) == word


def test_slices_of_a_question() -> None:
    found = slice_values(question="Who?", golds=["Ada Lovelace", "Ada"], start=90, context_chars=100, num_windows=2)
    assert dict(zip(DIMENSIONS, found, strict=True)) == {
        "answerable": "answerable",
        "answer_length": "1-4",
        "answer_position": "80-100 %",
        "context_length": "0-499",
        "question_word": "who / 누구",
        "num_windows": "2",
    }


def test_what_is_not_known_is_in_no_slice() -> None:
    found = slice_values(question="", golds=[], start=-1, context_chars=-1, num_windows=None)
    assert found == ("unanswerable", None, None, None, None, None)


def test_bins_are_shown_in_their_order() -> None:
    assert in_order("answer_length", ["40+", "10-19", "5-9", "1-4"]) == ["1-4", "5-9", "10-19", "40+"]
    assert in_order("genre", ["나", "가"]) == ["가", "나"]


@pytest.mark.parametrize(
    ("found", "wanted", "only_particles"),
    [
        ("이광수는", "이광수", True),
        ("이광수", "이광수가", True),
        ("서울에서는", "서울", True),
        ("서울에서", "서울에", True),
        ("서울에서", "서울로", True),
        ("1919년까지의", "1919년", True),
        ("이광수", "이광수", False),
        ("이광수 소설가", "이광수", False),
        ("김동인은", "이광수는", False),
        ("은", "", False),
        ("", "은", False),
        ("paris", "rome", False),
    ],
)
def test_particles(found: str, wanted: str, only_particles: bool) -> None:
    assert differ_by_particles(found, wanted) is only_particles
    assert differ_by_particles(wanted, found) is only_particles
