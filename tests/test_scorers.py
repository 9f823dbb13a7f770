"""Scorers against hand-written tables: the same answers by every rule, and what is particular to each language."""

import itertools
import typing

import pytest

from mrc.errors import UsageError
from mrc.metrics import SCORERS, ScorerChoice, ScorerName, get_scorer

Scores = tuple[int, float]

NOTHING = (0, 0.0)
RIGHT = (1, 1.0)
EMPTY = (1, 0.0)  # Equal, and without anything to share.

COLUMNS = ("squad", "squad_v2", "korquad", "korquad_v2", "klue_mrc", "mlqa_en")

# Prediction, golds, then (exact match, F1) by squad, squad_v2, korquad, korquad_v2, klue_mrc and mlqa_en. F1 is written
# as twice what is shared over the sum of the lengths: of tokens, of characters but for white space, or, by klue_mrc, of
# the longest run and of all characters.
GOLDEN: list[tuple[str, list[str], Scores, Scores, Scores, Scores, Scores, Scores]] = [
    ("Paris", ["Paris"], RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, RIGHT),
    ("paris", ["PARIS"], RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, RIGHT),
    ("Paris.", ["Paris"], RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, RIGHT),
    ("Rome", ["Xylyx"], NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING),
    # Articles are words of their own, and only English ones.
    ("The Paris", ["Paris"], RIGHT, RIGHT, (0, 10 / 13), (0, 10 / 13), (0, 10 / 14), RIGHT),
    ("the the cat", ["cat"], RIGHT, RIGHT, (0, 6 / 12), (0, 6 / 12), (0, 6 / 14), RIGHT),
    ("An apple a day", ["apple day"], RIGHT, RIGHT, (0, 16 / 19), (0, 16 / 19), (0, 12 / 23), RIGHT),
    ("another cat", ["other cat"], (0, 1 / 2), (0, 1 / 2), (0, 16 / 18), (0, 16 / 18), (0, 18 / 20), (0, 1 / 2)),
    ("them", ["m"], NOTHING, NOTHING, (0, 2 / 5), (0, 2 / 5), (0, 2 / 5), NOTHING),
    ("A. Smith", ["smith"], RIGHT, RIGHT, (0, 10 / 11), (0, 10 / 11), (0, 10 / 12), RIGHT),
    ("a b", ["b a"], RIGHT, RIGHT, (0, 1.0), (0, 1.0), (0, 2 / 6), RIGHT),
    ("a b c", ["a x c"], (0, 1 / 2), (0, 1 / 2), (0, 4 / 6), (0, 4 / 6), (0, 4 / 10), (0, 1 / 2)),
    ("la casa", ["casa"], (0, 2 / 3), (0, 2 / 3), (0, 8 / 10), (0, 8 / 10), (0, 8 / 11), (0, 2 / 3)),
    # Both sides can normalise to nothing, or one.
    ("", [""], EMPTY, RIGHT, EMPTY, EMPTY, RIGHT, EMPTY),
    ("", ["Paris"], NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING),
    ("Paris", [""], NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING),
    ("a", ["the"], EMPTY, RIGHT, NOTHING, NOTHING, NOTHING, EMPTY),
    ("...", ["!?"], EMPTY, RIGHT, EMPTY, EMPTY, RIGHT, EMPTY),
    ("x", ["the", "x"], RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, RIGHT),
    ("", ["the", "x"], EMPTY, NOTHING, NOTHING, NOTHING, NOTHING, EMPTY),
    ("", ["...", "x"], EMPTY, NOTHING, EMPTY, EMPTY, RIGHT, EMPTY),
    ("《》", ["‘’"], NOTHING, NOTHING, EMPTY, EMPTY, NOTHING, EMPTY),
    ("<br>", [""], NOTHING, NOTHING, NOTHING, EMPTY, NOTHING, NOTHING),
    ("", [], RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, RIGHT),
    ("...", [], RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, RIGHT),
    ("…", [], NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, RIGHT),
    ("x", [], NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING),
    # Symbols: KorQuAD's list has the single quotes and the angle brackets, not the double or the corner ones. KLUE's is
    # found only as one of its symbols with "()‘’" right behind.
    ("《무정》", ["무정"], NOTHING, NOTHING, RIGHT, RIGHT, (0, 4 / 6), RIGHT),
    ("〈무정〉", ["무정"], NOTHING, NOTHING, RIGHT, RIGHT, (0, 4 / 6), RIGHT),
    ("‘무정’", ["무정"], NOTHING, NOTHING, RIGHT, RIGHT, (0, 4 / 6), RIGHT),
    ("“무정”", ["무정"], NOTHING, NOTHING, (0, 4 / 6), (0, 4 / 6), (0, 4 / 6), RIGHT),
    ("「무정」", ["무정"], NOTHING, NOTHING, (0, 4 / 6), (0, 4 / 6), (0, 4 / 6), RIGHT),
    ('"무정"', ["무정"], RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, RIGHT),
    ("이광수(소설가)", ["이광수"], NOTHING, NOTHING, (0, 6 / 9), (0, 6 / 9), (0, 6 / 9), NOTHING),
    ("이광수(소설가)", ["이광수 소설가"], NOTHING, NOTHING, RIGHT, RIGHT, (0, 6 / 13), NOTHING),
    ("이광수-소설가", ["이광수소설가"], RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, RIGHT),
    ("don't", ["dont"], RIGHT, RIGHT, (0, 1.0), RIGHT, RIGHT, RIGHT),
    ("don't", ["don t"], NOTHING, NOTHING, RIGHT, RIGHT, (0, 6 / 9), NOTHING),
    ("x《()‘’y", ["x y"], NOTHING, NOTHING, RIGHT, RIGHT, RIGHT, NOTHING),
    ("x()‘’y", ["x y"], NOTHING, NOTHING, RIGHT, RIGHT, (0, 2 / 7), NOTHING),
    ("x《y", ["x y"], NOTHING, NOTHING, RIGHT, RIGHT, (0, 2 / 6), NOTHING),
    # HTML: text to all but KorQuAD 2, and an entity is a character there.
    ("<p>무정</p>", ["무정"], NOTHING, NOTHING, (0, 4 / 6), RIGHT, (0, 4 / 6), NOTHING),
    ("무<br>정", ["무정"], NOTHING, NOTHING, (0, 4 / 6), RIGHT, (0, 2 / 6), NOTHING),
    ("<b>x</b>", ["b x b"], NOTHING, NOTHING, RIGHT, (0, 2 / 4), (0, 2 / 8), NOTHING),
    ("<td>x", ["x"], NOTHING, NOTHING, (0, 2 / 4), RIGHT, (0, 2 / 4), NOTHING),
    ("<a href='x'>Ada</a>", ["Ada"], NOTHING, NOTHING, (0, 6 / 13), RIGHT, (0, 6 / 14), NOTHING),
    ("<!-- x -->y", ["y"], (0, 2 / 3), (0, 2 / 3), (0, 2 / 3), RIGHT, (0, 2 / 4), (0, 2 / 3)),
    ("<style>b{}</style>y", ["y"], NOTHING, NOTHING, (0, 2 / 13), RIGHT, (0, 2 / 13), NOTHING),
    ("3<5", ["3 5"], NOTHING, NOTHING, RIGHT, RIGHT, (0, 2 / 5), NOTHING),
    ("1 &lt; 2", ["1 2"], (0, 4 / 5), (0, 4 / 5), (0, 4 / 6), RIGHT, (0, 4 / 9), (0, 4 / 5)),
    ("&lt;b&gt;", ["b"], NOTHING, NOTHING, (0, 2 / 6), RIGHT, (0, 2 / 6), NOTHING),
    ("AT&amp;T", ["AT&T"], NOTHING, NOTHING, (0, 6 / 9), RIGHT, (0, 4 / 9), NOTHING),
    ("&#44032;", ["가"], NOTHING, NOTHING, NOTHING, RIGHT, NOTHING, NOTHING),
    ("x&nbsp;y", ["x y"], NOTHING, NOTHING, (0, 4 / 8), RIGHT, (0, 2 / 9), NOTHING),
    # Particles and spacing.
    ("무정은", ["무정"], NOTHING, NOTHING, (0, 4 / 5), (0, 4 / 5), (0, 4 / 5), NOTHING),
    ("이광수소설가", ["이광수 소설가"], NOTHING, NOTHING, (0, 1.0), RIGHT, (0, 6 / 13), NOTHING),
    ("서울 특별시", ["서울특별시"], NOTHING, NOTHING, (0, 1.0), RIGHT, (0, 6 / 11), NOTHING),
    ("New York", ["newyork"], NOTHING, NOTHING, (0, 1.0), RIGHT, (0, 8 / 15), NOTHING),
    ("  x \t y\n", ["x y"], RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, RIGHT),
    ("x\u00a0y", ["x\u3000y"], RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, RIGHT),
    ("x\u200by", ["xy"], NOTHING, NOTHING, (0, 4 / 5), (0, 4 / 5), (0, 2 / 5), NOTHING),
    # Unicode punctuation is text but to MLQA, Unicode symbols are text to all, and so is a decomposed syllable.
    ("x，y", ["xy"], NOTHING, NOTHING, (0, 4 / 5), (0, 4 / 5), (0, 2 / 5), RIGHT),
    ("3–4", ["34"], NOTHING, NOTHING, (0, 4 / 5), (0, 4 / 5), (0, 2 / 5), RIGHT),
    ("Paris…", ["Paris"], NOTHING, NOTHING, (0, 10 / 11), (0, 10 / 11), (0, 10 / 11), RIGHT),
    ("¿Qué?", ["qué"], NOTHING, NOTHING, (0, 6 / 7), (0, 6 / 7), (0, 6 / 7), RIGHT),
    ("l’Oréal", ["lOréal"], NOTHING, NOTHING, (0, 1.0), RIGHT, (0, 10 / 13), RIGHT),
    ("a–b", ["–b"], RIGHT, RIGHT, (0, 4 / 5), (0, 4 / 5), (0, 4 / 5), NOTHING),
    ("€5", ["5"], NOTHING, NOTHING, (0, 2 / 3), (0, 2 / 3), (0, 2 / 3), NOTHING),
    ("$5 or 10%", ["5 or 10 %"], RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, RIGHT),
    ("x²", ["x2"], NOTHING, NOTHING, (0, 2 / 4), (0, 2 / 4), (0, 2 / 4), NOTHING),
    ("ﬁve", ["five"], NOTHING, NOTHING, (0, 4 / 7), (0, 4 / 7), (0, 4 / 7), NOTHING),
    ("１２３", ["123"], NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING),
    ("\u1100\u1161\u11a8", ["\uac01"], NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING),
    # Letters: the lower case, which is no case folding. A capital sigma becomes a final one at the end of a word, and
    # an apostrophe ends none, but a space in its place does.
    ("ΟΔΟΣ'Α", ["οδοσα"], RIGHT, RIGHT, (0, 8 / 10), (0, 8 / 10), RIGHT, RIGHT),
    ("STRASSE", ["straße"], NOTHING, NOTHING, (0, 10 / 13), (0, 10 / 13), (0, 8 / 13), NOTHING),
    ("İstanbul", ["istanbul"], NOTHING, NOTHING, (0, 16 / 17), (0, 16 / 17), (0, 14 / 17), NOTHING),
    # Numbers: signs and points are punctuation.
    ("1.5", ["15"], RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, RIGHT),
    ("-5", ["5"], RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, RIGHT),
    ("U.S. Army", ["US army"], RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, RIGHT),
    ("snake_case", ["snakecase"], RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, RIGHT),
    # Bags count repetitions, runs keep the order; the best gold counts, for each measure by itself.
    ("cat cat dog", ["cat dog dog"], (0, 4 / 6), (0, 4 / 6), (0, 12 / 18), (0, 12 / 18), (0, 14 / 22), (0, 4 / 6)),
    ("cat dog", ["cat", "cat dog owl"], (0, 4 / 5), (0, 4 / 5), (0, 12 / 15), (0, 12 / 15), (0, 14 / 18), (0, 4 / 5)),
    ("dog cat", ["cat dog"], (0, 1.0), (0, 1.0), (0, 1.0), (0, 1.0), (0, 6 / 14), (0, 1.0)),
    ("abcdef", ["fedcba"], NOTHING, NOTHING, (0, 1.0), (0, 1.0), (0, 2 / 12), NOTHING),
    ("abxcd", ["abcd"], NOTHING, NOTHING, (0, 8 / 9), (0, 8 / 9), (0, 4 / 9), NOTHING),
    ("1917년 1월 1일", ["1917년 1월"], (0, 4 / 5), (0, 4 / 5), (0, 14 / 16), (0, 14 / 16), (0, 16 / 19), (0, 4 / 5)),
    ("소설 무정", ["무정", "소설가"], (0, 2 / 3), (0, 2 / 3), (0, 4 / 6), (0, 4 / 6), (0, 4 / 7), (0, 2 / 3)),
    ("무정", ["춘원", "무정"], RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, RIGHT),
]

