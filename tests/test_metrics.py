"""Scorers against hand-written tables and the official scripts restated; sums, thresholds, `evaluate` modules."""

import json
import math
import os
import pathlib
import random
import re
import string
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrc.errors import RunError, UsageError
from mrc.examples import Answer, Example
from mrc.metrics import (
    SCORERS,
    ExampleScore,
    Sums,
    get_scorer,
    module_path,
    score_example,
    score_predictions,
    tune_null_threshold,
)

Scores = tuple[int, float] | None

NOTHING = (0, 0.0)
RIGHT = (1, 1.0)

# prediction, golds, then (exact match, F1) by squad, squad_v2 and korquad.
GOLDEN: list[tuple[str, list[str], Scores, Scores, Scores]] = [
    ("Paris", ["Paris"], RIGHT, RIGHT, RIGHT),
    ("paris", ["PARIS"], RIGHT, RIGHT, RIGHT),
    ("Paris.", ["Paris"], RIGHT, RIGHT, RIGHT),
    ("Rome", ["Xylyx"], NOTHING, NOTHING, NOTHING),
    # Articles are words of their own, and only English ones.
    ("The Paris", ["Paris"], RIGHT, RIGHT, (0, 10 / 13)),
    ("the the cat", ["cat"], RIGHT, RIGHT, (0, 6 / 12)),
    ("An apple a day", ["apple day"], RIGHT, RIGHT, (0, 16 / 19)),
    ("another cat", ["other cat"], (0, 1 / 2), (0, 1 / 2), (0, 16 / 18)),
    ("A. Smith", ["smith"], RIGHT, RIGHT, (0, 10 / 11)),
    ("la casa", ["casa"], (0, 2 / 3), (0, 2 / 3), (0, 8 / 10)),
    # Both sides can normalise to nothing, or one.
    ("", [""], (1, 0.0), RIGHT, (1, 0.0)),
    ("", ["Paris"], NOTHING, NOTHING, NOTHING),
    ("Paris", [""], NOTHING, NOTHING, NOTHING),
    ("a", ["the"], (1, 0.0), RIGHT, NOTHING),
    ("...", ["!?"], (1, 0.0), RIGHT, (1, 0.0)),
    ("x", ["the", "x"], RIGHT, RIGHT, RIGHT),
    ("", ["the", "x"], (1, 0.0), NOTHING, NOTHING),
    ("《》", ["‘’"], NOTHING, NOTHING, (1, 0.0)),
    ("", [], RIGHT, RIGHT, RIGHT),
    ("...", [], RIGHT, RIGHT, RIGHT),
    ("x", [], NOTHING, NOTHING, NOTHING),
    # Symbols: KorQuAD's list has the single quotes and the angle brackets, not the double or the corner ones.
    ("《무정》", ["무정"], NOTHING, NOTHING, RIGHT),
    ("〈무정〉", ["무정"], NOTHING, NOTHING, RIGHT),
    ("‘무정’", ["무정"], NOTHING, NOTHING, RIGHT),
    ("“무정”", ["무정"], NOTHING, NOTHING, (0, 4 / 6)),
    ("「무정」", ["무정"], NOTHING, NOTHING, (0, 4 / 6)),
    ('"무정"', ["무정"], RIGHT, RIGHT, RIGHT),
    ("<b>x</b>", ["b x b"], NOTHING, NOTHING, RIGHT),
    ("이광수(소설가)", ["이광수"], NOTHING, NOTHING, (0, 6 / 9)),
    ("이광수(소설가)", ["이광수 소설가"], NOTHING, NOTHING, RIGHT),
    ("이광수-소설가", ["이광수소설가"], RIGHT, RIGHT, RIGHT),
    ("don't", ["dont"], RIGHT, RIGHT, (0, 1.0)),
    ("don't", ["don t"], NOTHING, NOTHING, RIGHT),
    # Particles and spacing.
    ("무정은", ["무정"], NOTHING, NOTHING, (0, 4 / 5)),
    ("이광수소설가", ["이광수 소설가"], NOTHING, NOTHING, (0, 1.0)),
    ("  x \t y\n", ["x y"], RIGHT, RIGHT, RIGHT),
    ("x\u00a0y", ["x\u3000y"], RIGHT, RIGHT, RIGHT),
    # Unicode punctuation is text, and so is a decomposed syllable.
    ("x，y", ["xy"], NOTHING, NOTHING, (0, 4 / 5)),
    ("3–4", ["34"], NOTHING, NOTHING, (0, 4 / 5)),
    ("\u1100\u1161\u11a8", ["\uac01"], NOTHING, NOTHING, NOTHING),
    # The capital sigma before an apostrophe: no word ends where the apostrophe is deleted after the lower case.
    ("ΟΔΟΣ'Α", ["οδοσα"], RIGHT, RIGHT, (0, 8 / 10)),
    ("$5 or 10%", ["5 or 10 %"], RIGHT, RIGHT, RIGHT),
    ("U.S. Army", ["US army"], RIGHT, RIGHT, RIGHT),
    # Bags count repetitions; the best gold counts, for each measure by itself.
    ("cat cat dog", ["cat dog dog"], (0, 4 / 6), (0, 4 / 6), (0, 12 / 18)),
    ("cat dog", ["cat", "cat dog bird"], (0, 4 / 5), (0, 4 / 5), (0, 12 / 16)),
    ("dog cat", ["cat dog"], (0, 1.0), (0, 1.0), (0, 1.0)),
]


