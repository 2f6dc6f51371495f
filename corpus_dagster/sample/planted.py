"""Pages made to break exactly one rule of the DCLM-Baseline recipe.

Each builder says in one sentence how the page fails, and keeps clear of every rule that is tested before. The texts
use the `bare` layout, whose extraction is the title and the blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from corpus_dagster.sample import pages, sites
from corpus_dagster.sample.dice import Dice
from corpus_dagster.sample.grammar import TOPICS, Prose, bank, expand, letters, words
from corpus_dagster.sample.pages import Draft, path_for
from corpus_dagster.sample.sites import Block

# Subjects whose slots are short phrases, for texts that are measured to a hundredth.
_EXACT_TOPICS = ("en/music", "en/photo", "en/house")

_SHARES = {5: 0.165, 6: 0.145, 7: 0.135, 8: 0.125, 9: 0.115, 10: 0.105}
"""Share of characters in repeated n-grams: above the limit of this n, below the limits of all shorter ones."""


def _draft(rule: str, dice: Dice, title: str, blocks: Sequence[Block], kind: str = "planted") -> Draft:
    site = dice.pick(sites.PORTALS)
    path = path_for(title or rule, dice, "/page")
    return Draft(kind, site, path, title, tuple(blocks), expect=f"filtered:{rule}", layout="bare")


def _paragraphs(texts: Sequence[str]) -> list[Block]:
    return [("p", text) for text in texts]


def _start(rule: str, key: tuple[object, ...], *more: str) -> tuple[Dice, Prose]:
    dice = Dice("planted", rule, *key)
    return dice, Prose(dice, f"en/{dice.pick(TOPICS)}", "en/common", *more)


def url_hosts(*key: object) -> Draft:
    """A sound article on a banned host."""
    dice = Dice("planted", "url_hosts", *key)
    draft = pages.article("url_hosts", *key)
    return replace(draft, site=dice.pick(sites.BANNED), expect="filtered:url_hosts")


def url_substrings(*key: object) -> Draft:
    """A sound article whose URL holds a strict word, some with hyphens and dots in between."""
    dice = Dice("planted", "url_substrings", *key)
    draft = pages.article("url_substrings", *key)
    word = dice.pick(("freepornlist", "live-sex-cam", "escort.service", "adult-dating-tips", "online-casino-bonus"))
    return replace(draft, path=draft.path.replace("/notes/", f"/{word}/"), expect="filtered:url_substrings")


def url_hard_words(*key: object) -> Draft:
    """A sound article whose URL holds a hard word between boundaries."""
    dice = Dice("planted", "url_hard_words", *key)
    draft = pages.article("url_hard_words", *key)
    word = dice.pick(("nsfw", "xxx", "nude", "erotica", "fetish"))
    return replace(draft, path=draft.path.replace("/notes/", f"/{word}/"), expect="filtered:url_hard_words")


def url_soft_words(*key: object) -> Draft:
    """A sound article whose URL holds two different soft words."""
    dice = Dice("planted", "url_soft_words", *key)
    draft = pages.article("url_soft_words", *key)
    first, second = dice.sample(("sexy", "dating", "casino", "betting", "webcam", "singles"), 2)
    return replace(draft, path=f"/{first}{draft.path}", query=f"?tag={second}", expect="filtered:url_soft_words")


def one_soft_word(*key: object) -> Draft:
    """The counterpart: one soft word, twice, is not enough."""
    dice = Dice("planted", "one_soft_word", *key)
    draft = pages.article("one_soft_word", *key)
    word = dice.pick(("casino", "dating", "betting"))
    return replace(draft, path=f"/{word}{draft.path}", query=f"?from={word}")


_LOGIN = (
    "Please enter your name and the password that you have chosen.",
    "If you have forgotten it, we will send you a new one by mail.",
    "Not a member of the club yet? It takes a minute to join.",
)
_COOKIES = (
    "We value your privacy and would like to remember your choice on this device.",
    "You may accept all of our cookies or only those that are needed to show this page.",
)


def word_count(*key: object) -> Draft:
    """Fewer than fifty words: a login form, a cookie wall or a stub."""
    dice, prose = _start("word_count", key)
    kind = dice.pick(("login", "cookie_wall", "stub"))
    if kind == "login":
        return _draft("word_count", dice, "Members sign in here", _paragraphs(_LOGIN[: dice.between(2, 3)]), kind)
    if kind == "cookie_wall":
        return _draft("word_count", dice, "Before you go on to the page", _paragraphs(_COOKIES), kind)
    return _draft("word_count", dice, "Coming soon", [("p", prose.line("asides"))], kind)


_LONG_ADJECTIVES = (
    "internationally", "administrative", "environmentally", "constitutional", "methodological", "organisational",
    "multidisciplinary", "characteristically", "representative", "telecommunications", "fundamentally", "experimental",
    "unquestionably", "comprehensive", "architectural", "psychological", "extraordinarily", "meteorological",
)  # fmt: skip
_LONG_NOUNS = (
    "responsibilities", "recommendations", "infrastructure", "misunderstandings", "transformation", "accountability",
    "documentation", "standardisation", "interpretations", "negotiations", "considerations", "investigations",
    "disagreements", "qualifications", "classifications", "implementations", "specialisation", "collaboration",
)  # fmt: skip


def mean_word_length(*key: object) -> Draft:
    """Office prose made of long words: more than ten characters each on average."""
    dice = Dice("planted", "mean_word_length", *key)
    adjectives, nouns = dice.shuffled(_LONG_ADJECTIVES), dice.shuffled(_LONG_NOUNS)
    texts = [
        f"Considering the {adjectives[i]} {nouns[i]}, {adjectives[i + 1]} {nouns[i + 1]} notwithstanding, "
        f"departmental {nouns[(i + 7) % 18]} necessitate {adjectives[(i + 5) % 18]} improvements."
        for i in range(0, 18, 2)
    ]
    return _draft("mean_word_length", dice, "Departmental recommendations", _paragraphs(texts))


def symbol_ratio(*key: object) -> Draft:
    """Prose with a hash tag behind every few words."""
    dice, prose = _start("symbol_ratio", key)
    texts = []
    for _ in range(dice.between(5, 7)):
        tags = " ".join(f"#{word.lower()}" for word in words(prose.line("titles"))[:5])
        texts.append(f"{prose.line('sentences')} {tags}")
    return _draft("symbol_ratio", dice, "Shared today", _paragraphs(texts), "social")


def bullet_lines(*key: object) -> Draft:
    """More than nine lines in ten start with a bullet."""
    dice, prose = _start("bullet_lines", key)
    bullet = dice.pick(("•", "-", "*", "●"))
    texts = [f"{bullet} {prose.line('steps' if i % 3 == 0 else 'sentences')}" for i in range(dice.between(20, 23))]
    return _draft("bullet_lines", dice, "Checklist", _paragraphs(texts), "listing")


def ellipsis_lines(*key: object) -> Draft:
    """A listing whose teasers break off with an ellipsis."""
    dice, prose = _start("ellipsis_lines", key)
    mark = dice.pick(("...", "…"))
    blocks: list[Block] = []
    for _ in range(dice.between(6, 9)):
        blocks.append(("h2", prose.line("titles")))
        blocks.append(("p", " ".join(prose.line("sentences").split()[: dice.between(14, 18)]).rstrip(",.") + mark))
    return _draft("ellipsis_lines", dice, "Latest posts", blocks, "listing")


def non_alpha_words(*key: object) -> Draft:
    """A station's log: more than one word in five is a number."""
    dice, prose = _start("non_alpha_words", key)
    blocks: list[Block] = [("p", prose.paragraph(3))]
    days = dice.sample(("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"), 7)
    for day in days:
        readings = " ".join(str(dice.between(1000, 9999)) for _ in range(6))
        blocks.append(("p", f"On {day} the station reported these readings before noon: {readings}"))
    return _draft("non_alpha_words", dice, "Weekly readings from the station", blocks, "log")


