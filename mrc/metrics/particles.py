"""Korean particles at the end of an answer: which misses are only those.

A particle (josa) is written onto its noun, so a reader that is right about the answer may still be wrong about where it
ends: 이광수는 for 이광수. The list is of those that are common behind nouns, with the copula, and of pairs of them
(에서는, 까지의).
"""

from itertools import takewhile

_FIRST = (
    "이 가 을 를 은 는 의 에 에서 에게 에게서 께 께서 한테 한테서 와 과 랑 이랑 하고 로 으로 로서 으로서 로써 으로써 "
    "까지 부터 마다 조차 마저 밖에 보다 처럼 만큼 대로 이나 나 도 만 라고 이라고 란 이란 라는 이라는 며 이며 고 이고 "
    "인 이다 다 였다 이었다 였고 이었고 라 이라 든지 이든지 야 이야 요 이요"
).split()
_BEFORE_ANOTHER = "에 에서 에게 에게서 께서 한테 와 과 로 으로 로서 으로서 까지 부터 만 보다".split()
_SECOND = "는 은 도 만 의 를 을 가 이".split()
_ENDINGS = frozenset(["", *_FIRST, *(first + second for first in _BEFORE_ANOTHER for second in _SECOND)])
_LONGEST = max(map(len, _ENDINGS))


def differ_by_particles(found: str, wanted: str) -> bool:
    """Tell whether two normalised texts are the same but for a particle at the end of either or both.

    >>> differ_by_particles("이광수는", "이광수"), differ_by_particles("서울에서", "서울에")
    (True, True)
    >>> differ_by_particles("이광수", "이광수"), differ_by_particles("이광수 소설", "이광수")
    (False, False)
    """
    if found == wanted:
        return False
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(found, wanted, strict=False)))
    # Where both ends begin alike, as those of 서울에서 and 서울에 do, the stem is shorter than what is shared.
    stems = range(max(1, shared - _LONGEST), shared + 1)
    return any(found[at:] in _ENDINGS and wanted[at:] in _ENDINGS for at in stems)
