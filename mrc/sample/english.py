"""The English half of the sample: invented names, and what is told of seven sorts of things."""

from mrc.sample.grammar import Domain, Language, Pattern, parse_relations

_GIVEN = (
    "Ada Alban Beatrix Bruno Clara Conrad Delia Edgar Edith Felix Flora Gideon Greta Hugo Ida Ivor Jasper Johanna "
    "Karl Leonie Lucas Mabel Magnus Nadia Nora Oscar Petra Quentin Rosa Rupert Silas Sylvia Theo Thora Victor Wanda"
).split()
_SURNAME = "Ash Bell Brand Carl Dun Ell Fair Gran Hal Hart Kell Lang Mar Nor Oak Pen Rad Stan Thorn Wal".split()
_SURNAME_END = "berg by combe den ford ham ing croft man ner son stead ton well win worth".split()
_PLACE = (
    "Alder Birch Bram Cold Copper Crow Deep Ember Fern Glen Hazel Iron Lark Marsh Otter Raven Salt Wolf Yar".split()
)
_PLACE_END = "bury cliff dale field gate haven holm mere mouth port ridge stow water wick wood".split()
_FIRM = "Arc Bex Cor Dyna Ferro Hel Kino Lumi Nova Opti Pola Quan Rho Sola Tele Vanta".split()
_FIRM_END = "cast dex dyne graph line lux mark metric nix phon tech tron vex zon".split()
_ADJECTIVE = "Amber Bright Crimson Distant Eastern Fearless Gentle Golden Hidden Ivory Lonely Northern Silver".split()
_NOUN = "Comet Dawn Falcon Garden Harbour Heron Island Lantern Meadow Orchard Pilgrim River Sparrow Tide".split()
_FEAST = "Apple Book Chestnut Dance Drum Film Fire Glass Honey Jazz Kite Poetry Puppet Rose Song Tea Wool".split()

KINDS = {
    "year": Pattern("{}", range(1851, 2011)),
    "person": Pattern("{} {}{}", _GIVEN, _SURNAME, _SURNAME_END),
    "place": Pattern("{}{}", _PLACE, _PLACE_END),
    "metres": Pattern("{} metres", range(12, 480)),
    "people": Pattern("{:,} people", range(120, 9_990, 10)),
    "days": Pattern("{} days", range(5, 99)),
    "copies": Pattern("{:,} copies", range(800, 60_000, 100)),
    "papers": Pattern("{} papers", range(20, 380)),
    "product": Pattern("{}", "bicycles clocks lenses radios pumps pianos cameras engines scales".split()),
    "subject": Pattern("{}", "mosses comets glaciers beetles earthquakes tides dyes magnets fossils".split()),
    "prize": Pattern("{}", ("a silver bell", "a painted mask", "a gold ring", "a carved spoon", "a white horse")),
    "cargo": Pattern("{}", ("timber", "coal", "wheat", "tea", "wool", "salt", "copper ore", "machinery", "oranges")),
}

ASIDES = (
    "a heavy storm reached {place} in {year}",
    "the painter {person} spent a summer in {place}",
    "a small museum in {place} has kept letters from that time since {year}",
    "the historian {person} doubted many of these stories in a book of {year}",
    "travellers from {place} have often written about it",
    "old photographs of it were found in {place} in {year}",
    "a song by {person} still recalls those days",
    "{people} signed a letter about it in {year}",
    "opinions about it have changed a good deal over the years",
)

BRIDGE = Domain(
    name=Pattern("the {}{} Bridge", _PLACE, _PLACE_END),
    collection="{it} and its neighbours",
    nouns=("the bridge", "the crossing"),
    openings=("{it} is among the best-known bridges of the valley", "many postcards show {it}"),
    relations=parse_relations("""
        year: work on {it} began in {a} / the first stone of {it} was laid in {a}
            When did construction of {it} begin? / In what year did builders start on {it}?
        year: {it} was opened to traffic in {a} / since {a} people have walked over {it}
            When was {it} opened? / In which year could people first use {it}?
        year: {it} was repaired after a flood in {a} / in {a} a flood damaged {it}
            When did high water harm {it}? / In what year did a flood strike {it}?
        person: {it} was designed by {a} / the plans for {it} were drawn by {a}
            Who designed {it}? / Which engineer planned {it}?
        person: {it} was paid for by the banker {a} / {a} gave the money for {it}
            Who financed {it}? / Whose money made {it} possible?
        metres: {it} is {a} long / from bank to bank {it} measures {a}
            How long is {it}? / What is the length of {it}?
        metres: the towers of {it} rise {a} above the water / with its towers {it} reaches a height of {a}
            How high are the towers of {it}? / How tall is {it}?
        place: the stone for {it} came from {a} / {it} stands on blocks from the quarries of {a}
            Where was the stone for {it} quarried? / Which town supplied the stone of {it}?
    """),
)

