"""Calling a reader: every form that the question-answering pipeline took, its results, and its errors."""

import itertools
import pathlib
import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mrc.examples import Example, Prediction, Span
from mrc.models import load_model
from mrc.pipeline import Options, configure, rank, read_options, read_questions, respond
from mrc.pretrained import load_tokenizer
from mrc.probes import check_fits, on_cpu
from mrc.reader import Reader
from mrc.spans import SpanConfig
from mrc.windows import WindowConfig
from tests.tiny import POSITIONS, write_model
from tests.tokenizers import CORPUS

WINDOW = WindowConfig(max_seq_length=48, doc_stride=8)
QUESTION, CONTEXT = "Who wrote the letter?", " ".join(CORPUS[1:4])
PAIRS = [(f"{QUESTION} {n}", " ".join(CORPUS[n:])) for n in range(5)]
DICTS = [{"question": question, "context": context} for question, context in PAIRS]

Open = Callable[..., Reader]


@pytest.fixture(scope="module")
def open_reader(tmp_path_factory: pytest.TempPathFactory) -> Open:
    """Return a function that opens a reader on a tiny BERT of 96 positions, loaded once."""
    folder = write_model(tmp_path_factory.mktemp("bert"), "bert", seed=3)
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    return lambda **span: Reader(model, tokenizer, WINDOW, SpanConfig(**span), precision="float32")


@pytest.fixture(scope="module")
def reader(open_reader: Open) -> Reader:
    return open_reader()


@pytest.fixture(scope="module")
def expected(reader: Reader) -> list[dict[str, Any]]:
    """What the reader answers to PAIRS, by its own interface."""
    predictions = reader.answer([Example(id="", question=q, context=c) for q, c in PAIRS])
    return [{"score": p.probability, "start": p.start, "end": p.end, "answer": p.answer} for p in predictions]


def close(found: Any, wanted: Any) -> bool:
    """Compare results to the character, and scores up to rounding."""
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(close, found, wanted))
    return bool(found == {**wanted, "score": pytest.approx(wanted["score"], abs=1e-4)})


# Forms


class SquadExample:
    """As transformers had it: the names are all that counts."""

    def __init__(self, question: str, context: str) -> None:
        self.question_text, self.context_text = question, context


class MapDataset(torch.utils.data.Dataset[dict[str, str]]):
    """A map-style data set, whose end is a KeyError."""

    def __len__(self) -> int:
        return len(PAIRS)

    def __getitem__(self, index: int) -> dict[str, str]:
        return dict(enumerate(DICTS))[index]


QUESTIONS, CONTEXTS = (list(texts) for texts in zip(*PAIRS, strict=True))

ONE: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "keywords": ((), {"question": QUESTIONS[0], "context": CONTEXTS[0]}),
    "texts": (PAIRS[0], {}),
    "dict": ((DICTS[0],), {}),
    "dict with more": (({**DICTS[0], "id": 7, "answers": None},), {}),
    "data": ((), {"data": DICTS[0]}),
    "X": ((), {"X": DICTS[0]}),
    "SquadExample": ((SquadExample(*PAIRS[0]),), {}),
    "object": ((SimpleNamespace(question=QUESTIONS[0], context=CONTEXTS[0]),), {}),
    "Example": ((Example(id="q7", question=QUESTIONS[0], context=CONTEXTS[0]),), {}),
}
MANY: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "lists": ((), {"question": QUESTIONS, "context": CONTEXTS}),
    "tuples": ((), {"question": tuple(QUESTIONS), "context": tuple(CONTEXTS)}),
    "columns": ((), {"question": pd.Series(QUESTIONS), "context": np.array(CONTEXTS, dtype=object)}),
    "dicts": ((DICTS,), {}),
    "dicts one by one": (tuple(DICTS), {}),
    "data": ((), {"data": DICTS}),
    "X": ((), {"X": DICTS}),
    "mixed": (
        ([SquadExample(*PAIRS[0]), *DICTS[1:4], Example(id="0", question=PAIRS[4][0], context=PAIRS[4][1])],),
        {},
    ),
}
STREAMS: dict[str, Callable[[], Any]] = {
    "generator": lambda: (row for row in DICTS),
    "iterator": lambda: iter(DICTS),
    "map": lambda: map(SquadExample, QUESTIONS, CONTEXTS),
    "map-style data set": MapDataset,
}


