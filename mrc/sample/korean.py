"""The Korean half of the sample: invented names, and what is told of seven sorts of things.

Every clause ends in 다, so that two of them join into one by 고: "길이는 9미터이고, 높이는 5미터이다". A particle
stands inside its hole where its form depends on the word (see josa.py), and behind the hole where it has one form only.
"""

from mrc.sample.grammar import Domain, Language, Pattern, parse_relations
from mrc.sample.josa import attach, final_consonant

_SURNAME = "강 고 권 김 남 노 문 민 박 배 백 서 송 신 안 양 오 유 윤 이 임 장 전 정 조 차 최 하 한 홍".split()
_GIVEN = (
    "건 경 규 기 나 다 도 동 명 미 민 보 상 서 성 세 소 수 승 시 연 영 예 우 유 재 정 주 지 진 채 태 하 현 호".split()
)
_GIVEN_END = (
    "겸 경 관 규 근 기 나 람 려 린 민 빈 서 석 섭 솔 수 아 연 영 욱 원 윤 율 인 정 준 진 철 혁 현 호 환 희".split()
)
_PLACE = "가람 고운 느티 다솔 달빛 두루 마루 무지개 미리내 버들 새벽 솔바람 아라 이슬 잔디 초롱 한울 해오름".split()
_PLACE_END = "골 군 내 도 령 마을 면 벌 산 섬 시 여울 읍 재 촌 포 항".split()
_FIRM = "가온 나우 누리 다온 대명 라온 미르 보람 비전 새론 새봄 시온 아람 온빛 우진 이룸 태성 하늘 한빛 해솔".split()
_FIRM_END = "기계 모터스 물산 상사 산업 소재 악기 전기 전자 정밀 제작소 테크 화학".split()
_ADJECTIVE = "가난한 고요한 깊은 낡은 느린 늙은 밝은 붉은 빛나는 슬픈 용감한 작은 젊은 차가운 푸른 하얀 흐르는".split()
_NOUN = "강 거울 겨울 고래 구름 기차 길 나비 노래 달 등대 바다 별 섬 숲 시계 아침 정원 파도 편지".split()
_FEAST = "가면 감자 국화 나무 눈꽃 단풍 도자기 등불 메밀 문학 배 사과 연극 영화 인형 종이 차 한지 허수아비".split()

KINDS = {
    "year": Pattern("{}년", range(1851, 2011)),
    "person": Pattern("{}{}{}", _SURNAME, _GIVEN, _GIVEN_END),
    "place": Pattern("{}{}", _PLACE, _PLACE_END),
    "metres": Pattern("{}미터", range(12, 480)),
    "people": Pattern("{:,}명", range(120, 9_990, 10)),
    "days": Pattern("{}일", range(5, 99)),
    "copies": Pattern("{:,}부", range(800, 60_000, 100)),
    "papers": Pattern("{}편", range(20, 380)),
    "product": Pattern("{}", "자전거 시계 렌즈 라디오 펌프 피아노 사진기 엔진 저울".split()),
    "subject": Pattern("{}", "이끼 혜성 빙하 딱정벌레 지진 밀물 염료 자석 화석".split()),
    "prize": Pattern("{}", ("은방울", "나무 가면", "금반지", "꿀 한 단지", "비단 부채", "송아지", "놋그릇")),
    "cargo": Pattern("{}", "목재 석탄 밀가루 찻잎 양털 소금 구리 기계 귤".split()),
}

ASIDES = (
    "{year}에는 큰 태풍이 {place:을} 지나갔다",
    "화가 {person:은} 한동안 {place}에 머물렀다",
    "{place}의 작은 박물관은 {year}부터 그 시절의 편지를 모으고 있다",
    "역사학자 {person:은} {year}에 낸 책에서 이런 이야기를 의심했다",
    "{place}에서 온 여행자들도 글을 남겼다",
    "{year}에 {place}에서 오래된 사진이 발견되었다",
    "가수 {person}의 노래에도 그 무렵의 이야기가 나온다",
    "{people:이} {year}에 탄원서에 이름을 적었다",
    "이에 대한 평가는 세월이 흐르면서 많이 달라졌다",
)