COMPANY = Domain(
    name=Pattern("{}{}", _FIRM, _FIRM_END),
    collection="{it} and its rivals",
    nouns=("the company", "the firm"),
    openings=("{it} is a family business", "few visitors know that {it} still exists"),
    relations=parse_relations("""
        year: {it} was founded in {a} / the history of {it} goes back to {a}
            When was {it} established? / In which year did {it} come into being?
        year: {it} went public in {a} / shares of {it} have been traded since {a}
            When did {it} go to the stock market? / Since what year can one buy shares of {it}?
        person: {it} was started by {a} / the founder of {it} was {a}
            Who founded {it}? / Who was the creator of {it}?
        person: {it} is now led by {a} / today {a} is the director of {it}
            Who runs {it} today? / Who is the head of {it}?
        place: the head office of {it} is in {a} / {it} is managed from {a}
            Where are the headquarters of {it}? / From which town is {it} run?
        place: {it} has a factory in {a} / the largest plant of {it} stands in {a}
            Where does {it} manufacture its goods? / Which town has a plant of {it}?
        people: {it} employs {a} / {a} work for {it}
            How many workers does {it} have? / How large is the staff of {it}?
        product: {it} makes {a} / {it} earns its money with {a}
            What does {it} produce? / Which goods does {it} sell?
    """),
)

SCIENTIST = Domain(
    name=KINDS["person"],
    collection="{it} and other scholars",
    nouns=("the scientist", "the scholar"),
    openings=("{it} is remembered as a patient observer", "a street is named after {it}"),
    relations=parse_relations("""
        year: {it} received a medal in {a} / in {a} an academy honoured {it}
            When was {it} given an award? / In what year did {it} win a medal?
        year: {it} retired in {a} / {it} worked until {a}
            When did {it} stop working? / In which year did the career of {it} end?
        place: {it} grew up in {a} / {it} spent a happy childhood in {a}
            Where did {it} live as a child? / Which town was the childhood home of {it}?
        place: {it} taught at the college of {a} / students came to {a} to hear {it}
            Where did {it} give lectures? / In which town did {it} teach?
        person: {it} learned the trade from {a} / {a} was the teacher of {it}
            Who taught {it}? / Whose pupil was {it}?
        person: {it} was married to {a} / {it} shared a house and a life with {a}
            Who was the spouse of {it}? / Whom did {it} marry?
        papers: {it} published {a} / {a} bear the name of {it}
            How many papers did {it} write? / How much did {it} publish?
        subject: {it} studied {a} / the notebooks of {it} are full of {a}
            What did {it} investigate? / Which field did {it} work on?
    """),
)

FESTIVAL = Domain(
    name=Pattern("the {}{} {} Festival", _PLACE, _PLACE_END, _FEAST),
    collection="{it} and other feasts",
    nouns=("the festival", "the event"),
    openings=("{it} brightens the end of summer", "many families look forward to {it}"),
    relations=parse_relations("""
        year: {it} was first held in {a} / {it} has been celebrated since {a}
            When did {it} take place for the first time? / In what year did {it} start?
        year: {it} was cancelled in {a} / in {a} rain forced the town to call off {it}
            When did {it} not take place? / In which year was {it} called off?
        person: the idea for {it} came from {a} / {it} was dreamed up by {a}
            Who thought of {it} first? / Whose idea was {it}?
        person: the opening speech of {it} was given by {a} / {a} opened {it} with a speech
            Who spoke at the opening of {it}? / Which speaker opened {it}?
        place: guests of {it} sleep in {a} / most of those who visit {it} stay the night in {a}
            Where do visitors of {it} spend the night? / Which town lodges the guests of {it}?
        people: {it} draws {a} a day / {a} come to {it} every day
            How many visitors does {it} have? / How large is the crowd at {it}?
        days: {it} lasts {a} / {it} goes on for {a}
            How long does {it} last? / For how many days is {it} celebrated?
        prize: the winner at {it} receives {a} / {a} is the prize at {it}
            What can be won at {it}? / What does the winner of {it} get?
    """),
)

