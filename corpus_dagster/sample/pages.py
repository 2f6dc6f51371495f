"""Ordinary pages: articles, tutorials, questions, threads, shops, spam, other languages.

Each function builds one `Draft` from a key; the key alone decides the content, so a page can be written again later.
Pages made to break one rule are in `planted`, HTTP and WARC in `transport` and `archive`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from corpus_dagster.sample import sites
from corpus_dagster.sample.dice import Dice, digest64
from corpus_dagster.sample.grammar import TOPICS, Prose
from corpus_dagster.sample.sites import Block, Site, render

_NAMES = (
    "Ada Birch", "Tomas Reed", "Ines Kallio", "Jonah Field", "Mira Stone", "Pavel Hurst", "Leonie Marsh", "Samir Oak",
    "Greta Holm", "Yusuf Lane", "Clara Winter", "Niko Farrow", "Edith Moor", "Hugo Penn", "Aylin Brook", "Otis Vale",
)  # fmt: skip
_USERS = (
    "windowbox", "gearratio", "old_owl", "millpond", "crustlover", "seventh_fret", "dewpoint", "greyheron", "tinroof",
    "rowcount", "stillwater", "inkblot", "paperboat", "northstar", "leafmould", "redlamp", "quietbell", "dovetail",
)  # fmt: skip
_MONTHS = ("January", "February", "March", "April", "May", "June", "September", "October", "November", "December")
_CODE = (
    "SELECT due_date, count(*)\nFROM loans\nGROUP BY due_date\nORDER BY due_date;",
    "CREATE TABLE readings (\n  station text NOT NULL,\n  taken_at timestamp NOT NULL,\n  height_cm integer\n);",
    "BEGIN;\nUPDATE members SET paid = true WHERE id = 17;\nCOMMIT;",
    "CREATE INDEX parcels_by_postcode ON parcels (postcode, created_at);",
)
NOTICES = (
    "Please keep this board friendly, quote only what you answer, and remember that the moderators of {site} give "
    "their free evenings to reading every single post you write here.",
    "You are reading the public archive of {site}; members who are signed up may attach drawings, follow a "
    "discussion by mail, and correct their own contributions for three days.",
    "All posts on {site} remain the property of those who wrote them and may be quoted elsewhere as long as the "
    "author and the thread are named beside the quotation.",
)
"""Paragraphs that every page of a board repeats; long enough for 13-grams."""


@dataclass(frozen=True)
class Draft:
    """A page before it is rendered, and what the pipeline must do with it."""

    kind: str
    site: Site
    path: str
    title: str
    blocks: tuple[Block, ...]
    expect: str = "keep"
    language: str = "en"
    byline: str = ""
    layout: str = ""
    query: str = ""
    notice: str = ""
    edits: tuple[str, ...] = ()
    personal_data: tuple[str, ...] = ()
    duplicate_of: str = ""
    duplicate_crawl: str = ""

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"https://{self.site.host}{self.path}{self.query}"

    def html(self, charset: str = "utf-8") -> str:
        """The rendered page; `charset` is what its meta element declares, empty for none."""
        blocks = [*self.blocks, ("p", self.notice)] if self.notice else self.blocks
        return render(
            self.site,
            self.title,
            blocks,
            byline=self.byline,
            language=self.language,
            charset=charset,
            layout=self.layout,
        )


def slug(title: str) -> str:
    """The title as a path element: ASCII letters and digits joined by hyphens."""
    return "-".join(re.findall(r"[a-z0-9]+", title.lower())) or "page"


def path_for(title: str, dice: Dice, folder: str = "") -> str:
    """A path that no other page is likely to have."""
    return f"{folder}/{slug(title)}-{dice.between(10_000, 99_999)}.html"


def _byline(dice: Dice) -> str:
    return f"By {dice.pick(_NAMES)}, {dice.between(1, 28)} {dice.pick(_MONTHS)} {dice.between(2016, 2024)}"


def _topics(dice: Dice, n: int) -> list[str]:
    return [f"en/{topic}" for topic in dice.sample(TOPICS, n)]


def _remark(prose: Prose) -> str:
    """A general remark and a sentence on the subject: general ones alone would repeat from page to page."""
    return f"{prose.line('asides')} {prose.line('sentences')}"


def _ending(prose: Prose) -> str:
    return f"{prose.paragraph(3)} {prose.line('closings')}"


def _length(dice: Dice) -> int:
    """Words to write: mostly 80 to 280, now and then up to 1,700, as web pages go."""
    throw = dice.below(40)
    if throw == 0:
        return dice.between(1000, 1700)
    if throw < 5:
        return dice.between(400, 800)
    return dice.between(80, 280)


def article(*key: object) -> Draft:
    """An article about one subject, with headings when it is long."""
    dice = Dice("article", *key)
    topics = _topics(dice, 5)
    prose = Prose(dice, *topics, "en/common")
    title = prose.line("titles")
    body = prose.paragraphs(_length(dice))
    blocks: list[Block] = [("p", _remark(prose) + " " + prose.line("asides"))]
    for i, text in enumerate(body):
        if i % 4 == 3:
            blocks.append(("h2", prose.line("titles")))
        blocks.append(("p", text))
    blocks.append(("p", _ending(prose)))
    site = dice.pick(sites.ARTICLES)
    return Draft("article", site, path_for(title, dice, "/notes"), title, tuple(blocks), byline=_byline(dice))


def tutorial(*key: object) -> Draft:
    """Instructions: an introduction, numbered steps, remarks; code where the subject has it."""
    dice = Dice("tutorial", *key)
    topic = dice.pick(TOPICS)
    prose = Prose(dice, f"en/{topic}", "en/common")
    title = prose.line("questions")
    blocks: list[Block] = [
        ("p", prose.paragraph(4)),
        ("p", prose.line("leads") + " " + _remark(prose) + " " + prose.line("asides")),
        # Two sentences each: a step that stood alone would sooner or later repeat one of another page word for word.
        ("ol", [prose.line("steps") + " " + prose.line("sentences") for _ in range(dice.between(4, 7))]),
    ]
    if topic == "database":
        blocks.append(("pre", dice.pick(_CODE)))
    blocks += [("p", prose.paragraph(dice.between(4, 5))) for _ in range(dice.between(1, 4))]
    blocks.append(("p", _ending(prose)))
    site = dice.pick(sites.ARTICLES)
    return Draft("tutorial", site, path_for(title, dice, "/howto"), title, tuple(blocks), byline=_byline(dice))


def question(*key: object) -> Draft:
    """A question with two to four answers."""
    dice = Dice("question", *key)
    prose = Prose(dice, f"en/{dice.pick(TOPICS)}", "en/common")
    title = prose.line("questions")
    blocks: list[Block] = [("p", prose.paragraph(2) + " " + prose.paragraph(2, "questions_tail"))]
    for name in dice.sample(_NAMES, dice.between(2, 4)):
        blocks.append(("h2", f"Answer by {name}"))
        blocks.append(("p", prose.paragraph(dice.between(4, 5))))
        if dice.one_in(2):
            blocks.append(("p", prose.line("steps") + " " + _remark(prose)))
    site = dice.pick(sites.QUESTIONS)
    return Draft("question", site, path_for(title, dice, "/q"), title, tuple(blocks))


def forum(*key: object) -> Draft:
    """A thread; every board repeats its notice under each page, and some posts carry a counter of likes."""
    dice = Dice("forum", *key)
    prose = Prose(dice, *_topics(dice, 2), "en/common")
    title = prose.line("questions")
    blocks: list[Block] = []
    counters = False
    for n in range(dice.between(5, 8)):
        blocks.append(("p", f"{dice.pick(_USERS)} wrote on {dice.between(1, 28)} {dice.pick(_MONTHS)}:"))
        section = "questions_tail" if n == 0 else "chat"
        blocks.append(("p", prose.line(section) + " " + prose.paragraph(dice.between(2, 4)) + " " + prose.line("chat")))
        if n == 2 and dice.one_in(3):
            blocks.append(("p", f"{dice.between(2, 90)} likes"))
            counters = True
    site = dice.pick(sites.FORUMS)
    return Draft(
        "forum",
        site,
        path_for(title, dice, "/thread"),
        title,
        tuple(blocks),
        notice=NOTICES[digest64("notice", site.host) % len(NOTICES)].format(site=site.name),
        edits=("counter_lines",) if counters else (),
    )


def measurements(*key: object) -> Draft:
    """An article with a small table of figures."""
    dice = Dice("measurements", *key)
    prose = Prose(dice, f"en/{dice.pick(TOPICS)}", "en/common")
    title = prose.line("titles")
    places = dice.sample(("north end", "south end", "cellar", "kitchen", "garden", "workshop", "attic"), 5)
    readings = [(place, *(f"about {dice.between(2, 30)} points" for _ in range(2))) for place in places]
    rows = [("Place", "First reading", "Second reading"), *readings]
    blocks: list[Block] = [("p", text) for text in prose.paragraphs(dice.between(120, 220))]
    blocks.insert(2, ("table", rows))
    blocks.append(("p", _ending(prose)))
    site = dice.pick(sites.ARTICLES)
    return Draft("measurements", site, path_for(title, dice, "/data"), title, tuple(blocks), byline=_byline(dice))


def contact(*key: object) -> Draft:
    """A page with made-up personal data: reserved domains, fictional telephone numbers, documentation addresses."""
    dice = Dice("contact", *key)
    prose = Prose(dice, f"en/{dice.pick(TOPICS)}", "en/common")
    name = dice.pick(_NAMES)
    mail = f"{name.lower().replace(' ', '.')}{dice.between(2, 99)}@mail.example"
    phone = f"(202) 555-01{dice.between(0, 99):02d}"
    address = f"{dice.pick(('192.0.2', '198.51.100', '203.0.113'))}.{dice.between(1, 254)}"
    title = f"About {prose.line('titles').lower()}"
    person = f"{name} looks after these pages; letters go to {mail}, and on weekdays the telephone is {phone}."
    blocks: list[Block] = [
        ("p", prose.paragraph(4)),
        ("p", f"{prose.line('asides')} {person} {prose.line('sentences')}"),
        ("p", prose.paragraph(4)),
        ("p", f"The last comment came from {address} and was answered the same day. " + _remark(prose)),
        ("p", _ending(prose)),
    ]
    site = dice.pick(sites.ARTICLES)
    return Draft(
        "contact",
        site,
        path_for(title, dice, "/about"),
        title,
        tuple(blocks),
        personal_data=(mail, phone, address),
    )


def shop(*key: object) -> Draft:
    """A product page: sound sentences of little worth."""
    dice = Dice("shop", *key)
    prose = Prose(dice, "en/shop")
    title = prose.line("titles")
    blocks: list[Block] = [("p", prose.paragraph(4)) for _ in range(dice.between(2, 4))]
    blocks.insert(1, ("lines", [f"Price: {dice.between(4, 90)} euros", f"Article number {dice.between(1000, 9999)}"]))
    site = dice.pick(sites.SHOPS)
    return Draft("shop", site, path_for(title, dice, "/item"), title, tuple(blocks), expect="quality")


def spam(*key: object) -> Draft:
    """Pushing prose that passes every rule."""
    dice = Dice("spam", *key)
    prose = Prose(dice, "en/spam")
    title = prose.line("titles")
    blocks: list[Block] = [("p", prose.paragraph(4)) for _ in range(dice.between(2, 4))]
    site = dice.pick(sites.SPAM)
    return Draft("spam", site, path_for(title, dice, "/offer"), title, tuple(blocks), expect="quality")


def foreign(language: str, *key: object) -> Draft:
    """A page in another language than English."""
    dice = Dice("foreign", language, *key)
    prose = Prose(dice, f"other/{language}")
    title = prose.line("titles")
    blocks: list[Block] = [("p", prose.paragraph(dice.between(4, 5))) for _ in range(dice.between(2, 4))]
    site = dice.pick(sites.BY_LANGUAGE[language])
    path = f"/{language}/{dice.between(1000, 9999)}/{dice.between(10_000, 99_999)}.html"
    return Draft("foreign", site, path, title, tuple(blocks), expect="filtered:language", language=language)


_LONG_URL_MARKS = (
    "More about it stands at http://192.0.2.17/notes/index.html and in the printed handbook.",
    "See https://www.example.org/field-guide for the drawings, or http://example.com/plans?page=2 for the plans.",
    "The list used to be at http://198.51.100.4:8080/list and has moved to www.example.net/list since.",
)


def edited(*key: object) -> Draft:
    """An article that survives, but not unchanged: addresses, empty lines, and remains of page furniture."""
    dice = Dice("edited", *key)
    prose = Prose(dice, f"en/{dice.pick(TOPICS)}", "en/common")
    title = prose.line("titles")
    blocks: list[Block] = [("p", text) for text in prose.paragraphs(dice.between(180, 260))]
    # (edit, block): each takes out less than one word in twenty of a text this long.
    marks: tuple[tuple[str, Block], ...] = (
        ("urls", ("p", dice.pick(_LONG_URL_MARKS))),
        ("newlines", ("raw", "<div>A pause for the eye.<br><br><br><br><br>And then it goes on.</div>")),
        ("cart", ("p", f"You have {dice.between(2, 9)} items in cart")),
        ("read_more", ("p", "The story continues on paper Read more...")),
        ("sign_in", ("p", "Sign-in to keep your place")),
        ("upper_case_lines", ("p", "NEW THIS WEEK")),
        ("numeric_lines", ("p", str(dice.between(1990, 2024)))),
        ("counter_lines", ("p", f"{dice.between(3, 400)} views")),
    )
    chosen = dice.sample(marks, 2)
    for _, block in chosen:
        blocks.insert(dice.between(1, len(blocks) - 1), block)
    site = dice.pick(sites.ARTICLES)
    return Draft(
        "edited",
        site,
        path_for(title, dice, "/column"),
        title,
        tuple(blocks),
        layout="bare",
        edits=tuple(sorted(edit for edit, _ in chosen)),
    )


KEEPERS: dict[str, Callable[..., Draft]] = {
    "article": article,
    "tutorial": tutorial,
    "question": question,
    "forum": forum,
    "measurements": measurements,
    "contact": contact,
}
"""Builders of good English pages, by kind."""