BRIDGE = Domain(
    name=Pattern("{}{}대교", _PLACE, _PLACE_END),
    collection="{it:과} 주변의 다리",
    nouns=("이 다리", "다리"),
    openings=("{it:은} 강가에서 손꼽히는 다리이다", "{it:을} 그린 엽서가 많다"),
    relations=parse_relations("""
        year: {it}의 공사는 {a}에 시작되었다 / {it}의 첫 돌은 {a}에 놓였다
            {it:을} 짓기 시작한 해는 언제인가? / {it:은} 몇 년에 착공되었는가?
        year: {it:은} {a}에 개통되었다 / {a}부터 사람들이 {it:을} 건너다녔다
            {it:이} 열린 해는 언제인가? / {it:은} 몇 년에 통행이 시작되었는가?
        year: {it:은} {a}에 홍수로 무너질 뻔했다 / {a}의 홍수가 {it:을} 망가뜨렸다
            {it:이} 물난리를 겪은 해는 언제인가? / {it:은} 몇 년에 홍수 피해를 입었는가?
        person: {it:은} {a:이} 설계했다 / {it}의 설계도는 {a:이} 그렸다
            {it:을} 설계한 사람은 누구인가? / {it}의 도면을 만든 기술자는 누구인가?
        person: {it}에 든 돈은 은행가 {a:이} 냈다 / {a:은} {it:을} 위해 재산을 내놓았다
            {it}의 비용을 댄 사람은 누구인가? / 누구의 돈으로 {it:을} 지었는가?
        metres: {it}의 길이는 {a}이다 / 강의 이쪽에서 저쪽까지 {it:은} {a}에 이른다
            {it:은} 얼마나 긴가? / {it}의 길이는 얼마인가?
        metres: {it}의 탑은 물 위로 {a} 솟아 있다 / {it:은} 탑까지 높이가 {a}이다
            {it}의 탑은 얼마나 높은가? / {it}의 높이는 얼마인가?
        place: {it}에 쓰인 돌은 {a}에서 가져왔다 / {a}의 채석장이 {it}에 돌을 대었다
            {it}의 돌은 어디에서 캤는가? / {it:을} 지은 돌이 나온 고장은 어디인가?
    """),
)

COMPANY = Domain(
    name=Pattern("{}{}", _FIRM, _FIRM_END),
    collection="{it:과} 경쟁 회사들",
    nouns=("이 회사", "회사"),
    openings=("{it:은} 대를 이어 온 기업이다", "{it:이} 아직 있다는 것을 아는 사람은 드물다"),
    relations=parse_relations("""
        year: {it:은} {a}에 세워졌다 / {it}의 역사는 {a}에 시작된다
            {it:이} 설립된 해는 언제인가? / {it:은} 몇 년에 생겼는가?
        year: {it:은} {a}에 주식을 상장했다 / {it}의 주식은 {a}부터 거래되었다
            {it:이} 증권 시장에 나온 해는 언제인가? / 몇 년부터 {it}의 주식을 살 수 있었는가?
        person: {it:을} 일으킨 사람은 {a}이다 / {a:이} {it:을} 창업했다
            {it}의 창업자는 누구인가? / {it:을} 세운 사람은 누구인가?
        person: 지금 {it:은} {a:이} 이끈다 / {it}의 사장은 {a}이다
            {it:을} 경영하는 사람은 누구인가? / 오늘날 {it}의 대표는 누구인가?
        place: {it}의 본사는 {a}에 있다 / {it:은} {a}에 본부를 두었다
            {it}의 본사가 있는 곳은 어디인가? / {it:은} 어느 고장에서 경영되는가?
        place: {it}의 공장은 {a}에 있다 / {it:은} {a}에서 물건을 만든다
            {it}의 제품은 어디에서 만들어지는가? / {it}의 공장이 있는 고장은 어디인가?
        people: {it}에는 {a:이} 일한다 / {it}의 직원은 {a}이다
            {it}의 일꾼은 몇 명인가? / {it:이} 고용한 사람은 얼마나 되는가?
        product: {it:은} {a:을} 만든다 / {it}의 주된 상품은 {a}이다
            {it:은} 무엇을 생산하는가? / {it:이} 파는 물건은 무엇인가?
    """),
)

