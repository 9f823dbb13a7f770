"""An evaluation as large as life, Korean and English, with every section of a report filled."""

import datetime
import random
from dataclasses import replace

from mrc.evaluation.outcome import (
    OVERALL,
    Answerability,
    Calibration,
    CalibrationBin,
    Comparison,
    Evaluation,
    Interval,
    KoreanAnalysis,
    Mismatches,
    PastRun,
    QuestionView,
    SliceChange,
    SliceScore,
    Thresholds,
)

KOREAN = (
    "수원 화성은 조선 정조 때 지은 성곽으로, 1794년에 공사를 시작하여 1796년에 마쳤다. 설계는 정약용이 맡았으며 "
    "그는 무거운 돌을 들어 올리는 거중기를 고안하여 공사 기간을 크게 줄였다. 공사에 든 비용과 일꾼의 이름, 품삯까지 "
    "모두 『화성성역의궤』에 남아 있어, 전쟁으로 무너진 부분을 20세기에 원래 모습대로 다시 세울 수 있었다. "
    "1997년에는 유네스코 세계유산에 올랐다."
)
ENGLISH = (
    "The lighthouse at Cordouan stands seven kilometres out at sea, near the mouth of the Gironde estuary. Work began "
    "in 1584 under the engineer Louis de Foix, who did not live to see it lit; his successor François Beuscher "
    "finished the tower in 1611. It was the first to carry a Fresnel lens, in 1823, and its keepers still climb 301 "
    "steps to the lamp."
)
LONG = "바람이 불고 물결이 높았다. " * 60 + KOREAN + " 그 뒤의 일은 여러 책에 흩어져 있다." * 50

QUESTIONS = (
    ("수원 화성의 설계를 맡은 사람은 누구인가?", KOREAN, ("정약용",), "정약용이"),
    ("공사 기간을 줄이려고 정약용이 고안한 것은?", KOREAN, ("거중기", "거중기를"), "무거운 돌을 들어 올리는 거중기"),
    ("Who finished the tower of Cordouan?", ENGLISH, ("François Beuscher", "Beuscher"), "Louis de Foix"),
    ("화성 공사의 품삯은 어느 책에 남아 있는가?", LONG, ("화성성역의궤", "『화성성역의궤』"), "여러 책"),
    ("In which year did Cordouan first carry a Fresnel lens?", ENGLISH, ("1823", "in 1823"), "1611"),
    ("Which storm damaged the tower in 1700?", ENGLISH, (), "Gironde estuary"),
    ("수원 화성은 언제 세계유산에 올랐나?", KOREAN, ("1997년", "1997"), ""),
    ("How many steps lead up to the lamp?", ENGLISH, ("301", "301 steps"), None),
)

_TITLES = ("조선왕조실록", "대법원 판결", "Annual report", "수원 화성", "Cordouan")
_DOMAINS = "역사 법률·판례 의료 금융 스포츠 과학·기술 지방자치단체의_조례와_시행규칙 news encyclopedia"

DIMENSIONS = {
    "answerable": ("answerable", "unanswerable"),
    "answer_length": ("1-4", "5-9", "10-19", "20-39", "40+"),
    "question_word": ("how many / 몇", "how / 어떻게", "when / 언제", "who / 누구", "what / 무엇", "other"),
    "domain": tuple(name.replace("_", " ") for name in _DOMAINS.split()),
    "title": tuple(f"{name} {number}" for number in range(1, 13) for name in _TITLES),
}


def rich(num_questions: int = 5000, num_views: int = 24) -> Evaluation:
    """Return an evaluation with all sections, the same each time."""
    rng = random.Random(7)
    slices = [_score(OVERALL, "", num_questions, 83.41, 0.9)]
    changes = [_change(OVERALL, "", num_questions, 1.27, 0.62)]
    for name, values in DIMENSIONS.items():
        weights = [rng.uniform(0.3, 3) for _ in values]
        for value, weight in zip(values, weights, strict=True):
            total = max(1, round(num_questions * weight / sum(weights)))
            noise = 40 / total**0.5
            slices.append(_score(name, value, total, min(98.0, 83 + rng.gauss(0, 7)), noise if total > 60 else None))
            changes.append(_change(name, value, total, rng.gauss(0.8, 2), 1.2 * noise if total > 60 else None))
    views = [_view(number) for number in range(num_views)]
    return Evaluation(
        run_id="2026-03-14-korquad-mbert-b7",
        created_at="2026-03-14T09:26:53+00:00",
        scorer="korquad",
        predictions="s3://bucket/answers/2026-03-14/predictions/*.parquet",
        references="data/KorQuAD_v1.0_dev.json",
        model_fingerprint="sha256:0f5b1d7c9a64e2b83c11",
        data_fingerprint="sha256:9a3ee4c2b7d15f608e44",
        seconds=74.2,
        slices=tuple(slices),
        mismatches=Mismatches(
            missing=12, extra=3, duplicate_references=1, duplicate_predictions=0, bad_references=2, bad_predictions=0
        ),
        history=tuple(_past(number) for number in range(11)),
        calibration=_calibration(num_questions),
        answerability=Answerability(
            answered_answerable=3912, unanswered_answerable=241, answered_unanswerable=188, unanswered_unanswerable=659
        ),
        thresholds=_thresholds(),
        korean=KoreanAnalysis(misses=1284, only_particles=407, best_exact_match=93.18),
        worst=tuple(views),
        comparison=Comparison(
            baseline="2026-03-07-korquad-mbert-b6",
            only_here=40,
            only_there=0,
            changes=tuple(changes),
            won=412,
            lost=318,
            won_examples=tuple(_compared(view, "그는", 0.0) for view in views[:4]),
            lost_examples=tuple(_compared(view, "정조", 1.0) for view in views[4:10]),
        ),
        config={
            "predictions": "s3://bucket/answers/2026-03-14/predictions/*.parquet",
            "references": "data/KorQuAD_v1.0_dev.json",
            "scorer": "korquad",
            "slice_by": ["question_type", "answer_length", "domain", "title"],
            "baseline": "2026-03-07-korquad-mbert-b6",
            "fail_below": {"f1": 80.0, "exact_match": None},
            "note": "주간 평가",
        },
    )


