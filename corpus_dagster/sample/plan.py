"""What stands in each sample crawl, and where: how many pages of each kind, which repeat which, in which order.

Deduplication decides by the order of files and records, so this is the place where duplicates get their labels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from corpus_dagster.sample import pages, planted, transport
from corpus_dagster.sample.dice import Dice, digest64
from corpus_dagster.sample.grammar import LANGUAGES, runs
from corpus_dagster.sample.pages import KEEPERS, Draft, path_for
from corpus_dagster.sample.sites import Block
from corpus_dagster.sample.transport import Response

FILES = 4

_GOOD = {"article": 260, "tutorial": 130, "question": 110, "forum": 110, "measurements": 40, "contact": 30}
_PLANTED = {
    **dict.fromkeys(("url_hosts", "url_substrings", "url_hard_words", "url_soft_words"), 14),
    "word_count": 90,
    "mean_word_length": 10,
    "symbol_ratio": 14,
    "bullet_lines": 14,
    "ellipsis_lines": 20,
    "non_alpha_words": 14,
    "stop_words": 14,
    "duplicate_lines": 14,
    "duplicate_paragraphs": 10,
    "duplicate_line_chars": 12,
    "duplicate_paragraph_chars": 8,
    **{f"top_{n}_gram": 10 for n in (2, 3, 4)},
    **{f"duplicate_{n}_gram": 8 for n in range(5, 11)},
    "removed_words": 24,
}
_PER_LANGUAGE = 26
_RECODED_PER_LANGUAGE = 6
"""Of the pages in a language, those in another character set than UTF-8, where there is one for it."""

_OTHER_FETCHES: tuple[tuple[Callable[..., Response], int], ...] = (
    (transport.redirect, 60),
    (transport.failure, 65),
    (transport.file, 55),
    (transport.disguised, 4),
    (transport.empty, 8),
)
_COPIES = {"copy": 80, "near_copy": 30, "quoting": 30, "spun": 20}
_COPIED = ("article", "tutorial", "question")
"""Kinds that are copied: their text does not depend on the pages before them."""

_REPEATED_SHARE = 5
"""One good page in so many is in the earlier crawl as well; every second of these was revised in between."""

# A spinner's dictionary: one word in eight or so changes, so that hardly a run of 13 words is left.
_SPUN = {
    "the": "this", "and": "plus", "of": "from", "is": "remains", "a": "one", "in": "inside", "that": "which",
    "to": "towards", "it": "such", "are": "stay", "for": "towards", "with": "including", "than": "versus",
}  # fmt: skip


@dataclass(frozen=True)
class Placed:
    """A response, the file it stands in and its position there; larger means later."""

    file: int
    position: int
    response: Response
    notice: str = ""
    draft: Draft | None = None


def _good(crawl: str, earlier: str, kind: str, n: int) -> Draft:
    """The `n`-th page of a good kind; some of a later crawl are taken over from the earlier one."""
    # Threads are not repeated: what their notice duplicates is decided within the crawl.
    if not earlier or n % _REPEATED_SHARE or kind == "forum":
        return KEEPERS[kind](crawl, n)
    draft = KEEPERS[kind](earlier, n)
    old = replace(draft, duplicate_of=draft.url, duplicate_crawl=earlier)
    if n // _REPEATED_SHARE % 2:
        return old
    # Fewer than 13 tokens, so that deduplication never judges the line itself.
    line = f"Corrected in {Dice('revision', crawl, kind, n).pick(('February', 'March'))} after a letter from a reader."
    return replace(old, blocks=(*old.blocks, ("p", line)))


def _sent(crawl: str, earlier: str) -> Iterator[tuple[Response, Draft | None]]:
    """Every response of a crawl except the planted copies, in no particular order."""
    for kind, count in _GOOD.items():
        for n in range(count):
            draft = _good(crawl, earlier, kind, n)
            if kind == "article" and n % 26 == 7:
                yield transport.cut_page(draft), None
            else:
                yield transport.html_page(draft, crawl), draft
    for n in range(40):
        yield transport.html_page(pages.edited(crawl, n), crawl), None
    for n in range(10):
        yield transport.html_page(planted.one_soft_word(crawl, n), crawl), None
        yield transport.xhtml_page(pages.article(crawl, "xhtml", n)), None
        yield transport.recode(pages.article(crawl, "recoded", n), n), None
    for n in range(20):
        yield transport.text_page(replace(pages.article(crawl, "text", n), kind="plain_text")), None
    yield transport.unusual_url(pages.article(crawl, "unusual")), None
    for n in range(110):
        yield transport.html_page(pages.shop(crawl, n), crawl), None
        yield transport.html_page(pages.spam(crawl, n), crawl), None
    for language in LANGUAGES:
        for n in range(_PER_LANGUAGE):
            draft = pages.foreign(language, crawl, n)
            recoded = language in transport.RECODED and n < _RECODED_PER_LANGUAGE
            yield (transport.recode(draft, n) if recoded else transport.html_page(draft, crawl)), None
    for rule, count in _PLANTED.items():
        for n in range(count):
            yield transport.html_page(planted.RULES[rule](crawl, n), crawl), None
    for fetch, count in _OTHER_FETCHES:
        for n in range(count):
            yield fetch(crawl, n), None
    for site in transport.ROBOTS_SITES:
        yield transport.robots(site), None


def _spin(text: str) -> str:
    count = 0

    def swap(match: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return _SPUN[match.group()] if count % 2 else match.group()

    return re.sub(rf"\b(?:{'|'.join(_SPUN)})\b", swap, text)


def _spun(block: Block) -> Block:
    kind, content = block
    if kind == "p" and isinstance(content, str):
        return kind, _spin(content)
    return (kind, [_spin(str(item)) for item in content]) if kind == "ol" else block


def _text(blocks: Sequence[Block]) -> str:
    return "\n".join(content for _, content in blocks if isinstance(content, str))


def _copy(kind: str, original: Draft, dice: Dice, crawl: str, n: int) -> Draft:
    """A page that repeats an earlier one, and what deduplication does with it."""
    other = pages.article(crawl, kind, n)
    path = path_for(original.title, dice, f"/{kind.replace('_', '-')}")
    whole = replace(
        original,
        kind=kind,
        path=path,
        site=other.site,
        duplicate_of=original.url,
        duplicate_crawl=crawl,
        expect="duplicates:document",
    )
    if kind == "copy":
        return whole
    if kind == "near_copy":
        return replace(whole, title=other.title, byline=other.byline)
    if kind == "spun":
        return replace(whole, blocks=tuple(map(_spun, original.blocks)), expect="keep")
    # Its own article with two paragraphs of the original, and no sentence like one of these.
    quoted = [block for block in original.blocks if block[0] == "p"][:2]
    known = runs(_text(quoted))
    attempt = 0
    while not known.isdisjoint(runs(_text(other.blocks))):
        attempt += 1
        other = pages.article(crawl, kind, n, attempt)
    blocks = (*other.blocks[:2], quoted[0], *other.blocks[2:], quoted[1])
    return replace(other, kind=kind, blocks=blocks, duplicate_of=original.url, duplicate_crawl=crawl,
                   expect="duplicates:paragraph")  # fmt: skip


def _copies(crawl: str, originals: list[Placed]) -> Iterator[Placed]:
    """Copies spread evenly over the files: half in the file of their original, half in a later one."""
    by_file = [[placed for placed in originals if placed.file == file] for file in range(FILES)]
    kinds = [kind for kind, count in _COPIES.items() for _ in range(count)]
    for n, kind in enumerate(Dice("copies", crawl).shuffled(kinds)):
        dice = Dice("copy", crawl, n)
        target = n % FILES
        source = target if target == 0 or n // FILES % 2 else dice.below(target)
        original = by_file[source].pop()
        if original.draft is None:
            raise ValueError("only pages with a draft are copied")
        draft = _copy(kind, original.draft, dice, crawl, n)
        room = (1 << 64) - original.position
        position = original.position + 1 + room * dice.below(1000) // 1001 if source == target else dice.bits()
        yield Placed(target, position, transport.html_page(draft, crawl))


def arrange(crawl: str, earlier: str = "") -> list[list[tuple[Response, str, str]]]:
    """The responses of a crawl by file, in order.

    Args:
        crawl: name of the crawl.
        earlier: crawl that some pages are repeated from; empty for none.

    Returns:
        For each file its responses, each with its expectation and the URL that it duplicates.
    """
    sent = list(_sent(crawl, earlier))
    order = sorted(range(len(sent)), key=lambda i: digest64("order", crawl, i))
    placed = [
        Placed(
            place % FILES,
            digest64("position", crawl, place),
            sent[i][0],
            draft.notice if (draft := sent[i][1]) else "",
            draft,
        )
        for place, i in enumerate(order)
    ]
    originals = [p for p in placed if p.response.kind in _COPIED and p.draft and not p.response.duplicate_of]
    placed += _copies(crawl, originals)
    placed.sort(key=lambda p: (p.file, p.position))

    noticed: dict[str, str] = {}
    files: list[list[tuple[Response, str, str]]] = [[] for _ in range(FILES)]
    seen: set[str] = set()
    for p in placed:
        response = p.response
        if response.url in seen:
            raise ValueError(f"two pages of {crawl} have the URL {response.url}; change the seed of one of them")
        seen.add(response.url)
        expect, duplicate_of = response.expect, response.duplicate_of
        if p.notice:
            first = noticed.setdefault(p.notice, response.url)
            if first != response.url:
                expect, duplicate_of = "duplicates:paragraph", duplicate_of or first
        files[p.file].append((response, expect, duplicate_of))
    return files