_KEYWORDS = (
    "wooden garden chairs", "cheap kitchen tables", "folding camping beds", "small bedroom lamps", "winter boots",
    "waterproof rain jackets", "stainless steel knives", "children story books", "large storage boxes", "cotton towels",
    "outdoor wall lights", "leather office bags", "glass coffee cups", "soft wool blankets", "electric hand drills",
    "used road bicycles", "fresh flower bouquets", "printed birthday cards", "heavy duty gloves", "picture frames",
    "modern desk clocks", "organic apple juice", "roasted coffee beans", "local honey jars", "silver ear rings",
    "black running shoes", "summer straw hats", "quiet ceiling fans", "round dining plates", "travel neck pillows",
    "young fruit trees", "vegetable seed packets", "metal watering cans", "long garden hoses", "strong plant pots",
    "cosy reading corners",
)  # fmt: skip


def stop_words(*key: object) -> Draft:
    """A list of search phrases without a single function word."""
    dice = Dice("planted", "stop_words", *key)
    phrases = dice.shuffled(_KEYWORDS)
    texts = [", ".join(phrases[i : i + 4]).capitalize() + "." for i in range(0, 36, 4)]
    return _draft("stop_words", dice, "Popular products", _paragraphs(texts), "listing")


def duplicate_lines(*key: object) -> Draft:
    """More than three lines in ten occur twice or more."""
    dice, prose = _start("duplicate_lines", key)
    lines: list[Block] = []
    for _ in range(dice.between(8, 12)):
        lines += [("p", prose.paragraph(2)), ("p", "Add it to the comparison list")]
    return _draft("duplicate_lines", dice, "Compare", lines, "machine")