def bare() -> Evaluation:
    """Return an evaluation of one question without anything that may be left out."""
    figures = {"exact_match": 0.0, "f1": 0.0, "total": 1}
    overall = SliceScore(slice_by=OVERALL, slice="", figures=figures, exact_match_interval=None, f1_interval=None)
    return replace(
        rich(num_views=0),
        slices=(overall,),
        model_fingerprint=None,
        mismatches=Mismatches(
            missing=0, extra=0, duplicate_references=0, duplicate_predictions=0, bad_references=0, bad_predictions=0
        ),
        history=(),
        calibration=None,
        answerability=None,
        thresholds=None,
        korean=None,
        comparison=None,
        config={},
    )


def _score(name: str, value: str, total: int, f1: float, half: float | None) -> SliceScore:
    exact = f1 - 9.3
    figures = {"exact_match": exact, "f1": f1, "total": total}
    if name == OVERALL:
        figures |= {"HasAns_exact": 73.2, "HasAns_f1": 84.56, "HasAns_total": total - 847, "missing": 12}
        figures |= {"NoAns_exact": 77.8, "NoAns_f1": 77.8, "NoAns_total": 847}
    return SliceScore(
        slice_by=name,
        slice=value,
        figures=figures,
        exact_match_interval=_around(exact, half and half * 1.2),
        f1_interval=_around(f1, half),
    )


def _change(name: str, value: str, total: int, f1: float, half: float | None) -> SliceChange:
    return SliceChange(
        slice_by=name,
        slice=value,
        total=total,
        exact_match=f1 * 0.8,
        exact_match_interval=None if half is None else (f1 * 0.8 - half, f1 * 0.8 + half),
        f1=f1,
        f1_interval=None if half is None else (f1 - half, f1 + half),
    )


def _around(value: float, half: float | None) -> Interval | None:
    return None if half is None else (max(0.0, value - half), min(100.0, value + half))


def _past(number: int) -> PastRun:
    f1 = (76.2, 77.9, 77.5, 79.8, 80.1, 80.0, 81.6, 81.2, 82.3, 82.14, 83.41)[number]
    day = datetime.date(2026, 3, 14) - datetime.timedelta(weeks=10 - number)
    return PastRun(
        run_id="2026-03-14-korquad-mbert-b7" if number == 10 else f"{day}-korquad-mbert-b{number}",
        created_at=f"{day}T09:26:53+00:00",
        exact_match=f1 - 9.3 + 0.4 * (-1) ** number,
        f1=f1,
        f1_interval=None if number == 2 else (f1 - 1, f1 + 0.9),
    )


def _calibration(num_questions: int) -> Calibration:
    counts = [max(1, round(num_questions * (0.006 + 0.4 * (number / 14) ** 4))) for number in range(15)]
    bins = tuple(
        CalibrationBin(
            low=number / 15,
            high=(number + 1) / 15,
            count=counts[number],
            mean_probability=(number + 0.55) / 15,
            exact_match=min(1.0, 0.08 + 0.82 * (number / 14) ** 1.3),
        )
        for number in range(15)
    )
    return Calibration(bins=bins, expected_error=0.043)


def _thresholds() -> Thresholds:
    def scores(threshold: float) -> tuple[float, float]:
        exact = 74.9 - 0.09 * (threshold - 0.6) ** 2 - (4 if threshold < -6 else 0) * (-6 - threshold) / 4
        return max(17.0, exact), max(17.0, exact + 9.2 / (1 + 2.7 ** (-0.5 * (threshold + 8))))

    curve = tuple((step / 5, *scores(step / 5)) for step in range(-60, 61))
    return Thresholds(
        best_exact=scores(0.6)[0],
        best_exact_thresh=0.6,
        best_f1=max(point[2] for point in curve),
        best_f1_thresh=max(curve, key=lambda point: point[2])[0],
        curve=curve,
    )


def _view(number: int) -> QuestionView:
    question, passage, golds, answer = QUESTIONS[number % len(QUESTIONS)]
    start = passage.find(answer) if answer else -1
    return QuestionView(
        id=f"656{number:04}-{number % 7}-0",
        question=question,
        golds=golds,
        answer=answer,
        exact_match=0,
        f1=0.857 if answer == "정약용이" else 0.0,
        probability=None if answer is None else 0.99 - 0.02 * number,
        passage=passage,
        gold_spans=tuple((passage.find(gold), passage.find(gold) + len(gold)) for gold in golds),
        answer_span=(start, start + len(answer)) if answer else None,
    )


def _compared(view: QuestionView, answer: str, f1: float) -> QuestionView:
    return replace(view, baseline_answer=answer, baseline_f1=f1)