@pytest.mark.parametrize("form", ONE)
def test_one_question_gives_one_dict(form: str, reader: Reader, expected: list[dict[str, Any]]) -> None:
    inputs, keywords = ONE[form]
    found = reader(*inputs, **keywords)
    assert list(found) == ["score", "start", "end", "answer"]
    assert [type(value) for value in found.values()] == [float, int, int, str]
    assert close(found, expected[0])


@pytest.mark.parametrize("form", MANY)
def test_a_list_gives_a_list_in_its_order(form: str, reader: Reader, expected: list[dict[str, Any]]) -> None:
    inputs, keywords = MANY[form]
    assert close(reader(*inputs, **keywords), expected)


@pytest.mark.parametrize("form", STREAMS)
@pytest.mark.parametrize("batch_size", [1, 2, 5, None])
def test_an_iterator_gives_a_generator_in_its_order(
    form: str, batch_size: int | None, reader: Reader, expected: list[dict[str, Any]]
) -> None:
    found = reader(STREAMS[form](), batch_size=batch_size)
    assert isinstance(found, Iterator)
    assert close(list(found), expected)


def test_a_single_question_or_context_goes_with_each_of_the_other(reader: Reader) -> None:
    questions = reader(question=QUESTIONS, context=CONTEXT)
    assert close(questions, [reader(question=question, context=CONTEXT) for question in QUESTIONS])
    contexts = reader(question=QUESTION, context=CONTEXTS)
    assert close(contexts, [reader(question=QUESTION, context=context) for context in CONTEXTS])


def test_a_list_of_one_is_a_list_and_of_none_is_empty(reader: Reader, expected: list[dict[str, Any]]) -> None:
    assert close(reader(question=QUESTIONS[:1], context=CONTEXTS[0]), expected[:1])
    assert close(reader(DICTS[:1]), expected[:1])
    assert reader([]) == reader(question=[], context=CONTEXT) == list(reader(iter([]))) == []


@settings(max_examples=15, deadline=None)
@given(
    chosen=st.lists(st.sampled_from(DICTS), max_size=6),
    top_k=st.integers(1, 4),
    batch_size=st.sampled_from([1, 2, 256]),
)
def test_a_list_is_answered_as_its_questions_one_by_one(
    chosen: list[dict[str, str]], top_k: int, batch_size: int, reader: Reader
) -> None:
    alone = [reader(**row, top_k=top_k) for row in chosen]
    assert close(reader(chosen, top_k=top_k, batch_size=batch_size), alone)
    assert close(list(reader(iter(chosen), top_k=top_k, batch_size=batch_size)), alone)


# Streams


