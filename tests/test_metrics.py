"""Sums of scores, the null threshold, the modules for `evaluate`, and real data."""

import json
import math
import os
import pathlib
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

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
    centred_threshold,
    get_scorer,
    module_path,
    score_example,
    score_predictions,
    tune_null_threshold,
)

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


@given(
    st.lists(st.floats(-9, 9) | st.sampled_from([-math.inf, math.inf]), max_size=6),
    st.floats(-10, 10),
    st.integers(0, 5),
)
def test_a_centred_threshold_decides_alike_and_stays_clear(diffs: list[float], threshold: float, chosen: int) -> None:
    if chosen < len(diffs) and math.isfinite(diffs[chosen]):
        threshold = diffs[chosen]  # as a tuned one is
    found = centred_threshold(diffs, threshold)
    assert [diff > found for diff in diffs] == [diff > threshold for diff in diffs]
    finite = [diff for diff in diffs if math.isfinite(diff)]
    below = max((diff for diff in finite if diff <= threshold), default=None)
    above = min((diff for diff in finite if diff > threshold), default=None)
    if below is not None and above is not None:
        assert found - below == pytest.approx(above - found, abs=1e-12)
    elif finite:
        assert min(abs(diff - found) for diff in finite) == pytest.approx(1)
    else:
        assert found == threshold


def test_a_centred_threshold_of_neighbours_and_of_what_is_huge() -> None:
    high = math.nextafter(1.0, 2.0)
    assert centred_threshold([1.0, high], 1.0) == 1.0
    for diffs, threshold in (([1e300, -math.inf], 0.0), ([1e300], 1e300), ([-1e300, 1e300], 0.0)):
        found = centred_threshold(diffs, threshold)
        assert [diff > found for diff in diffs] == [diff > threshold for diff in diffs]


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
from mrc.errors import UsageError

def load(name, path):
    return evaluate.load(path, *([name[-2:]] if name.startswith("mlqa_") else []))

paths, inputs, rated = json.load(sys.stdin)
results = {name: load(name, path).compute(**inputs) for name, path in paths.items()}
module = load("squad_v2", paths["squad_v2"])
for prediction, reference in zip(inputs["predictions"], inputs["references"]):
    module.add(prediction=prediction, reference=reference)
results["added"] = module.compute()
results["rated"] = [module.compute(**rows) for rows in rated]
results["threshold"] = module.compute(**rated[0], no_answer_threshold=0.5)
for wrong in (None, "ko", "mlqa_de"):
    try:
        evaluate.load(paths["mlqa_de"], wrong)
    except UsageError as error:
        results[f"refused {wrong}"] = str(error)