SHIP = Domain(
    name=Pattern("the {} {}", _ADJECTIVE, _NOUN),
    collection="{it} and her sisters",
    nouns=("the ship", "the vessel"),
    openings=("{it} was a familiar sight on the coast", "sailors liked to talk about {it}"),
    relations=parse_relations("""
        year: {it} was launched in {a} / {it} first touched water in {a}
            When did {it} leave the slipway? / In what year was {it} launched?
        year: {it} ran aground in {a} / in {a} {it} struck a rock
            When was {it} wrecked? / In which year did {it} have an accident?
        person: {it} was commanded by {a} / the captain of {it} was {a}
            Who was the master of {it}? / Who commanded {it}?
        person: {it} belonged to the merchant {a} / {a} owned {it}
            Who was the owner of {it}? / To whom did {it} belong?
        place: {it} was built in {a} / carpenters in {a} made {it}
            Where was {it} constructed? / Which town had the shipyard of {it}?
        place: the home port of {it} was {a} / {it} was registered in {a}
            What was the home port of {it}? / In which harbour was {it} at home?
        metres: {it} was {a} long / from bow to stern {it} measured {a}
            How long was {it}? / What was the length of {it}?
        cargo: {it} carried {a} / {it} was loaded with {a}
            What did {it} transport? / Which freight was on board {it}?
    """),
)

EXPEDITION = Domain(
    name=Pattern("the {}{} Expedition", _SURNAME, _SURNAME_END),
    collection="{it} and what followed",
    nouns=("the expedition", "the party"),
    openings=("newspapers wrote every week about {it}", "{it} was a bold undertaking"),
    relations=parse_relations("""
        year: {it} set out in {a} / in {a} {it} started on its way
            When did {it} leave? / In what year did {it} depart?
        year: a monument to {it} was unveiled in {a} / since {a} a statue has reminded people of {it}
            When was a monument put up for {it}? / In which year did {it} get a memorial?
        person: {it} was led by {a} / the leader of {it} was {a}
            Who was at the head of {it}? / Who led {it}?
        person: the doctor of {it} was {a} / {a} looked after the sick of {it}
            Who was the physician of {it}? / Which doctor went with {it}?
        place: {it} sailed from {a} / {a} was the starting point of {it}
            From which harbour did {it} sail? / Where did {it} begin?
        place: {it} spent the winter in {a} / ice held {it} in {a} until spring
            Where did {it} pass the winter? / At which place did {it} wait for spring?
        days: {it} was without news for {a} / for {a} nobody heard of {it}
            How long was {it} missing? / For how many days was there no word of {it}?
        subject: {it} brought back drawings of {a} / {it} was sent to look for {a}
            What was the aim of {it}? / What did {it} search for?
    """),
)

NOVEL = Domain(
    name=Pattern("“The {} {}”", _ADJECTIVE, _NOUN),
    collection="{it} and other novels",
    nouns=("the novel", "the book"),
    openings=("{it} has been read at schools for decades", "critics were slow to praise {it}"),
    relations=parse_relations("""
        year: {it} was written in {a} / the manuscript of {it} was finished in {a}
            When did the author complete {it}? / In what year was {it} written?
        year: {it} appeared in print in {a} / a publisher first sold {it} in {a}
            When was {it} published? / In which year did {it} come out?
        person: the author of {it} is {a} / {it} is a work by {a}
            Who wrote {it}? / Which writer created {it}?
        person: the hero of {it} is called {a} / {it} follows the young {a}
            Who is the main character of {it}? / Whose story does {it} tell?
        person: {it} was translated by {a} / foreign readers know {it} in the words of {a}
            Who translated {it}? / Who brought {it} into another language?
        place: {it} is set in {a} / the story of {it} takes place in {a}
            Where does {it} take place? / What is the setting of {it}?
        copies: {it} sold {a} / {a} of {it} were printed and sold
            How many copies of {it} found a buyer? / How well did {it} sell?
    """),
)


def _sentence(clause: str) -> str:
    return clause[0].upper() + clause[1:] + "."


ENGLISH = Language(
    code="en",
    kinds=KINDS,
    asides=ASIDES,
    domains=(BRIDGE, COMPANY, SCIENTIST, FESTIVAL, SHIP, EXPEDITION, NOVEL),
    inflect=lambda word, particle: word,
    contrast=lambda first, second: f"{first}, whereas {second}",
    sentence=_sentence,
)
