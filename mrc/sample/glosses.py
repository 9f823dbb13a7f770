"""What the Korean words of the sample mean: an English word for each, by the start of the Korean one.

The sample's encoder knows English only. By this table a Korean word starts out as its English counterpart, as it would
in an encoder that had read both languages. Names are not in it: their parts mean nothing.
"""

from functools import cache

# English: the starts of Korean words. The longest start that fits wins; one of a single syllable is a whole word.
_TABLE = """
who: 누구
whose: 누구의
when: 언제
where: 어디
which: 어느 몇
what: 무엇
how: 얼마
year: 해는 년에 년부터 년
days: 며칠 기간 일
day: 하루 날마다
people: 사람들 명인가
person: 사람 인물
papers: 논문 편 편인가
copies: 부
metres: 미터
town: 고장
place: 곳은
is: 이다 은 는
has: 이 가
the: 을 를
and: 과 와
by: 으로 로
in: 에 에는
at: 에서
of: 의
to: 에게
from: 에게서
since: 부터
until: 까지
for: 동안 위해
now: 지금
today: 오늘날
first: 첫 처음
all: 모두 전체
long: 긴가 오래
length: 길이
high: 높은
height: 높이
bridge: 다리 대교
company: 회사
scholar: 학자 과학자
festival: 축제
novel: 소설 책
expedition: 탐험대
construction: 공사 착공
started: 시작
laid: 놓였
opened: 개통 열린 열렸 열리 열릴
traffic: 통행
crossed: 건너
flood: 홍수 물난리
damage: 망가 피해
collapse: 무너
suffered: 겪은 입었 당한
designed: 설계
plans: 도면
drew: 그렸 그린
engineer: 기술자
money: 돈은 돈으로 재산
banker: 은행가
cost: 비용
paid: 냈다 댄
gave: 내놓 주었 주는
built: 짓기 지었 지은 지어졌 건조
reaches: 이른다
tower: 탑은 탑까지
water: 물 물에
above: 위로
rises: 솟아
stone: 돌은 돌이 돌을
used: 쓰인
brought: 가져왔
quarry: 채석장 캤는가
supplied: 대었
came: 나온 나왔
founded: 세워 설립 생겼 일으킨 창업 세운
history: 역사
stock: 주식 증권
listed: 상장
traded: 거래
market: 시장에
led: 이끈 이끌
director: 사장
managed: 경영
chief: 대표 우두머리
headquarters: 본사 본부
factory: 공장
goods: 물건 제품 상품
made: 만든 만들
work: 일한다 일을
worked: 일했
staff: 직원
workers: 일꾼
employed: 고용
main: 주된 중심
produce: 생산
sell: 파는
medal: 메달
received: 받은 받았 받는
academy: 학술원
award: 상을
prize: 상으로
retired: 은퇴 물러났
stopped: 그만둔 거른 중단
grew: 자랐
child: 어린 어릴
spent: 보냈 보낸 났다
lived: 살던
home: 고향
students: 학생
taught: 가르
lecture: 강의를 강의한
hear: 들으러 듣지
went: 갔다 간
learned: 배웠
teacher: 스승
pupil: 제자
married: 결혼 혼인
spouse: 배우자 짝은
published: 발표 출판 간행
name: 이름
wrote: 쓴 썼는가
left: 남겼 떠났 떠난
studied: 연구 탐구
subject: 대상
notebook: 공책
full: 가득
held: 치렀
continued: 이어 계속
cancelled: 취소
rain: 비
because: 때문
not: 못했
idea: 생각 구상
proposed: 제안 고안
opening: 개막 막을
speech: 연설
announced: 알린
speaker: 연사
guests: 손님
stay: 묵는
sleep: 자는
night: 밤을
visit: 찾은 찾는다 방문 구경
see: 보러
lodge: 숙소
come: 온다
win: 이기
winner: 승자
get: 얻는
launched: 진수
floating: 떴다
sea: 바다
sailed: 나갔 탔다
wrecked: 좌초
rock: 바위 암초
struck: 부딪 걸렸
accident: 사고
captain: 선장 대장
commanded: 지휘
sailor: 뱃사람
charge: 맡은
merchant: 상인
owned: 소유 가진
owner: 주인은
carpenter: 목수
shipyard: 조선소
harbour: 항구 모항
registered: 등록
belongs: 속한
bow: 뱃머리
tail: 꼬리
cargo: 화물 짐은
carried: 나른 실어 날랐
loaded: 실려
ship: 배를 배인가
departed: 출발 나섰
road: 길을
monument: 비석
statue: 동상
memorial: 기념
honor: 기리
stood: 섰다
doctor: 의사
patients: 환자
cared: 돌보
health: 건강
together: 함께
journey: 여정
winter: 겨울을
cold: 추운
season: 철을
ice: 얼음
spring: 봄을 봄까지
trapped: 가두
waited: 기다린
news: 소식 연락
without: 없었
nobody: 아무도
missing: 끊겼 실종
lasted: 이어졌
search: 찾으러
drawings: 그림
aim: 목적
investigate: 조사
written: 쓰였 집필
manuscript: 원고
finished: 마무리 끝난
author: 작가 지은이
bookstore: 책방
world: 세상
book: 작품
hero: 주인공
adventure: 모험
depicts: 그린다
story: 이야기
translated: 번역 옮긴
foreign: 외국
readers: 독자
read: 읽었
language: 말로
setting: 배경 무대
happens: 벌어
sold: 팔렸 판매
buy: 살 사
"""


@cache
def _starts() -> dict[str, str]:
    """Return the English word for each start of Korean words."""
    lines = (line.split(": ") for line in _TABLE.strip().splitlines())
    return {start: english for english, starts in lines for start in starts.split()}


def gloss(word: str) -> str | None:
    """Return the English word for a Korean one, or None where the table has none."""
    starts = _starts()
    if len(word) == 1:
        return starts.get(word)
    return next((starts[word[:n]] for n in range(len(word), 1, -1) if word[:n] in starts), None)