SCIENTIST = Domain(
    name=KINDS["person"],
    collection="{it:과} 동료 학자들",
    nouns=("이 학자", "이 과학자"),
    openings=("{it:은} 끈기 있는 관찰자로 기억된다", "{it}의 이름을 딴 거리가 있다"),
    relations=parse_relations("""
        year: {it:은} {a}에 메달을 받았다 / {a}에 학술원이 {it}에게 상을 주었다
            {it:이} 상을 받은 해는 언제인가? / {it:은} 몇 년에 메달을 목에 걸었는가?
        year: {it:은} {a}에 은퇴했다 / {it:은} {a}까지 일했다
            {it:이} 일을 그만둔 해는 언제인가? / {it:은} 몇 년에 물러났는가?
        place: {it:은} {a}에서 자랐다 / {it:은} 어린 시절을 {a}에서 보냈다
            {it:이} 어릴 때 살던 곳은 어디인가? / {it}의 고향은 어디인가?
        place: {it:은} {a}에서 학생들을 가르쳤다 / {it}의 강의를 들으러 학생들이 {a:으로} 갔다
            {it:이} 강의한 곳은 어디인가? / {it:은} 어느 고장에서 가르쳤는가?
        person: {it:은} {a}에게서 배웠다 / {a:은} {it}의 스승이다
            {it:을} 가르친 사람은 누구인가? / {it:은} 누구의 제자인가?
        person: {it:은} {a:과} 결혼했다 / {it}의 배우자는 {a}이다
            {it:은} 누구와 혼인했는가? / {it}의 짝은 누구인가?
        papers: {it:은} 논문 {a:을} 발표했다 / {it}의 이름으로 나온 논문은 {a}이다
            {it:이} 쓴 논문은 몇 편인가? / {it:은} 논문을 얼마나 남겼는가?
        subject: {it:은} {a:을} 연구했다 / {it}의 공책은 {a:으로} 가득하다
            {it:은} 무엇을 탐구했는가? / {it}의 연구 대상은 무엇인가?
    """),
)

FESTIVAL = Domain(
    name=Pattern("{}{} {} 축제", _PLACE, _PLACE_END, _FEAST),
    collection="{it:과} 여러 잔치",
    nouns=("이 축제", "축제"),
    openings=("{it:은} 늦여름을 밝히는 행사이다", "{it:을} 기다리는 가족이 많다"),
    relations=parse_relations("""
        year: {it:은} {a}에 처음 열렸다 / {it:은} {a}부터 이어지고 있다
            {it:이} 시작된 해는 언제인가? / {it:은} 몇 년에 첫 회를 치렀는가?
        year: {it:은} {a}에 취소되었다 / {a}에는 비 때문에 {it:이} 열리지 못했다
            {it:을} 거른 해는 언제인가? / {it:은} 몇 년에 중단되었는가?
        person: {it:은} {a:이} 생각해 냈다 / {it:을} 처음 제안한 사람은 {a}이다
            {it:은} 누구의 구상인가? / {it:을} 고안한 사람은 누구인가?
        person: {it}의 개막 연설은 {a:이} 했다 / {a:은} 연설로 {it}의 막을 올렸다
            {it}의 시작을 알린 연사는 누구인가? / {it:이} 열릴 때 연설한 사람은 누구인가?
        place: {it}의 손님들은 {a}에서 묵는다 / {it:을} 찾은 사람은 대개 {a}에서 밤을 보낸다
            {it:을} 보러 온 사람들은 어디에서 자는가? / {it}의 숙소가 있는 고장은 어디인가?
        people: {it}에는 날마다 {a:이} 온다 / 하루에 {a:이} {it:을} 찾는다
            {it}의 방문객은 하루에 얼마나 되는가? / 날마다 {it:을} 구경하는 사람은 몇 명인가?
        days: {it:은} {a} 동안 계속된다 / {it}의 기간은 {a}이다
            {it:은} 얼마나 오래 열리는가? / {it:은} 며칠 동안 하는가?
        prize: {it}에서 이기면 {a:을} 받는다 / {it}의 상품은 {a}이다
            {it}의 승자는 무엇을 얻는가? / {it}에서 상으로 주는 것은 무엇인가?
    """),
)