def test_a_stream_reads_one_batch_ahead_of_its_results(reader: Reader) -> None:
    taken = 0

    def endless() -> Iterator[dict[str, str]]:
        nonlocal taken
        for row in itertools.cycle(DICTS):
            taken += 1
            yield row

    results = reader(endless(), batch_size=3)
    assert taken == 0
    for count in range(1, 8):
        next(results)
        assert taken == -(-count // 3) * 3


def test_a_batch_is_let_go_before_the_next_one_is_read() -> None:
    held: list[int] = []

    def answer(batch: Any) -> list[Prediction]:
        held.append(len(batch))
        return [prediction_of([0.0])] * len(batch)

    questions = read_questions([iter(DICTS * 2)])
    assert len(list(respond(questions, Options(batch_size=4), answer, null_competes=False))) == 10
    assert held == [4, 4, 2]


def test_a_stream_names_the_question_it_stops_at_and_the_call_names_wrong_options(reader: Reader) -> None:
    results = reader(iter([*DICTS[:2], {"question": QUESTION, "context": ""}]), batch_size=2)
    assert len([next(results), next(results)]) == 2
    with pytest.raises(ValueError, match=r"^item 2: context is empty"):
        next(results)
    with pytest.raises(ValueError, match="top_k is 0"):
        reader(iter(DICTS), top_k=0)


def test_an_error_of_the_iterator_itself_comes_through(reader: Reader) -> None:
    def broken() -> Iterator[dict[str, str]]:
        yield DICTS[0]
        raise OSError("the disk is gone")

    results = reader(broken(), batch_size=1)
    next(results)
    with pytest.raises(OSError, match="the disk is gone"):
        next(results)


# top_k and the null answer


@settings(max_examples=15, deadline=None)
@given(row=st.sampled_from(DICTS), fewer=st.integers(2, 8), more=st.integers(0, 12), null=st.booleans())
def test_fewer_answers_are_the_first_of_more(
    row: dict[str, str], fewer: int, more: int, null: bool, reader: Reader
) -> None:
    many = reader(row, top_k=fewer + more, handle_impossible_answer=null)
    assert reader(row, top_k=fewer, handle_impossible_answer=null) == many[:fewer]
    assert reader(row, handle_impossible_answer=null) == many[0]
    assert reader(row, topk=fewer, handle_impossible_answer=null) == many[:fewer]
    assert [answer["score"] for answer in many] == sorted((answer["score"] for answer in many), reverse=True)
    for answer in many:
        assert answer["answer"] == row["context"][answer["start"] : answer["end"]]
        assert 0 <= answer["score"] <= 1
    assert len({(answer["start"], answer["end"]) for answer in many}) == len(many)


def test_more_answers_than_the_reader_keeps_may_be_asked_for(open_reader: Open) -> None:
    reader = open_reader(n_best_size=3)
    assert len(reader(DICTS[0], top_k=3)) == 3
    assert len(reader(DICTS[0], top_k=30)) == 30
    assert len(reader(DICTS[0], top_k=np.int64(30))) == 30


def test_a_short_context_gives_fewer_answers_as_a_list(reader: Reader) -> None:
    [only] = reader(question=QUESTION, context="Who", top_k=9)
    assert (only["start"], only["end"], only["answer"]) == (0, 3, "Who")
    assert only["score"] == pytest.approx(1.0)


def test_all_shares_make_one_whole_with_the_null_answer_in_it(reader: Reader) -> None:
    answers = reader(question=QUESTION, context="Who wrote", top_k=20, handle_impossible_answer=True)
    assert 2 < len(answers) < 20
    assert sum(answer["score"] for answer in answers) == pytest.approx(1.0)
    [null] = [answer for answer in answers if not answer["answer"]]
    assert (null["start"], null["end"]) == (0, 0)
    assert null["score"] > 0


def test_the_null_answer_competes_where_the_call_or_else_the_folder_says_so(open_reader: Open) -> None:
    plain = open_reader(null_score_diff_threshold=-1e9)
    negative = open_reader(version_2_with_negative=True, null_score_diff_threshold=-1e9)
    null = {"start": 0, "end": 0, "answer": ""}
    for always in (negative(DICTS[0]), plain(DICTS[0], handle_impossible_answer=True)):
        assert {**always, **null} == always
    for never in (plain(DICTS[0]), negative(DICTS[0], handle_impossible_answer=False)):
        assert never["answer"]


def prediction_of(scores: list[float], null: float | None = None, *, null_wins: bool = False) -> Prediction:
    """Return a prediction with spans of these probabilities, and where null wins its own."""
    n_best = tuple(Span(text="a", start=i, end=i + 1, score=0.0, probability=p) for i, p in enumerate(scores))
    answered = not null_wins and bool(n_best)
    return Prediction(
        id="",
        answer="a" if answered else "",
        start=0 if answered else -1,
        end=1 if answered else -1,
        score=0.0,
        probability=n_best[0].probability if answered else null or 0.0,
        null_score=0.0,
        has_answer=answered,
        n_best=n_best,
        num_windows=1,
    )


@pytest.mark.parametrize(
    ("prediction", "competes", "order"),
    [
        (prediction_of([0.6, 0.4]), False, [0.6, 0.4]),
        (prediction_of([0.5, 0.2]), True, [0.5, 0.3, 0.2]),
        # A threshold puts the answer first, or the null answer, against their shares.
        (prediction_of([0.3, 0.1]), True, [0.3, 0.6, 0.1]),
        (prediction_of([0.5, 0.3], 0.2, null_wins=True), True, [0.2, 0.5, 0.3]),
        (prediction_of([], 1.0), True, [1.0]),
        (prediction_of([]), False, [0.0]),
        # Rounding may leave less than nothing.
        (prediction_of([1.0, 1e-9]), True, [1.0, 1e-9, 0.0]),
    ],
)
def test_the_readers_decision_comes_first_and_then_the_shares(
    prediction: Prediction, competes: bool, order: list[float]
) -> None:
    answers = rank(prediction, null_competes=competes)
    assert [answer["score"] for answer in answers] == pytest.approx(order)
    assert answers[0]["answer"] == prediction.answer


def test_where_nothing_can_be_answered_the_answer_is_empty(reader: Reader) -> None:
    nothing = {"score": 0.0, "start": 0, "end": 0, "answer": ""}
    # Control characters, which BERT's tokenizer drops.
    assert reader(question=QUESTION, context="\x01\x02") == nothing
    assert reader(question=QUESTION, context="\x01\x02", top_k=3) == [nothing]


# Settings of a call


def test_a_call_leaves_the_reader_as_it_is(open_reader: Open, expected: list[dict[str, Any]]) -> None:
    reader = open_reader()
    reader(DICTS, max_answer_len=1, max_seq_len=80, doc_stride=4, top_k=30, handle_impossible_answer=True)
    assert (reader.window, reader.span) == (WINDOW, SpanConfig())
    assert close(reader(DICTS), expected)


def test_streams_with_settings_of_their_own_do_not_mix(reader: Reader) -> None:
    short = reader(iter(DICTS), max_answer_len=1, batch_size=1)
    long = reader(iter(DICTS), max_seq_len=80, batch_size=1)
    woven = list(zip(short, long, strict=True))
    assert close([one for one, _ in woven], reader(DICTS, max_answer_len=1))
    assert close([other for _, other in woven], reader(DICTS, max_seq_len=80))


def test_settings_reach_the_answers(reader: Reader) -> None:
    def by_hand(window: WindowConfig, span: SpanConfig) -> list[str]:
        other = Reader(reader._finder.model, reader._tokenizer, window, span, precision="float32")
        return [p.answer for p in other.answer([Example(id="", question=q, context=c) for q, c in PAIRS])]

    def called(**options: Any) -> list[str]:
        return [found["answer"] for found in reader(DICTS, **options)]

    assert called(max_answer_len=np.int64(1)) == by_hand(WINDOW, SpanConfig(max_answer_length=1))
    window = WindowConfig(max_seq_length=80, doc_stride=30, max_question_length=2)
    assert called(max_seq_len=80, doc_stride=30, max_question_len=2) == by_hand(window, SpanConfig())


def test_what_a_call_does_not_say_is_the_readers() -> None:
    window = WindowConfig(max_seq_length=384, doc_stride=128, max_question_length=9)
    span = SpanConfig(n_best_size=5, max_answer_length=7, version_2_with_negative=True, null_score_diff_threshold=2.0)
    assert configure(Options(), window, span) == (window, span)
    nothing = dict.fromkeys(("top_k", "max_answer_len", "handle_impossible_answer", "padding", "batch_size"))
    assert configure(read_options(nothing), window, span) == (window, span)


def test_the_overlap_fits_the_windows_that_are_asked_for() -> None:
    window = WindowConfig(max_seq_length=384, doc_stride=128)
    strides = {
        length: configure(Options(max_seq_len=length), window, SpanConfig())[0].doc_stride for length in (64, 200, 512)
    }
    assert strides == {64: 32, 200: 100, 512: 128}


@pytest.mark.parametrize("option", [{"padding": "max_length"}, {"num_workers": 2}, {"align_to_words": False}])
def test_what_changes_no_answer_is_taken(
    option: dict[str, Any], reader: Reader, expected: list[dict[str, Any]]
) -> None:
    assert close(reader(DICTS[0], **option), expected[0])


# Errors

MISUSE: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    ((), {}, "nothing is asked: give question= and context="),
    ((), {"question": QUESTION}, "context is missing"),
    ((), {"context": CONTEXT}, "question is missing"),
    ((), {"question": [QUESTION]}, "context is missing"),
    ((), {"question": "", "context": CONTEXT}, "question is empty"),
    ((), {"question": QUESTION, "context": " \n"}, "context is empty"),
    ((), {"question": 3, "context": CONTEXT}, r"question is 3 \(int\): give a text"),
    ((), {"question": QUESTION, "context": b"Ada"}, r"context is b'Ada' \(bytes\): give a text"),
    ((), {"question": {"a": 1}, "context": CONTEXT}, r"question is \{'a': 1\} \(dict\)"),
    ((), {"question": iter([QUESTION]), "context": CONTEXT}, r"question is <list_iterator.*give a text"),
    ((), {"question": QUESTION, "context": "Ada \ud800"}, "context has .* at character 4, which UTF-8 cannot hold"),
    ((), {"question": [QUESTION, ""], "context": CONTEXT}, "item 1: question is empty"),
    ((), {"question": [QUESTION, None], "context": CONTEXT}, "item 1: question is missing"),
    ((), {"question": QUESTION, "context": [CONTEXT, 1.5]}, r"item 1: context is 1.5 \(float\)"),
    ((), {"question": [QUESTION] * 2, "context": [CONTEXT] * 3}, "2 questions and 3 contexts: .* of one length"),
    ((), {"question": [QUESTION], "context": []}, "1 questions and 0 contexts"),
    ((), {"data": DICTS, "question": QUESTION, "context": CONTEXT}, "more than one thing is asked"),
    ((QUESTION,), {"context": CONTEXT}, "more than one thing is asked"),
    ((QUESTION,), {}, "a text alone"),
    ((3,), {}, r"3 \(int\) is asked"),
    ((QUESTION, 3), {}, r"item 0: 'Who wrote the letter\?' \(str\) has no question and context"),
    (({"question": QUESTION},), {}, "context is missing"),
    (([DICTS[0], {"context": CONTEXT}],), {}, "item 1: question is missing"),
    (([PAIRS[0]],), {}, r"item 0: .* \(tuple\) has no question and context"),
    (({"question": QUESTIONS, "context": CONTEXT},), {}, r"question is \[.*\(list\): give a text"),
]