def duplicate_paragraphs(*key: object) -> Draft:
    """More than three paragraphs in ten occur twice, while the lines do not, as the others have many lines each."""
    dice, prose = _start("duplicate_paragraphs", key)
    blocks: list[Block] = []
    for _ in range(5):
        blocks.append(("lines", [prose.line("sentences") for _ in range(5)]))
        blocks.append(("p", "Back to the overview of this chapter"))
    return _draft("duplicate_paragraphs", dice, "Chapter by chapter", blocks, "machine")


def duplicate_line_chars(*key: object) -> Draft:
    """Two equal long lines among short ones: few lines, but more than a fifth of the characters."""
    dice, prose = _start("duplicate_line_chars", key)
    long = prose.paragraph(5)
    short = [prose.line("titles") for _ in range(5)] + [prose.line("questions") for _ in range(4)]
    texts = [*short[:3], long, *short[3:6], long, *short[6:]]
    return _draft("duplicate_line_chars", dice, "Copied by mistake", _paragraphs(texts), "machine")


_ITEMS = (
    "a pound of wax,", "a bag of wet clay,", "two oak boards,", "the wool blankets,", "a roll of cord,",
    "one lead weight,", "some rusty tins,", "the big glue brush,", "a sack of sand,", "the linen sheets,",
)  # fmt: skip
_THINGS = (
    "a jar of nails", "the old ladder", "two good spades", "a coil of wire", "the blue kettle", "some spare keys",
    "a bag of sand", "the short saw", "an empty crate", "the rain barrel", "a box of chalk", "three oil cans",
    "the garden hose", "a worn hammer", "my bicycle pump", "the green paint", "a roll of felt", "her first easel",
    "the milk churn", "a broken clock", "dad's work boots", "the spare tyre", "a stack of tiles", "the wasp trap",
    "a heavy vice", "the fishing rod", "our winter sledge", "a box of bulbs", "the camp stove", "a dusty globe",
    "the cat's basket", "a bent poker", "the tall vase", "some window glass", "a loose hinge", "the bird feeder",
    "a ball of twine", "the dinner bell", "one lost glove", "a pile of maps",
)  # fmt: skip