# Language, prediction, golds, (exact match, F1) by the scorer of MLQA for that language.
MLQA: list[tuple[str, str, list[str], Scores]] = [
    # Spanish articles, definite and indefinite, but not "lo" and not what is joined to a preposition.
    ("es", "el perro", ["perro"], RIGHT),
    ("es", "Los perros y las gatas", ["perros y gatas"], RIGHT),
    ("es", "una casa", ["la casa"], RIGHT),
    ("es", "unos", ["unas"], EMPTY),
    ("es", "lo bueno", ["bueno"], (0, 2 / 3)),
    ("es", "al norte", ["norte"], (0, 2 / 3)),
    ("es", "the house", ["house"], (0, 2 / 3)),
    ("es", "él", ["el"], NOTHING),
    ("es", "elástico", ["ástico"], NOTHING),
    ("es", "la\u0300", ["\u0300"], RIGHT),  # A word ends before a combining mark.
    ("es", "¿Dónde?", ["dónde"], RIGHT),
    ("es", "«Madrid»", ["Madrid"], RIGHT),
    ("es", "El Niño", ["Nino"], NOTHING),
    # German articles in every case, but not what is joined to a preposition, and no "kein".
    ("de", "der Rhein", ["Rhein"], RIGHT),
    ("de", "Die Brücke", ["eine Brücke"], RIGHT),
    ("de", "des Kaisers", ["Kaisers"], RIGHT),
    ("de", "dem Dom", ["den Dom"], RIGHT),
    ("de", "Die Zeit der Uhr", ["Zeit Uhr"], RIGHT),
    ("de", "einem", ["einer"], EMPTY),
    ("de", "im Dom", ["Dom"], (0, 2 / 3)),
    ("de", "keine Zeit", ["Zeit"], (0, 2 / 3)),
    ("de", "the end", ["end"], (0, 2 / 3)),
    ("de", "einst", ["st"], NOTHING),
    ("de", "Straße", ["STRASSE"], NOTHING),
    ("de", "„Faust“", ["Faust"], RIGHT),
    ("de", "1. FC Köln – der Verein", ["1 FC Köln Verein"], RIGHT),
    # Vietnamese: classifiers and "of", if composed; not "một" and not "con".
    ("vi", "của Hà Nội", ["Hà Nội"], RIGHT),
    ("vi", "những người", ["người"], RIGHT),
    ("vi", "cái bàn", ["chiếc bàn"], RIGHT),
    ("vi", "là", ["của"], EMPTY),
    ("vi", "CỦA vua", ["vua"], RIGHT),
    ("vi", "la\u0300 vua", ["vua"], (0, 2 / 3)),
    ("vi", "một người", ["người"], (0, 2 / 3)),
    ("vi", "con mèo", ["mèo"], (0, 2 / 3)),
    ("vi", "the vua", ["vua"], (0, 2 / 3)),
    ("vi", "làm", ["m"], NOTHING),
    ("vi", "Thành phố Hồ Chí Minh", ["Hồ Chí Minh"], (0, 6 / 8)),
    ("vi", "“Truyện Kiều”", ["Truyện Kiều"], RIGHT),
    # Arabic: every alef with lam, wherever it is, but no other alef.
    ("ar", "الكتاب", ["كتاب"], RIGHT),
    ("ar", "القاهرة القديمة", ["قاهرة قديمة"], RIGHT),
    ("ar", "مقال", ["مق"], RIGHT),
    ("ar", "بالكتاب", ["ب كتاب"], RIGHT),
    ("ar", "والكتاب", ["كتاب"], (0, 2 / 3)),
    ("ar", "ال", ["الال"], EMPTY),
    ("ar", "ألمانيا", ["مانيا"], NOTHING),
    ("ar", "الـكتاب", ["كتاب"], NOTHING),  # The tatweel is a letter.
    ("ar", "the كتاب", ["كتاب"], (0, 2 / 3)),
    ("ar", "هل؟", ["هل"], RIGHT),
    ("ar", "أ، ب؛ ج", ["أ ب ج"], RIGHT),
    ("ar", "٥٠٪", ["٥٠"], RIGHT),
    ("ar", "«القاهرة»", ["القاهرة"], RIGHT),
    # Hindi has no articles; dandas are punctuation, vowel signs are not.
    ("hi", "दिल्ली।", ["दिल्ली"], RIGHT),
    ("hi", "॥", ["।"], EMPTY),
    ("hi", "‘ताज महल’", ["ताज महल"], RIGHT),
    ("hi", "ताज-महल", ["ताजमहल"], RIGHT),
    ("hi", "महल ताज", ["ताज महल"], (0, 1.0)),
    ("hi", "the दिल्ली", ["दिल्ली"], (0, 2 / 3)),
    ("hi", "एक दिल्ली", ["दिल्ली"], (0, 2 / 3)),
    ("hi", "दिल्ली", ["दिल्लि"], NOTHING),
    ("hi", "का", ["क"], NOTHING),
    ("hi", "१९४७", ["1947"], NOTHING),
    ("hi", "a", ["the"], NOTHING),
    ("hi", "el der là ال दिल्ली", ["दिल्ली"], (0, 2 / 6)),
    ("hi", "北京", ["北"], NOTHING),
    # Chinese: each character from U+4E00 to U+9FA5 is a token, so spaces beside it are nothing; other scripts are split
    # at white space. No articles.
    ("zh", "北京", ["北 京"], RIGHT),
    ("zh", "北京市", ["北京"], (0, 4 / 5)),
    ("zh", "京北", ["北京"], (0, 1.0)),
    ("zh", "《红楼梦》", ["红楼梦"], RIGHT),
    ("zh", "北，京", ["北京"], RIGHT),
    ("zh", "1949年", ["1949 年"], RIGHT),
    ("zh", "iPhone手机", ["iphone 手机"], RIGHT),
    ("zh", "iPhone 12", ["iphone12"], NOTHING),
    ("zh", "的确", ["确"], (0, 2 / 3)),
    ("zh", "the 北京", ["北京"], (0, 4 / 5)),
    ("zh", "，。", ["！"], EMPTY),
    ("zh", "一龥", ["一"], (0, 2 / 3)),
    ("zh", "龦龦", ["龦"], NOTHING),
    ("zh", "㐀㐁", ["㐀"], NOTHING),
    ("zh", "𠀀𠀁", ["𠀀"], NOTHING),
    ("zh", "カナ", ["カ"], NOTHING),
]