SHIP = Domain(
    name=Pattern("{} {}호", _ADJECTIVE, _NOUN),
    collection="{it:과} 자매선",
    nouns=("이 배", "배"),
    openings=("{it:은} 바닷가 사람들에게 낯익은 배이다", "뱃사람들은 {it} 이야기를 즐겨 했다"),
    relations=parse_relations("""
        year: {it:은} {a}에 진수되었다 / {it:은} {a}에 처음 물에 떴다
            {it}의 진수식이 있던 해는 언제인가? / {it:은} 몇 년에 바다로 나갔는가?
        year: {it:은} {a}에 좌초했다 / {a}에 {it:은} 바위에 부딪혔다
            {it:이} 사고를 당한 해는 언제인가? / {it:은} 몇 년에 암초에 걸렸는가?
        person: {it}의 선장은 {a}이다 / {it:은} {a:이} 지휘했다
            {it:을} 이끈 뱃사람은 누구인가? / {it}의 키를 맡은 선장은 누구인가?
        person: {it:은} 상인 {a}의 것이다 / {a:은} {it:을} 소유했다
            {it}의 주인은 누구인가? / {it:을} 가진 사람은 누구인가?
        place: {it:은} {a}에서 건조되었다 / {a}의 목수들이 {it:을} 만들었다
            {it:을} 만든 조선소는 어디에 있는가? / {it:은} 어느 고장에서 지어졌는가?
        place: {it}의 모항은 {a}이다 / {it:은} {a}에 등록되었다
            {it:은} 어느 항구의 배인가? / {it:이} 속한 항구는 어디인가?
        metres: {it}의 길이는 {a}이다 / 뱃머리에서 꼬리까지 {it:은} {a}에 이른다
            {it:은} 얼마나 긴가? / {it}의 전체 길이는 얼마인가?
        cargo: {it:은} {a:을} 실어 날랐다 / {it}에는 {a:이} 실려 있었다
            {it}의 화물은 무엇인가? / {it:이} 나른 짐은 무엇인가?
    """),
)

EXPEDITION = Domain(
    name=Pattern("{}{} 탐험대", _FIRM, _NOUN),
    collection="{it:과} 그 뒤의 여정",
    nouns=("이 탐험대", "탐험대"),
    openings=("신문은 주마다 {it:을} 다루었다", "{it:은} 대담한 계획이다"),
    relations=parse_relations("""
        year: {it:은} {a}에 출발했다 / {a}에 {it:은} 길을 떠났다
            {it:이} 떠난 해는 언제인가? / {it:은} 몇 년에 길을 나섰는가?
        year: {it:을} 기리는 비석은 {a}에 섰다 / {a}부터 동상이 {it:을} 기념한다
            {it}의 기념비가 생긴 해는 언제인가? / {it:은} 몇 년에 기념되기 시작했는가?
        person: {it:은} {a:이} 이끌었다 / {it}의 대장은 {a}이다
            {it:을} 지휘한 사람은 누구인가? / {it}의 우두머리는 누구인가?
        person: {it}의 의사는 {a}이다 / {a:은} {it}의 환자를 돌보았다
            {it}의 건강을 맡은 사람은 누구인가? / {it:과} 함께 간 의사는 누구인가?
        place: {it:은} {a}에서 배를 탔다 / {a:이} {it}의 출발지이다
            {it:은} 어느 항구를 떠났는가? / {it:이} 여정을 시작한 곳은 어디인가?
        place: {it:은} {a}에서 겨울을 났다 / 얼음은 봄까지 {it:을} {a}에 가두었다
            {it:이} 봄을 기다린 곳은 어디인가? / {it:은} 어디에서 추운 철을 보냈는가?
        days: {it:은} {a} 동안 소식이 없었다 / {a} 동안 아무도 {it}의 소식을 듣지 못했다
            {it:은} 얼마나 오래 연락이 끊겼는가? / {it}의 실종은 며칠이나 이어졌는가?
        subject: {it:은} {a:을} 찾으러 갔다 / {it:은} {a:을} 그린 그림을 가져왔다
            {it}의 목적은 무엇인가? / {it:은} 무엇을 조사했는가?
    """),
)