@pytest.mark.parametrize(("inputs", "keywords", "message"), MISUSE, ids=[message for _, _, message in MISUSE])
def test_what_is_no_question_is_refused(
    inputs: tuple[Any, ...], keywords: dict[str, Any], message: str, reader: Reader
) -> None:
    with pytest.raises(ValueError, match=message):
        reader(*inputs, **keywords)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top_k is 0: give a whole number of at least 1"),
        ({"topk": -1}, "topk is -1"),
        ({"top_k": 1.0}, "top_k is 1.0"),
        ({"top_k": True}, "top_k is True"),
        ({"max_answer_len": 0}, "max_answer_len is 0"),
        ({"max_question_len": 0}, "max_question_len is 0"),
        ({"max_seq_len": "384"}, "max_seq_len is '384'"),
        ({"doc_stride": -1}, "doc_stride is -1: give a whole number of at least 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"handle_impossible_answer": 1}, "handle_impossible_answer is 1: give True or False"),
        ({"align_to_words": True}, "align_to_words is True: .* leave it out or give False"),
        ({"max_anser_len": 3}, "unknown option max_anser_len: the options are top_k, topk, "),
        ({"max_seq_len": 40, "doc_stride": 40}, "max_seq_len 40 is not over doc_stride 40"),
        ({"max_seq_len": 8, "doc_stride": 4}, "max_seq_len 8 leaves no room for a question beside doc_stride 4"),
        ({"max_seq_len": POSITIONS + 1}, f"max_seq_len 97: the model takes windows of at most {POSITIONS} tokens"),
    ],
    ids=str,
)
def test_options_that_are_not_legal_are_refused_by_their_names(
    options: dict[str, Any], message: str, reader: Reader
) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        reader(DICTS[0], **options)
    assert "--" not in str(raised.value)