@pytest.mark.parametrize(("column", "name"), list(enumerate(COLUMNS, start=2)))
@pytest.mark.parametrize("row", GOLDEN, ids=[f"{row[0]!r}-{row[1]!r}" for row in GOLDEN])
def test_golden_table(row: tuple[object, ...], column: int, name: str) -> None:
    prediction, golds, wanted = row[0], row[1], row[column]
    assert isinstance(prediction, str)
    assert isinstance(golds, list)
    assert get_scorer(name).score(prediction, golds) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize(("language", "prediction", "golds", "wanted"), MLQA)
def test_golden_table_of_mlqa(language: str, prediction: str, golds: list[str], wanted: Scores) -> None:
    assert get_scorer(f"mlqa_{language}").score(prediction, golds) == pytest.approx(wanted, abs=1e-12)


def test_the_tables_tell_all_scorers_apart() -> None:
    languages = "ar de en es hi vi zh".split()
    rows = [("en", prediction, golds, scores[-1]) for prediction, golds, *scores in GOLDEN] + MLQA
    for name in SCORERS:
        count = len(GOLDEN) if name in COLUMNS else sum(f"mlqa_{row[0]}" == name for row in rows)
        assert count >= (60 if name in COLUMNS else 10)
    assert len({tuple(row[column] for row in GOLDEN) for column in range(2, 2 + len(COLUMNS))}) == len(COLUMNS)
    for language, other in itertools.permutations(languages, 2):
        mine = [row for row in rows if row[0] == language]
        scorer = get_scorer(f"mlqa_{other}")
        assert any(scorer.score(row[1], row[2]) != pytest.approx(row[3]) for row in mine), (language, other)