_REMARKS = (
    "We still use {}.", "Nobody wants {}.", "I would keep {}.", "Please return {}.", "She painted {}.", "He mended {}.",
    "They forgot {}.", "You can have {}.", "It is not {}.",
)  # fmt: skip


def duplicate_paragraph_chars(*key: object) -> Draft:
    """A list stands twice: under a fifth of the characters by lines, over it by paragraphs, with their line ends."""
    dice = Dice("planted", "duplicate_paragraph_chars", *key)
    title = "In the shed"
    items = dice.sample(_ITEMS, 6)
    repeated = 2 * sum(map(len, items))
    # The other lines are short and many, so that three lines in ten are not reached before the fifth of the characters.
    texts: list[str] = []
    unique = len(title)
    for thing in dice.shuffled(_THINGS):
        if unique >= 4.03 * repeated:
            break
        texts.append(dice.pick(_REMARKS).format(thing))
        unique += len(texts[-1])
    blocks: list[Block] = [("lines", items), *_paragraphs(texts), ("lines", items)]
    return _draft("duplicate_paragraph_chars", dice, title, blocks, "machine")


_PHRASES = {
    2: ("refrigerated warehousing", "photovoltaic installation", "ergonomic furniture"),
    3: ("quality garden sheds", "folding travel mirrors", "antique copper kettles"),
    4: ("trusted local roof repair", "modern wooden kitchen doors", "second hand piano tuning"),
}
_PHRASE_FRAMES = (
    "Our neighbours praise {} in every season.", "Nobody in this county knows {} as we do.",
    "For {} you should ask us first.", "We have been serious about {} since the old bridge fell.",
    "A day without {} is a quiet one here.", "Some towns import {}, but ours exports it gladly.",
    "Visitors photograph {} and then they phone.", "Rain or shine, {} goes on behind our doors.",
    "My brother explained {} to the mayor last May.", "Everyone deserves {} at home.",
    "Letters about {} arrive by each post.", "You can smell good {} from far away.",
    "There is a song about {} with nine verses.", "Children draw {} when it is too wet to play.",
    "Ask your aunt what {} cost in her day.", "Only {} made that winter bearable.",
    "Between ourselves, {} pays for the roof.", "The parson compared {} to patience.",
    "Once you have seen {} you will not forget it.", "Even the cat prefers {} to the stove.",
    "Whoever laughs at {} has never tried.", "It was raining, so they talked of {} until supper.",
    "Three judges gave {} full marks.", "Think of {} whenever the bell rings.",
)  # fmt: skip
_PHRASE_SHARE = {2: 0.26, 3: 0.225, 4: 0.19}
"""Share of the characters that the phrase takes: above the limit for its length, its shorter parts below theirs."""


def _stuffed(n: int, key: tuple[object, ...]) -> Draft:
    rule = f"top_{n}_gram"
    dice = Dice("planted", rule, *key)
    phrase = dice.pick(_PHRASES[n])
    frames = dice.sample(_PHRASE_FRAMES, dice.between(16, 20))
    texts = [frame.format(phrase) for frame in frames]
    prose = Prose(dice, *dice.sample(_EXACT_TOPICS, 2), "en/common")
    target = letters(phrase) * len(frames) / _PHRASE_SHARE[n]
    written = letters(" ".join(texts))
    while written < target:
        sentence = prose.line("sentences")
        texts.append(sentence)
        written += letters(sentence)
    texts = dice.shuffled(texts)
    blocks = _paragraphs([" ".join(texts[i : i + 4]) for i in range(0, len(texts), 4)])
    return _draft(rule, dice, "Our trade", blocks, "stuffing")


def top_2_gram(*key: object) -> Draft:
    """Two words take more than a fifth of the characters."""
    return _stuffed(2, key)


def top_3_gram(*key: object) -> Draft:
    """Three words take more than 18 % of the characters, no two of them a fifth."""
    return _stuffed(3, key)


def top_4_gram(*key: object) -> Draft:
    """Four words take more than 16 % of the characters, no two or three of them too many."""
    return _stuffed(4, key)