print(json.dumps(results))
"""

PREDICTION = "the 《무정》 Der <b>ال</b>"
GOLDS = ["무정 der ال", "《무정》"]

Rated = dict[str, tuple[str, list[str], float]]

# By id the prediction, golds and the probability that there is no answer.
RATED: Rated = {
    "a": ("Paris", ["Paris"], 0.1),
    "b": ("wide red cat", ["red cat"], 0.4),
    "c": ("x", [], 0.6),
    "d": ("x", ["y"], 0.7),
    "e": ("the", [], 0.8),
    "f": ("", [], 0.3),
    "g": ("", ["The"], 0.9),
}


def randomly_rated(seed: int) -> Rated:
    rng = random.Random(seed)
    return {
        str(i): (
            rng.choice(["x", "x y z", "y", "the", ""]),
            rng.choice([[], [], ["x"], ["x y"], ["The"]]),
            probability / 1000,
        )
        for i, probability in enumerate(rng.sample(range(1000), rng.randint(1, 9)))
    }


RANDOMLY_RATED = [randomly_rated(seed) for seed in range(40)]


def reference(id_: str, golds: list[str]) -> dict[str, Any]:
    return {"id": id_, "answers": {"text": golds, "answer_start": [0] * len(golds)}}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what `evaluate` computes in a process of its own, without a network and without a cache."""
    inputs = {
        "predictions": [{"id": "1", "prediction_text": PREDICTION}, {"id": "?", "prediction_text": "x"}],
        "references": [reference("1", GOLDS), reference("2", ["x"])],
    }
    rated = [
        {
            "predictions": [
                {"id": id_, "prediction_text": text, "no_answer_probability": probability}
                for id_, (text, _, probability) in rows.items()
            ],
            "references": [reference(id_, golds) for id_, (_, golds, _) in rows.items()],
        }
        for rows in [RATED, *RANDOMLY_RATED]
    ]
    folder = tmp_path_factory.mktemp("evaluate")
    caches = {"HF_HOME": str(folder), "HF_MODULES_CACHE": str(folder / "modules"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOAD],
        input=json.dumps([{name: module_path(name) for name in SCORERS}, inputs, rated]),
        env={**os.environ, **caches},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return results


def test_evaluate_loads_every_scorer_offline(evaluated: dict[str, Any]) -> None:
    examples = [example("1", GOLDS), example("2", ["x"])]
    for name in SCORERS:
        wanted = score_predictions({"1": PREDICTION}, examples, get_scorer(name)).result()
        assert evaluated[name] == wanted | ({"exact": wanted["exact_match"]} if name == "squad_v2" else {})
    assert len({evaluated[name]["f1"] for name in SCORERS}) >= 6
    assert evaluated["added"] == evaluated["squad_v2"]


def test_evaluate_loads_no_language_that_mlqa_does_not_have(evaluated: dict[str, Any]) -> None:
    for wrong in (None, "ko", "mlqa_de"):
        message = f"config name {wrong!r} is no language of MLQA: use one of ar, de, en, es, hi, vi, zh, such as "
        assert evaluated[f"refused {wrong}"].startswith(message)
    assert len({module_path(name) for name in SCORERS}) == 6
    with pytest.raises(UsageError, match="'mlqa' is not known"):
        module_path("mlqa")


def official_best(rows: Rated, scores: Mapping[str, float]) -> tuple[float, float | None]:
    """`find_best_thresh` of SQuAD's evaluate-v2.0.py, but for None where that says 0 for answering nothing."""
    current = best = float(sum(not golds for _, golds, _ in rows.values()))
    threshold = None
    for key in sorted(rows, key=lambda key: rows[key][2]):
        text, golds, probability = rows[key]
        current += scores[key] if golds else -1 if text else 0
        if current > best + 1e-9:
            best, threshold = current, probability
    return 100 * best / len(rows), threshold


def test_squad_v2_reports_the_best_thresholds(evaluated: dict[str, Any]) -> None:
    # By F1 a, b, and the three without an answer; c, d and e, above 0.4, are not answered, and neither is g.
    assert evaluated["rated"][0]["best_f1"] == pytest.approx(100 * 4.8 / 7)
    assert evaluated["rated"][0]["best_f1_thresh"] == 0.4
    assert evaluated["rated"][0]["best_exact"] == pytest.approx(100 * 4 / 7)
    assert evaluated["rated"][0]["best_exact_thresh"] == 0.1
    for rows, found in zip([RATED, *RANDOMLY_RATED], evaluated["rated"], strict=True):
        scored = {key: get_scorer("squad_v2").score(text, golds) for key, (text, golds, _) in rows.items()}
        for i, name in enumerate(("exact", "f1")):
            best, threshold = official_best(rows, {key: scores[i] for key, scores in scored.items()})
            assert found[f"best_{name}"] == pytest.approx(best, abs=1e-6)
            lowest = min(probability for _, _, probability in rows.values())
            wanted = math.nextafter(lowest, -1) if threshold is None else threshold
            assert found[f"best_{name}_thresh"] == wanted
    assert not any(key.startswith("best") for key in evaluated["squad_v2"])  # No probabilities were given.


def test_squad_v2_counts_what_is_above_the_threshold_as_no_answer(evaluated: dict[str, Any]) -> None:
    # By F1 a 1, b 0.8, c 0, d 0, e 1, f 1, g 1 as they are. Above 0.5, c becomes right, and g wrong: it has an answer.
    whole, cut = evaluated["rated"][0], evaluated["threshold"]
    assert (whole["HasAns_f1"], cut["HasAns_f1"]) == (pytest.approx(280 / 4), pytest.approx(180 / 4))
    assert (whole["NoAns_f1"], cut["NoAns_f1"]) == (pytest.approx(200 / 3), 100.0)
    assert whole["f1"] == cut["f1"] == pytest.approx(480 / 7)


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