NOVEL = Domain(
    name=Pattern("《{} {}》", _ADJECTIVE, _NOUN),
    collection="{it:과} 다른 소설들",
    nouns=("이 소설", "이 책"),
    openings=("{it:은} 오래 학교에서 읽혀 왔다", "평론가들은 {it:을} 뒤늦게 칭찬했다"),
    relations=parse_relations("""
        year: {it:은} {a}에 쓰였다 / {it}의 원고는 {a}에 마무리되었다
            {it}의 집필이 끝난 해는 언제인가? / 작가는 몇 년에 {it:을} 썼는가?
        year: {it:은} {a}에 출판되었다 / {it:은} {a}에 책방에 나왔다
            {it:이} 간행된 해는 언제인가? / {it:은} 몇 년에 세상에 나왔는가?
        person: {it}의 작가는 {a}이다 / {it:은} {a}의 작품이다
            {it:을} 쓴 사람은 누구인가? / {it:을} 지은이는 누구인가?
        person: {it}의 주인공은 {a}이다 / {it:은} 젊은 {a}의 모험을 그린다
            {it:은} 누구의 이야기인가? / {it}에서 중심이 되는 인물은 누구인가?
        person: {it:은} {a:이} 번역했다 / 외국 독자들은 {it:을} {a}의 번역으로 읽었다
            {it:을} 다른 말로 옮긴 사람은 누구인가? / {it}의 번역가는 누구인가?
        place: {it}의 배경은 {a}이다 / {it}의 이야기는 {a}에서 벌어진다
            {it}의 무대는 어디인가? / {it:은} 어느 고장을 그린 이야기인가?
        copies: {it:은} {a} 팔렸다 / 사람들은 {it:을} {a} 사 갔다
            {it:은} 모두 몇 부 나갔는가? / {it}의 판매량은 얼마인가?
    """),
)

_NIEUN = 4
_RIEUL_STEMS = {"만든": "만들", "이끈": "이끌"}  # ㄹ falls out before ㄴ, and 만든다 does not tell that it was there.


def _contrast(first: str, second: str) -> str:
    """Join two clauses by 고, which the stem of the first one's verb takes: 했다 했고, 묵는다 묵고, 온다 오고."""
    stem = first.removesuffix("다")
    if stem.endswith(tuple(_RIEUL_STEMS)):
        stem = stem[:-2] + _RIEUL_STEMS[stem[-2:]]
    elif stem.endswith("는"):
        stem = stem[:-1]
    elif final_consonant(stem) == _NIEUN:
        stem = stem[:-1] + chr(ord(stem[-1]) - _NIEUN)
    return f"{stem}고, {second}"


KOREAN = Language(
    code="ko",
    kinds=KINDS,
    asides=ASIDES,
    domains=(BRIDGE, COMPANY, SCIENTIST, FESTIVAL, SHIP, EXPEDITION, NOVEL),
    inflect=attach,
    contrast=_contrast,
    sentence=lambda clause: clause + ".",
)