def duplicate_n_gram(n: int, *key: object) -> Draft:
    """Two sentences stand twice inside longer paragraphs; the text round them sets their share of the characters."""
    rule = f"duplicate_{n}_gram"
    dice = Dice("planted", rule, *key)
    prose = Prose(dice, *_EXACT_TOPICS, "en/common")
    title = "Noted twice"
    repeated = prose.paragraph(2)
    missing = 2 * letters(repeated) / _SHARES[n] - 2 * letters(repeated) - letters(title)
    filler: list[str] = []
    while missing > 100:
        filler.append(prose.line("sentences"))
        missing -= letters(filler[-1])
    # The last sentence is the one, of those not yet used, whose length comes closest.
    tail = [
        sentence
        for section in ("asides", "closings", "chat", "leads")
        for template in bank("en/common").sections[section]
        if prose.is_new(sentence := expand(template, bank("en/common"), dice))
    ]
    filler.append(min(tail, key=lambda sentence: (abs(letters(sentence) - missing), sentence)))
    half = len(filler) // 2
    first, second = filler[:half], filler[half:]
    texts = [
        " ".join([*first[:2], repeated, *first[2:4]]),
        *(" ".join(first[i : i + 4]) for i in range(4, len(first), 4)),
        " ".join([*second[:2], repeated, *second[2:4]]),
        *(" ".join(second[i : i + 4]) for i in range(4, len(second), 4)),
    ]
    return _draft(rule, dice, title, _paragraphs(texts), "machine")


def removed_words(*key: object) -> Draft:
    """Line rules take more than one word in twenty: capitals, counters, single words or bare numbers."""
    dice, prose = _start("removed_words", key)
    texts = prose.paragraphs(110)
    kind = dice.below(4)
    if kind == 0:
        extra = [prose.line("titles").upper() for _ in range(5)]
    elif kind == 1:
        nouns = ("likes", "shares", "comments", "views", "followers", "downloads", "bookmarks", "upvotes")
        extra = [f"{dice.between(2, 999)} {noun}" for noun in dice.sample(nouns, 7)]
    elif kind == 2:
        extra = list(dice.sample(("Bread", "Rivers", "Music", "Letters", "Houses", "Maps", "Stars", "Tools", "Seeds",
                                  "Bridges", "Clocks", "Lamps", "Wheels", "Birds"), 13))  # fmt: skip
    else:
        extra = [str(number) for number in dice.sample(range(100_000, 999_999, 7_919), 13)]
    lines = list(texts)
    for line in extra:
        lines.insert(dice.between(1, len(lines)), line)
    return _draft("removed_words", dice, "A page with many small lines", _paragraphs(lines))


def _n_gram(n: int) -> Callable[..., Draft]:
    def build(*key: object) -> Draft:
        return duplicate_n_gram(n, *key)

    return build


RULES: dict[str, Callable[..., Draft]] = {
    "url_hosts": url_hosts,
    "url_substrings": url_substrings,
    "url_hard_words": url_hard_words,
    "url_soft_words": url_soft_words,
    "word_count": word_count,
    "mean_word_length": mean_word_length,
    "symbol_ratio": symbol_ratio,
    "bullet_lines": bullet_lines,
    "ellipsis_lines": ellipsis_lines,
    "non_alpha_words": non_alpha_words,
    "stop_words": stop_words,
    "duplicate_lines": duplicate_lines,
    "duplicate_paragraphs": duplicate_paragraphs,
    "duplicate_line_chars": duplicate_line_chars,
    "duplicate_paragraph_chars": duplicate_paragraph_chars,
    "top_2_gram": top_2_gram,
    "top_3_gram": top_3_gram,
    "top_4_gram": top_4_gram,
    **{f"duplicate_{n}_gram": _n_gram(n) for n in range(5, 11)},
    "removed_words": removed_words,
}
"""Builders by the rule that must remove their pages; `language` is `pages.foreign`."""
