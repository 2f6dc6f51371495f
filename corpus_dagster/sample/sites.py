"""Made-up web sites: host names, and the HTML that their pages wear.

Every name is reserved for examples (RFC 2606). What a page says is decided in `pages` and `planted`.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from corpus_dagster.sample.dice import digest64

Block = tuple[str, str | Sequence[str] | Sequence[Sequence[str]]]
"""Kind and content: p, h2, pre, raw: a string; lines, ol, ul: strings; table: rows of cells."""


@dataclass(frozen=True)
class Site:
    """A host, the name on its masthead and the layout of its pages."""

    host: str
    name: str
    layout: str


_ARTICLE_HOSTS = (
    "slow-crumb.example", "www.hearthnotes.example", "gardenwall.example", "www.allotment-diary.test",
    "spokesandgears.example", "towpath-riders.test", "www.backyard-observatory.example", "darkskyletters.test",
    "plainrows.example", "www.query-and-index.test", "valleywater.example", "millstream-journal.test",
    "www.latebeginners.example", "second-movement.test", "paperandlead.example", "www.oldpresses.test",
    "unhurried-pictures.example", "greycard.test", "www.limeandslate.example", "sashwindow.test",
    "countrycolumn.example", "www.sunday-reader.test", "northfield-gazette.example", "www.harbour-post.test",
    "learning.riverside-college.example", "notes.hill-university.test", "handbook.makers-guild.example",
    "archive.townmuseum.test",
)  # fmt: skip
_QA_HOSTS = ("ask.makers-guild.example", "www.plainanswers.test", "howso.example", "questions.hillclub.test")
_FORUM_HOSTS = (
    "forum.towpath-riders.test", "board.allotment-diary.test", "talk.hearthnotes.example", "community.greycard.test",
    "boards.old-house-owners.example", "forum.starlight-society.test",
)  # fmt: skip
_SHOP_HOSTS = (
    "shop.brightbarrow.example", "www.tools-and-twine.test", "store.lanternlane.example", "outlet.cloudcartons.test",
    "www.everydaybargains.example",
)  # fmt: skip
_SPAM_HOSTS = (
    "best-deals-today.test", "www.instant-success-blog.example", "top10-secrets.test", "quickmoney-guide.example",
    "miracle-results.test", "www.seo-boost-now.example",
)  # fmt: skip
_PORTAL_HOSTS = (
    "www.cityportal.example", "members.hillclub.test", "listings.cityportal.example", "data.stationlogs.test",
    "www.linkcorner.example", "directory.hobbyweb.test", "app.notekeeper.invalid",
)  # fmt: skip
_LANGUAGE_HOSTS = {
    "de": ("www.stadtrandblatt.example", "gartenbuch.test"),
    "fr": ("www.lecarnetduquai.example", "atelier-du-pont.test"),
    "es": ("www.plazavieja.example", "cuaderno-del-rio.test"),
    "pt": ("www.feiradesabado.example", "jornaldamare.test"),
    "it": ("www.bottegaaperta.example", "lungofiume.test"),
    "ru": ("www.dachny-listok.example", "starygorod.test"),
    "ja": ("www.asa-no-ichi.example", "kawabe.test"),
    "zh": ("www.hebian.example", "laofangzi.test"),
    "ko": ("www.gangga.example", "achimsijang.test"),
    "ar": ("www.alsuq.example", "qarya.test"),
    "hi": ("www.subah.example", "nadi-kinare.test"),
}
_LAYOUTS = ("semantic", "classic", "blog", "tables")


def _sites(hosts: Sequence[str], layouts: Sequence[str]) -> tuple[Site, ...]:
    result: list[Site] = []
    for host in hosts:
        words = host.removeprefix("www.").split(".")[0].replace("-", " ")
        result.append(Site(host, words.title(), layouts[digest64("layout", host) % len(layouts)]))
    return tuple(result)


ARTICLES = _sites(_ARTICLE_HOSTS, _LAYOUTS)
QUESTIONS = _sites(_QA_HOSTS, ("semantic", "classic"))
FORUMS = _sites(_FORUM_HOSTS, ("classic", "tables"))
SHOPS = _sites(_SHOP_HOSTS, ("semantic", "classic"))
SPAM = _sites(_SPAM_HOSTS, _LAYOUTS)
PORTALS = _sites(_PORTAL_HOSTS, ("bare",))
BY_LANGUAGE = {language: _sites(hosts, _LAYOUTS) for language, hosts in _LANGUAGE_HOSTS.items()}
BANNED = _sites(("nightlounge.test", "fast-pills.example", "linkfarm-one.example", "scraped-answers.example"), _LAYOUTS)
"""Hosts that stand in the default list of banned hosts."""


def _escape(text: str) -> str:
    return html.escape(text, quote=False)


def block_html(block: Block) -> str:
    """A block as HTML; the text of every block but `raw` is escaped."""
    kind, content = block
    if isinstance(content, str):
        return content if kind == "raw" else f"<{kind}>{_escape(content)}</{kind}>"
    if kind == "table":
        rows = ("<tr>" + "".join(f"<td>{_escape(cell)}</td>" for cell in row) + "</tr>" for row in content)
        return "<table>\n" + "\n".join(rows) + "\n</table>"
    items = [_escape(str(item)) for item in content]
    if kind == "lines":
        return "<p>" + "<br>\n".join(items) + "</p>"
    return f"<{kind}>\n" + "\n".join(f"<li>{item}</li>" for item in items) + f"\n</{kind}>"


def _head(site: Site, title: str, language: str, charset: str) -> str:
    meta = f'<meta charset="{charset}">' if charset else ""
    return (
        f'<!DOCTYPE html>\n<html lang="{language}">\n<head>{meta}<title>{_escape(title)} - {site.name}</title>\n'
        '<link rel="stylesheet" href="/style.css"></head>\n'
    )


def _semantic(site: Site, title: str, byline: str, body: str) -> str:
    note = f'<p class="byline">{_escape(byline)}</p>\n' if byline else ""
    return (
        f'<body><header class="site-header"><a href="/">{site.name}</a></header>\n'
        '<nav class="main-nav"><ul><li><a href="/">Home</a></li><li><a href="/archive/">Archive</a></li>'
        '<li><a href="/about/">About</a></li></ul></nav>\n'
        f"<main><article>\n<h1>{_escape(title)}</h1>\n{note}{body}\n</article></main>\n"
        f'<footer class="site-footer"><p>{site.name} <a href="/imprint/">Imprint</a></p></footer></body></html>\n'
    )


def _classic(site: Site, title: str, byline: str, body: str) -> str:
    note = f'<p class="date">{_escape(byline)}</p>\n' if byline else ""
    return (
        f'<body><div id="header"><a href="/">{site.name}</a></div>\n'
        '<div id="navigation" class="menu"><a href="/">Start</a> <a href="/all/">All pages</a> '
        '<a href="/contact/">Contact</a></div>\n'
        f'<div id="content" class="content">\n<h1>{_escape(title)}</h1>\n{note}{body}\n</div>\n'
        '<div id="footer" class="footer"><a href="/privacy/">Privacy</a> <a href="/terms/">Terms</a></div>\n'
        "</body></html>\n"
    )


def _blog(site: Site, title: str, byline: str, body: str) -> str:
    note = f'<div class="post-meta">{_escape(byline)}</div>\n' if byline else ""
    return (
        f'<body class="single"><div class="navbar"><a href="/">{site.name}</a></div>\n'
        f'<div class="entry-content post"><h1 class="entry-title">{_escape(title)}</h1>\n{note}{body}\n</div>\n'
        '<aside class="sidebar"><h3>Recent posts</h3><ul><li><a href="/p/1">An older post</a></li>'
        '<li><a href="/p/2">And another</a></li></ul></aside>\n'
        f'<div class="footer">{site.name}</div></body></html>\n'
    )


def _tables(site: Site, title: str, byline: str, body: str) -> str:
    note = f"<p><i>{_escape(byline)}</i></p>\n" if byline else ""
    return (
        f'<body bgcolor="#ffffff"><table class="header"><tr><td><a href="/">{site.name}</a></td></tr></table>\n'
        f'<div class="text"><h2>{_escape(title)}</h2>\n{note}{body}\n</div>\n'
        '<div class="footer"><a href="/">Back</a></div></body></html>\n'
    )


def _bare(_site: Site, title: str, byline: str, body: str) -> str:
    note = f"<p>{_escape(byline)}</p>\n" if byline else ""
    heading = f"<h1>{_escape(title)}</h1>\n" if title else ""
    return f"<body>\n<main>\n{heading}{note}{body}\n</main>\n</body></html>\n"


_RENDERERS: dict[str, Callable[[Site, str, str, str], str]] = {
    "semantic": _semantic,
    "classic": _classic,
    "blog": _blog,
    "tables": _tables,
    "bare": _bare,
}


def render(
    site: Site,
    title: str,
    blocks: Sequence[Block],
    *,
    byline: str = "",
    language: str = "en",
    charset: str = "utf-8",
    layout: str = "",
) -> str:
    """A whole HTML page; `charset` empty leaves the declaration out, `layout` replaces the site's own."""
    body = "\n".join(map(block_html, blocks))
    return _head(site, title, language, charset) + _RENDERERS[layout or site.layout](site, title, byline, body)