def test_a_question_that_is_too_long_says_how_to_cut_it(reader: Reader) -> None:
    long = {"question": "why " * 60, "context": CONTEXT}
    with pytest.raises(
        ValueError, match=r"^example '1': question_too_long: .* with max_question_len \d+, or"
    ) as raised:
        reader([DICTS[0], long])
    [limit] = re.findall(r"max_question_len (\d+)", str(raised.value))
    assert len(reader([DICTS[0], long], max_question_len=int(limit))) == 2


def test_windows_as_long_as_the_model_takes_are_taken_after_a_refusal(reader: Reader) -> None:
    with pytest.raises(ValueError, match="max_seq_len 200"):
        reader(DICTS[0], max_seq_len=200)
    assert reader(DICTS[0], max_seq_len=POSITIONS)["answer"]
    with pytest.raises(ValueError, match="max_seq_len 200"):
        reader(DICTS[0], max_seq_len=200)


def test_a_model_elsewhere_is_tried_as_a_copy_on_the_cpu(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_model(tmp_path, "bert")
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    assert on_cpu(model) is model
    monkeypatch.setattr(type(model), "device", torch.device("cuda"))
    copied = on_cpu(model)
    assert copied is not model
    assert {tensor.device.type for tensor in itertools.chain(copied.parameters(), copied.buffers())} == {"cpu"}
    check_fits(copied, tokenizer, POSITIONS)
