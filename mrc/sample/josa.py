"""Korean particles (조사) whose form depends on the last sound of the word before them: 다리는, 대교는, 축제가, 마을이.

A particle may be asked for in either form: `attach("김도윤", "가")` and `attach("김도윤", "이")` both give "김도윤이".
"""

# (after a final consonant, after a vowel)
PAIRS = (("은", "는"), ("이", "가"), ("을", "를"), ("과", "와"), ("으로", "로"))
_PAIR_OF = {form: pair for pair in PAIRS for form in pair}

_FIRST_SYLLABLE, _LAST_SYLLABLE = ord("가"), ord("힣")
_NUM_FINALS = 28  # No final consonant, or one of 27: the index of the syllable, modulo 28.
_RIEUL = 8
# The finals of what is read aloud: 영 일 이 삼 사 오 육 칠 팔 구, and the letters L, M, N, R (엘, 엠, 엔, 알).
_SPOKEN_FINALS = dict(zip("0123456789lmnr", (21, 8, 0, 16, 0, 0, 1, 8, 8, 0, 8, 16, 4, 8), strict=True))


def final_consonant(word: str) -> int:
    """Return the number of the last sound's final consonant in Unicode's order, 0 for none and 8 for ㄹ.

    Closing marks are not spoken: 《푸른 강》 ends as 강 does. A digit or a Latin letter ends as its Korean name does.
    """
    spoken = [character for character in word if character.isalnum()]
    last = spoken[-1].lower() if spoken else ""
    if last and _FIRST_SYLLABLE <= ord(last) <= _LAST_SYLLABLE:
        return (ord(last) - _FIRST_SYLLABLE) % _NUM_FINALS
    return _SPOKEN_FINALS.get(last, 0)


def attach(word: str, particle: str) -> str:
    """Return the word with the particle, in the form that the word's last sound asks for.

    A particle that has one form only, such as 에서, 의 or the empty one, is attached as it is. 으로 is special: a word
    that ends in ㄹ takes 로, as a vowel does (서울로).
    """
    after_consonant, after_vowel = _PAIR_OF.get(particle, (particle, particle))
    final = final_consonant(word)
    takes_vowel_form = final == 0 or (final == _RIEUL and after_vowel == "로")
    return word + (after_vowel if takes_vowel_form else after_consonant)
