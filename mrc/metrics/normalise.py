"""Texts -> the form in which a scorer compares them, each step in the order of the official script.

The order matters: deleting punctuation can make an article ("a." -> "a"), and the lower case of a capital sigma depends
on the letters around it, so that a symbol has to become a space before and not after.
"""

import re
import string
import unicodedata
from types import MappingProxyType

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = dict.fromkeys(map(ord, string.punctuation))
_KORQUAD_SYMBOLS = dict.fromkeys(map(ord, "'\"《》<>〈〉()‘’"), " ")

# The class ends at its first "]", so that this is one symbol and the four after it, in a row.
_KLUE_SYMBOLS = re.compile(r"['\"《》<>〈〉]\(\)‘’")


class _WithoutPunctuation(dict[int, int | None]):
    """A table for `str.translate` that deletes punctuation, Unicode's and ASCII's, which has symbols among it.

    It looks a character up when that is first met: to go through all of Unicode would take a fifth of a second.
    """

    def __missing__(self, code: int) -> int | None:
        kept = None if unicodedata.category(chr(code)).startswith("P") else code
        self[code] = kept
        return kept


_NO_UNICODE_PUNCTUATION = _WithoutPunctuation(_NO_PUNCTUATION)

_MLQA_REWRITES = MappingProxyType(
    {
        # In the script the article may also be "\sال^", which never matches. So it goes from within words, too.
        "ar": (re.compile("ال"), " "),
        "de": (re.compile(r"\b(?:ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b"), " "),
        "en": (_ARTICLES, " "),
        "es": (re.compile(r"\b(?:un|una|unos|unas|el|la|los|las)\b"), " "),
        "hi": None,
        "vi": (re.compile(r"\b(?:của|là|cái|chiếc|những)\b"), " "),
        # Chinese is not written in words: each of these characters is a token.
        "zh": (re.compile("[\u4e00-\u9fa5]"), r" \g<0> "),
    }
)
"""What is replaced between deleting punctuation and collapsing white space, and by what."""


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


def normalise_korquad_v2(text: str) -> str:
    """Take the text out of HTML, normalise that as in KorQuAD 1.0, and delete all white space.

    An entity is a character before it is normalised: of "1 &lt; 2" there is left "12".
    Source: `normalize_answer` of KorQuAD 2.0's and 2.1's evaluation script.
    """
    return normalise_korquad(_text_of_html(text)).replace(" ", "")


def normalise_klue_mrc(text: str) -> str:
    """Lower the case, delete ASCII punctuation, and collapse white space.

    The script means to blank out KorQuAD's symbols, too, but its expression finds only five of them in a row, such as
    "'()‘’", and so does this.
    Source: `normalize_answer_for_klue_mrc` of KLUE-baseline's klue_baseline/metrics/utils.py.
    """
    return " ".join(_KLUE_SYMBOLS.sub(" ", text.lower()).translate(_NO_PUNCTUATION).split())


def normalise_mlqa(text: str, *, language: str) -> str:
    """Lower the case, delete all punctuation, blank out the language's articles, and collapse white space.

    Chinese has white space on both sides of each character from U+4E00 to U+9FA5 afterwards: "iPhone手机" ->
    "iphone 手 机". Hindi has no articles.
    Source: `normalize_answer` of mlqa_evaluation_v1.py.

    Args:
        text: What to normalise.
        language: The answer's: ar, de, en, es, hi, vi or zh.
    """
    without_punctuation = text.lower().translate(_NO_UNICODE_PUNCTUATION)
    if rewrite := _MLQA_REWRITES[language]:
        pattern, replacement = rewrite
        without_punctuation = pattern.sub(replacement, without_punctuation)
    return " ".join(without_punctuation.split())


def _text_of_html(text: str) -> str:
    """Return the text of HTML, as Beautiful Soup gives it, without tags, comments, scripts and styles.

    The script leaves the parser to what is installed; this is the one of the standard library, so that all machines
    give the same scores. A text that it refuses, such as "<![<", counts as it stands, where the script would stop.
    """
    if "<" not in text and "&" not in text:
        return text  # It is its own text, and parsing takes ten times as long as the rest of scoring.
    import bs4  # Here, as importing takes a tenth of a second, and few texts have tags.
    from bs4.exceptions import ParserRejectedMarkup

    try:
        # Behind an element nothing looks like a file name, an address or XML, of which Beautiful Soup would warn.
        return bs4.BeautifulSoup(f"<b></b>{text}", "html.parser").get_text()
    except (ParserRejectedMarkup, ValueError):  # The latter of "&#" with more digits than Python makes a number of.
        return text
