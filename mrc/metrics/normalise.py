"""Texts -> the form in which a scorer compares them, each step in the order of the official script.

The order matters: deleting punctuation can make an article ("a." -> "a"), and the lower case of a capital sigma depends
on the letters around it, so that a symbol has to become a space before and not after.
"""

import re
import string

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = dict.fromkeys(map(ord, string.punctuation))
_KORQUAD_SYMBOLS = dict.fromkeys(map(ord, "'\"《》<>〈〉()‘’"), " ")


def normalise_squad(text: str) -> str:
    """Lower the case, delete ASCII punctuation, blank out `a`, `an`, `the` as words, and collapse white space.

    Source: `normalize_answer` of SQuAD's evaluate-v1.1.py and evaluate-v2.0.py.
    """
    without_punctuation = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", without_punctuation).split())


def normalise_korquad(text: str) -> str:
    """Blank out quotes and brackets, lower the case, delete ASCII punctuation, and collapse white space.

    Articles stay. Quotes and brackets part words where other punctuation joins them: "가(나)" -> "가 나", but
    "가-나" -> "가나".
    Source: `normalize_answer` of KorQuAD 1.0's evaluate-v1.0.py.
    """
    return " ".join(text.translate(_KORQUAD_SYMBOLS).lower().translate(_NO_PUNCTUATION).split())