@pytest.mark.parametrize(("column", "name"), [(2, "squad"), (3, "squad_v2"), (4, "korquad")])
@pytest.mark.parametrize("row", GOLDEN, ids=[f"{row[0]!r}-{row[1]!r}" for row in GOLDEN])
def test_golden_table(row: tuple[object, ...], column: int, name: str) -> None:
    prediction, golds, wanted = row[0], row[1], row[column]
    assert isinstance(prediction, str)
    assert isinstance(golds, list)
    assert get_scorer(name).score(prediction, golds) == pytest.approx(wanted, abs=1e-12)


# The official scripts, restated step by step from their published rules.


def official_normalise_squad(text: str) -> str:
    text = "".join(character for character in text.lower() if character not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def official_normalise_korquad(text: str) -> str:
    for symbol in ["'", '"', "《", "》", "<", ">", "〈", "〉", r"\(", r"\)", "‘", "’"]:
        text = re.sub(symbol, " ", text)
    text = "".join(character for character in text.lower() if character not in set(string.punctuation))
    return " ".join(text.split())


def official_f1(found: list[str], wanted: list[str]) -> float:
    shared = sum((Counter(found) & Counter(wanted)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(found), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)


def official_squad(prediction: str, golds: Sequence[str]) -> tuple[int, float]:
    """SQuAD's evaluate-v1.1.py."""
    norm = official_normalise_squad
    exact = max(int(norm(prediction) == norm(gold)) for gold in golds)
    return exact, max(official_f1(norm(prediction).split(), norm(gold).split()) for gold in golds)


def official_squad_v2(prediction: str, golds: Sequence[str]) -> tuple[int, float]:
    """SQuAD's evaluate-v2.0.py."""
    norm = official_normalise_squad
    kept = [gold for gold in golds if norm(gold)] or [""]

    def f1(gold: str) -> float:
        found, wanted = norm(prediction).split(), norm(gold).split()
        return float(found == wanted) if not found or not wanted else official_f1(found, wanted)

    return max(int(norm(prediction) == norm(gold)) for gold in kept), max(map(f1, kept))


def official_korquad(prediction: str, golds: Sequence[str]) -> tuple[int, float]:
    """KorQuAD 1.0's evaluate-v1.0.py."""

    def characters(text: str) -> list[str]:
        return [character for token in official_normalise_korquad(text).split() for character in token]

    norm = official_normalise_korquad
    exact = max(int(norm(prediction) == norm(gold)) for gold in golds)
    return exact, max(official_f1(characters(prediction), characters(gold)) for gold in golds)


OFFICIAL = {"squad": official_squad, "squad_v2": official_squad_v2, "korquad": official_korquad}

pieces = st.sampled_from(
    [*"aAbΣσİ가나각.,'\"-_$《》<>〈〉()‘’“「\t\u3000\u00a0\u200b", "the", "The", "an ", " a ", " ", "  ", "무정"]
)
texts = st.one_of(st.lists(pieces, max_size=8).map("".join), st.text(max_size=6))
gold_lists = st.lists(texts, min_size=1, max_size=3)
names = st.sampled_from(sorted(SCORERS))


@given(texts, gold_lists, names)
def test_agrees_with_the_official_script(prediction: str, golds: list[str], name: str) -> None:
    assert get_scorer(name).score(prediction, golds) == pytest.approx(OFFICIAL[name](prediction, golds), abs=1e-12)


@given(texts, gold_lists, names)
def test_exact_match_is_at_most_f1_but_for_empty_texts(prediction: str, golds: list[str], name: str) -> None:
    scorer = get_scorer(name)
    exact_match, f1 = scorer.score(prediction, golds)
    assert 0 <= f1 <= 1
    if scorer.normalise(prediction) or scorer.drops_empty_golds:
        assert exact_match <= f1
    else:
        assert f1 == 0


@given(texts, names)
def test_normalised_texts_are_normal(text: str, name: str) -> None:
    normalise = get_scorer(name).normalise
    once = normalise(text)
    assert normalise(once) == once
    assert once.split(" ") == (once.split() or [""])
    assert not set(once) & set(string.punctuation)


def test_unknown_scorer_is_refused_with_the_names() -> None:
    with pytest.raises(UsageError, match=r"--scorer 'rouge' is not known: use one of korquad, squad, squad_v2"):
        get_scorer("rouge")


# Sums.

example_scores = st.builds(
    ExampleScore,
    exact_match=st.integers(0, 1),
    f1=st.one_of(st.floats(0, 1), st.sampled_from([1 / 3, 2 / 3, 0.1])),
    has_answer=st.booleans(),
    missing=st.booleans(),
)


@given(st.lists(example_scores, max_size=40), st.integers(1, 7), st.randoms(use_true_random=False))
def test_any_order_and_sharding_gives_the_same_sums(
    scores: list[ExampleScore], num_shards: int, rng: random.Random
) -> None:
    whole = sum(map(Sums.of, scores), Sums())
    shuffled = rng.sample(scores, len(scores))
    shards = [sum(map(Sums.of, shuffled[i::num_shards]), Sums()) for i in range(num_shards)]
    merged = sum((Sums.from_dict(json.loads(json.dumps(shard.to_dict()))) for shard in shards), Sums())
    assert merged == whole
    assert merged.result() == whole.result()


@given(st.lists(example_scores, min_size=1, max_size=40))
def test_result_is_the_mean_within_the_rounding(scores: list[ExampleScore]) -> None:
    result = sum(map(Sums.of, scores), Sums()).result()
    assert result["f1"] == pytest.approx(100 * math.fsum(s.f1 for s in scores) / len(scores), abs=5.1e-8)
    assert result["exact_match"] == 100 * sum(s.exact_match for s in scores) / len(scores)
    groups = {"HasAns": [s for s in scores if s.has_answer], "NoAns": [s for s in scores if not s.has_answer]}
    for prefix, group in groups.items():
        assert (f"{prefix}_total" in result) == (bool(groups["NoAns"]) and bool(group))
        if f"{prefix}_total" in result:
            assert result[f"{prefix}_total"] == len(group)
            assert result[f"{prefix}_f1"] == pytest.approx(
                100 * math.fsum(s.f1 for s in group) / len(group), abs=5.1e-8
            )
            assert result[f"{prefix}_exact"] == 100 * sum(s.exact_match for s in group) / len(group)


def test_sums_of_nothing() -> None:
    assert Sums().result() == {"exact_match": 0.0, "f1": 0.0, "total": 0}


@pytest.mark.parametrize(
    "record", [{}, {**Sums().to_dict(), "more": 1}, {**Sums().to_dict(), "f1": 0.5}, {**Sums().to_dict(), "total": -1}]
)
def test_damaged_sums_are_refused(record: dict[str, int]) -> None:
    with pytest.raises(RunError, match="score its predictions again"):
        Sums.from_dict(record)


def example(example_id: str, golds: Sequence[str] | None) -> Example:
    answers = None if golds is None else tuple(Answer(text=gold, start=0) for gold in golds)
    return Example(id=example_id, question="?", context="", answers=answers)


def test_missing_predictions_score_zero_and_count_and_unknown_gold_does_not() -> None:
    examples = [example("right", ["x"]), example("missing", ["x"]), example("null", []), example("no gold", None)]
    sums = score_predictions({"right": "X", "null": "", "no gold": "x", "other": "x"}, examples, get_scorer("squad_v2"))
    assert sums.result() == {
        **{"exact_match": pytest.approx(200 / 3), "f1": pytest.approx(200 / 3), "total": 3, "missing": 1},
        **{"HasAns_exact": 50.0, "HasAns_f1": 50.0, "HasAns_total": 2},
        **{"NoAns_exact": 100.0, "NoAns_f1": 100.0, "NoAns_total": 1},
    }


@pytest.mark.parametrize("name", sorted(SCORERS))
def test_a_missing_prediction_is_not_an_empty_one(name: str) -> None:
    gold = example("1", [""])
    assert score_example(None, gold, get_scorer(name)).exact_match == 0
    assert score_example("", gold, get_scorer(name)).exact_match == 1


def test_a_gold_that_normalises_to_nothing_still_is_an_answer() -> None:
    score = score_example("", example("1", ["The"]), get_scorer("squad_v2"))
    assert score == ExampleScore(exact_match=1, f1=1.0, has_answer=True, missing=False)


def test_an_example_without_gold_cannot_be_scored() -> None:
    with pytest.raises(ValueError, match="'1' has no gold"):
        score_example("x", example("1", None), get_scorer("squad"))


# The null threshold.


def official_best_threshold(
    scores: Mapping[int, float], has_answer: Mapping[int, bool], diffs: Mapping[int, float]
) -> float:
    """Best score of `find_best_thresh` in SQuAD's evaluate-v2.0.py, for predictions that are never empty."""
    current = best = float(sum(not answerable for answerable in has_answer.values()))
    for key in sorted(diffs, key=lambda key: diffs[key]):
        current += scores[key] if has_answer[key] else -1
        best = max(best, current)
    return 100 * best / len(scores)


@given(st.lists(st.tuples(st.floats(-9, 9), st.booleans(), st.floats(0, 1)), min_size=1, unique_by=lambda row: row[0]))
def test_best_score_is_the_official_one(rows: list[tuple[float, bool, float]]) -> None:
    diffs = {i: diff for i, (diff, _, _) in enumerate(rows)}
    has_answer = {i: answerable for i, (_, answerable, _) in enumerate(rows)}
    scores = {i: f1 if answerable else 0.0 for i, (_, answerable, f1) in enumerate(rows)}
    found = tune_null_threshold(
        list(diffs.values()), list(scores.values()), [float(not answerable) for answerable in has_answer.values()]
    )
    assert found.score == pytest.approx(official_best_threshold(scores, has_answer, diffs), abs=1e-6)


eighths = st.integers(0, 8).map(lambda n: n / 8)


@given(
    st.lists(st.tuples(st.sampled_from([-math.inf, -1.0, 0.0, 0.5, 2.0, math.inf]), eighths, eighths), max_size=12),
    st.randoms(use_true_random=False),
)
def test_threshold_is_the_best_attainable_and_the_lowest_such(
    rows: list[tuple[float, float, float]], rng: random.Random
) -> None:
    def at(threshold: float) -> float:
        total = sum(null if diff > threshold else answered for diff, answered, null in rows)
        return 100 * total / max(len(rows), 1)

    def tuned(some: list[tuple[float, float, float]]) -> tuple[float, float]:
        found = tune_null_threshold(*np.array(some, dtype=np.float64).reshape(-1, 3).T)
        return found.threshold, found.score

    threshold, score = tuned(rows)
    tried = [-5.0, *sorted({diff for diff, _, _ in rows if math.isfinite(diff)}), 5.0]
    assert math.isfinite(threshold)
    assert score == pytest.approx(at(threshold), abs=1e-6)
    assert score == pytest.approx(max(map(at, tried)), abs=1e-6)
    assert all(at(other) < score - 1e-6 for other in tried if other < threshold and at(other) != at(threshold))
    assert tuned(rng.sample(rows, len(rows))) == (threshold, score)


def test_equal_differences_are_answered_together() -> None:
    # The official script would answer the first alone and report 100.
    assert tune_null_threshold([1.0, 1.0], [1.0, 0.0], [0.0, 1.0]).score == 50.0


def test_where_null_is_always_best_the_threshold_lies_below_all() -> None:
    found = tune_null_threshold([-3.0, 4.0], [0.0, 0.0], [1.0, 1.0])
    assert found.score == 100.0
    assert -3.1 < found.threshold < -3.0


# The modules for `evaluate`.

LOAD = """
import json, sys
import evaluate
paths, inputs = json.load(sys.stdin)
results = {name: evaluate.load(path).compute(**inputs) for name, path in paths.items()}
rows = inputs["predictions"], inputs["references"]
sure = [{**row, "no_answer_probability": 0.9} for row in inputs["predictions"]]
module = evaluate.load(paths["squad_v2"])
results["threshold"] = module.compute(predictions=sure, references=rows[1], no_answer_threshold=0.5)
for prediction, reference in zip(*rows):
    module.add(prediction=prediction, reference=reference)
results["added"] = module.compute()
print(json.dumps(results))
"""


def test_evaluate_loads_every_scorer_offline(tmp_path: pathlib.Path) -> None:
    inputs = {
        "predictions": [{"id": "1", "prediction_text": "the 《무정》"}, {"id": "?", "prediction_text": "x"}],
        "references": [
            {"id": "1", "answers": {"text": ["무정", "《무정》"], "answer_start": [1, 0]}},
            {"id": "2", "answers": {"text": ["x"], "answer_start": [0]}},
        ],
    }
    caches = {"HF_HOME": str(tmp_path), "HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOAD],
        input=json.dumps([{name: module_path(name) for name in SCORERS}, inputs]),
        env={**os.environ, **caches},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    examples = [example("1", ["무정", "《무정》"]), example("2", ["x"])]
    for name in SCORERS:
        wanted = score_predictions({"1": "the 《무정》"}, examples, get_scorer(name)).result()
        assert results[name] == wanted | ({"exact": wanted["exact_match"]} if name == "squad_v2" else {})
    assert results["squad"]["exact_match"] == 50.0
    assert results["added"] == results["squad_v2"]
    assert results["threshold"]["exact"] == 0.0


# Real data.


def squad_examples(path: pathlib.Path) -> list[Example]:
    return [
        Example(
            id=qa["id"],
            question=qa["question"],
            context=paragraph["context"],
            answers=tuple(Answer(text=gold["text"], start=gold["answer_start"]) for gold in qa["answers"]),
        )
        for article in json.loads(path.read_text(encoding="utf-8"))["data"]
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    ]


def first_gold(one: Example) -> Answer:
    assert one.answers
    return one.answers[0]


def snapped_out(one: Example) -> str:
    """Return the gold answer extended on both sides to the nearest white space."""
    gold, context = first_gold(one), one.context
    start = max((i + 1 for i in range(gold.start) if context[i].isspace()), default=0)
    end = next((i for i in range(gold.end, len(context)) if context[i].isspace()), len(context))
    return context[start:end]


@pytest.mark.realdata
@pytest.mark.parametrize("name", sorted(SCORERS))
@pytest.mark.parametrize("file", ["KorQuAD_v1.0_dev.json", "xquad.en.json", "xquad.de.json", "xquad.vi.json"])
def test_gold_answers_score_100(real_data: pathlib.Path, file: str, name: str) -> None:
    examples = squad_examples(real_data / file)
    oracle = {one.id: first_gold(one).text for one in examples}
    result = score_predictions(oracle, examples, get_scorer(name)).result()
    assert result == {"exact_match": 100.0, "f1": 100.0, "total": len(examples)}


@pytest.mark.realdata
def test_null_answers_of_squad_2_score_their_share(real_data: pathlib.Path) -> None:
    examples = squad_examples(real_data / "squad2.dev.sample.json")
    result = score_predictions({one.id: "" for one in examples}, examples, get_scorer("squad_v2")).result()
    assert (result["total"], result["NoAns_total"], result["HasAns_f1"], result["NoAns_f1"]) == (6078, 3168, 0.0, 100.0)
    assert result["exact_match"] == pytest.approx(100 * 3168 / 6078)


@pytest.mark.realdata
def test_korean_answers_snapped_to_words(real_data: pathlib.Path) -> None:
    examples = squad_examples(real_data / "KorQuAD_v1.0_dev.json")
    snapped = {one.id: snapped_out(one) for one in examples}
    korquad, squad = (score_predictions(snapped, examples, get_scorer(name)).result() for name in ("korquad", "squad"))
    assert korquad["total"] == 5774
    assert korquad["f1"] == pytest.approx(87.7, abs=0.1)
    assert korquad["exact_match"] == pytest.approx(23.9, abs=0.1)
    assert squad["f1"] == pytest.approx(39.4, abs=0.1)