def test_frequent_characters_of_a_long_gold_start_no_run() -> None:
    # Of 250 characters one may occur 3 times, else it is frequent. The scorers of bags find 249 of 250.
    long = "x" * 249
    score = get_scorer("klue_mrc").score
    assert score(long + "x", ["y" + long]) == NOTHING
    assert score(long + "x", [long + "y"]) == (0, 2 * 249 / 500)  # But what both texts begin with is found.
    assert score("abc" + long, [long + "abc"]) == (0, 2 * 3 / 504)  # From others on, a run takes in frequent ones.
    assert score("abcx" + long, ["yabc" + long]) == (0, 2 * 252 / 506)
    assert score("y" + long, ["y" + long]) == RIGHT
    assert score("x" * 199, ["y" + "x" * 198]) == (0, 2 * 198 / 398)  # Below 200 nothing is frequent.
    assert score("x" * 199, ["y" + "x" * 199]) == NOTHING
    assert get_scorer("korquad").score(long + "x", ["y" + long]) == (0, 2 * 249 / 500)


def test_a_text_that_the_parser_refuses_counts_as_it_stands() -> None:
    score = get_scorer("korquad_v2").score
    assert score("<![<무정", ["무정"]) == RIGHT
    digits = "1" * 5000
    assert score(f"&#{digits};", [digits]) == RIGHT
    assert score("\ud800&", ["\ud800"]) == RIGHT  # Half of a pair of UTF-16 is no text to Beautiful Soup by itself.


@pytest.mark.parametrize("text", ["data/x&y.html", "https://x.org/?a&b", "<?xml version='1.0'?><doc>x</doc>", "x&y"])
def test_texts_that_look_like_files_or_xml_are_no_reason_to_warn(text: str) -> None:
    assert get_scorer("korquad_v2").score(text, [text]) == RIGHT


def test_the_types_name_all_scorers() -> None:
    assert typing.get_args(ScorerName) == tuple(SCORERS) == tuple(sorted(SCORERS))
    assert typing.get_args(ScorerChoice) == ("auto", *SCORERS)
    assert all(name == scorer.name for name, scorer in SCORERS.items())


def test_unknown_scorer_is_refused_with_the_names() -> None:
    names = (
        "klue_mrc, korquad, korquad_v2, mlqa_ar, mlqa_de, mlqa_en, mlqa_es, mlqa_hi, mlqa_vi, mlqa_zh, squad, squad_v2"
    )
    with pytest.raises(UsageError, match=f"--scorer 'rouge' is not known: use one of {names}$"):
        get_scorer("rouge")
