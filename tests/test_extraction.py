"""Markup to text, and the guards that bound its cost."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resiliparse.parse.html import HTMLTree, NodeType

from corpus_dagster.charset import codec_for, decode
from corpus_dagster.extraction import Extraction, ExtractionSettings, Extractor, cost, plain_text
from corpus_dagster.extraction_sandbox import WALL_FACTOR, Sandbox, SandboxVerdict
from corpus_dagster.text.htmlscan import FLAGS, KEYS, _scan, _strip, measure

SLOWEST = 5.0
"""Seconds that no page may take."""

HOSTILE = {
    "nested tags": "<div>" * 200_000 + "text",
    "nested tags, closed": "<div>" * 200_000 + "text" + "</div>" * 200_000,
    "nested unknown tags": "<foo>x" * 200_000,
    "attributes on one tag": "<div " + " ".join(f"a{i}=1" for i in range(200_000)) + ">text",
    "attributes on the body": "".join(f"<body a{i}=1>" for i in range(200_000)),
    "unclosed formatting": "<b>x" * 200_000,
    "unclosed formatting in paragraphs": "<p><i>x" * 200_000,
    "unclosed formatting, all different": "".join(f"<p><font a={i}>x" for i in range(200_000)),
    "links around blocks": "<a><div>x" * 200_000,
    "misnested formatting": "<b><div>" * 200_000 + "</b>" * 200_000,
    "nested lists": "<ul><li>x" * 200_000,
    "nested tables": "<table><tr><td>" * 200_000 + "x",
    "options": "<select>" + "<option>x" * 200_000,
    "end tags that close nothing": "<div>" * 500 + "</foo>" * 200_000,
    "end tags out of scope": "<div><table><td></div>" * 200_000,
    "unclosed comment": "<!--" * 200_000,
    "unclosed script": "<script><!--<script>" * 200_000,
    "open angle brackets": "<" * 5_000_000,
    "ampersands": "&" * 5_000_000,
    "50 MB of paragraphs": "<p>Some words of a paragraph.</p>" * (50_000_000 // 33),
    "50 MB of text": "word " * 10_000_000,
}


@pytest.fixture(scope="module")
def extractor():
    with Extractor(ExtractionSettings()) as instance:
        instance.extract("<p>compiled")
        yield instance


@pytest.mark.parametrize("name", HOSTILE)
def test_no_page_takes_long(extractor: Extractor, name: str) -> None:
    started = time.perf_counter()
    result = extractor.extract(HOSTILE[name])
    assert time.perf_counter() - started < SLOWEST
    assert result.verdict is None, "the clock decided where the bound should have"


def test_a_page_over_the_bound_is_extracted_plainly(extractor: Extractor) -> None:
    result = extractor.extract("<div>" * 10_000 + "<p>deep</p>")
    assert (result.text, result.extractor) == ("deep", "plain")


def test_main_content_leaves_the_rest_out(extractor: Extractor) -> None:
    page = (
        "<html><body><nav><a href=/>Home</a> <a href=/b>Shop</a></nav><article><h1>Title</h1>"
        + "<p>A paragraph of the article with enough words to be one.</p>" * 5
        + "</article><footer>Copyright</footer></body></html>"
    )
    text = extractor.extract(page).text
    assert "A paragraph of the article" in text
    assert "Shop" not in text
    assert "Copyright" not in text


def test_text_is_clean(extractor: Extractor) -> None:
    result = extractor.extract("<p>a\x00b\r\nc&#13;d&#xD800;</p>")
    assert "\x00" not in result.text
    assert "\r" not in result.text
    result.text.encode("utf-8")


def test_plain_text_keeps_words_and_drops_code() -> None:
    page = (
        b"<!DOCTYPE html><head><title>T</title><style>p {}</style></head><body a='x>y' b=\"<p>\">"
        b"<h1>One&nbsp;two</h1>\n<script>if (a < b) { '</p>' }</script><p>three<br>four <b>fi</b>ve &lt;6&gt; "
        b"a < b<!-- <p>no --></p>"
    )
    assert plain_text(page) == "One two\n\nthree\nfour five <6> a < b"


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="<>/!-='\" abpdivscrt&;\n\x00é", max_size=300))
def test_no_markup_makes_extraction_raise(markup: str) -> None:
    with Extractor(ExtractionSettings()) as fresh:
        assert isinstance(fresh.extract(markup), Extraction)
    plain_text(markup.encode()).encode()


# The measure


def test_well_formed_nesting_is_counted_exactly() -> None:
    work = measure(b"<html><body><div><p>a<b>c</b></p><ul><li>x<li>y</ul></div><br><img src=x>")
    assert (work.tags, work.depth, work.formatting, work.complete) == (10, 3, 1, True)


def test_elements_with_optional_end_tags_do_not_nest() -> None:
    for unit in ("<p>x", "<li>x", "<dt>x<dd>y", "<h1>x</h1>"):
        assert measure((f"<div>{unit * 3000}").encode()).depth <= 3, unit
    assert measure(("<table>" + "<tr><td>x<td>y" * 3000).encode()).depth <= 4
    assert measure(("<select>" + "<option>x" * 3000).encode()).depth <= 2


@pytest.mark.parametrize(
    "unit", ["<span><div></span>", "<div><table><td></div>", "<div></foo>", "<b><div></b>", "<a><div>"]
)
def test_end_tags_that_close_nothing_do_not_hide_nesting(unit: str) -> None:
    assert measure((unit * 1000).encode()).depth >= 1000


def test_attributes_and_formatting_are_counted() -> None:
    work = measure(b"<div a b=1 c='x>' d=\"<\" / e><p>" + b"".join(b"<font a=%d>" % i for i in range(20)) + b"</p><p>x")
    assert work.attributes == 5
    assert work.formatting == 20
    assert work.formatting_work >= 20


def test_equal_formatting_elements_count_three_times() -> None:
    assert measure(b"<p>" + b"<b>x" * 100).formatting == 3


ELEMENTS = [
    "div",
    "p",
    "b",
    "i",
    "a",
    "span",
    "ul",
    "li",
    "table",
    "tr",
    "td",
    "tbody",
    "select",
    "option",
    "optgroup",
    "h1",
    "section",
    "font",
    "em",
    "button",
    "form",
    "svg",
    "foo",
    "dl",
    "dt",
    "dd",
    "blockquote",
    "pre",
    "br",
    "img",
    "template",
    "caption",
    "th",
    "nobr",
    "main",
    "object",
]

SOUP = st.lists(
    st.one_of(st.sampled_from(["x", *(f"</{e}>" for e in ELEMENTS)]), st.sampled_from([f"<{e}>" for e in ELEMENTS])),
    max_size=60,
).map("".join)


@settings(max_examples=400, deadline=None)
@given(SOUP)
def test_tag_soup_is_not_measured_far_below_its_tree(soup: str) -> None:
    """The tree is the parser's own; formatting elements that it opens again are counted beside the depth."""
    work = measure(f"<body>{soup}".encode())
    assert work.depth + work.formatting >= 0.5 * (tree_depth(f"<body>{soup}") - 2)


def tree_depth(markup: str) -> int:
    deepest, level = 0, [HTMLTree.parse(markup).body]
    while level:
        level = [child for node in level if node for child in node.child_nodes if child.type == NodeType.ELEMENT]
        deepest += bool(level)
    return deepest


@settings(max_examples=100, deadline=None)
@given(st.one_of(SOUP, st.text(alphabet="<>/!-='\" apdiv\n", max_size=200)))
def test_kernels_do_compiled_what_they_say_in_python(soup: str) -> None:
    data = np.frombuffer(soup.encode() or b" ", np.uint8)
    counts, lengths, texts = [], [], []
    for scan, strip in ((_scan, _strip), (_scan.py_func, _strip.py_func)):
        out, text = np.zeros(8, np.int64), np.zeros(len(data), np.uint8)
        complete = scan(data, KEYS, FLAGS, out)
        lengths.append(strip(data, KEYS, FLAGS, text))
        counts.append((*out.tolist(), bool(complete)))
        texts.append(text.tobytes())
    assert counts[0] == counts[1]
    assert lengths[0] == lengths[1]
    assert texts[0] == texts[1]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_the_measure_takes_any_bytes(noise: bytes) -> None:
    work = measure(b"<p " + noise)
    assert work.size == len(noise) + 3
    assert cost(work) >= 0


# The backstop


def slow_page(paragraphs: int) -> str:
    return "<div>" * 2_000 + "<p>x</p>" * paragraphs


def test_a_page_that_runs_away_is_ended_and_judged() -> None:
    admitted = ExtractionSettings(max_cost=10**15, backstop_seconds=0.5)
    with Extractor(admitted) as lenient:
        started = time.perf_counter()
        result = lenient.extract(slow_page(60_000))
        assert time.perf_counter() - started < SLOWEST
        assert (result.extractor, result.verdict) == ("plain", "timeout")
        assert result.text.startswith("x")
        after = lenient.extract("<p>next</p>" * 150_000)
        assert (after.extractor, after.verdict) == ("main_content", None)


def test_a_recorded_verdict_is_replayed_without_a_try() -> None:
    with Extractor(ExtractionSettings(max_cost=10**15, backstop_seconds=0.5)) as lenient:
        first = lenient.extract(slow_page(60_000))
        started = time.perf_counter()
        again = lenient.extract(slow_page(60_000), verdict=first.verdict)
        assert time.perf_counter() - started < 0.3
        assert (again.text, again.extractor, again.verdict) == (first.text, "plain", None)


def test_a_page_without_enough_memory_is_judged() -> None:
    box = Sandbox(ExtractionSettings().options(), 20.0, 400 << 20)
    try:
        answer = box.extract(b"<p><b>x" * 1_000_000)
        assert isinstance(answer, SandboxVerdict)
        assert answer.reason in ("memory", "crash")
        assert box.extract(b"<p>fine</p>") == "fine"
    finally:
        box.close()


@pytest.mark.parametrize("size", [10, 5_000_000])
def test_a_child_that_does_not_run_holds_nobody_up(size: int) -> None:
    """Neither where the answer does not come nor where the page itself cannot be sent."""
    box = Sandbox(ExtractionSettings().options(), 0.4, 1 << 30)
    try:
        assert box.extract(b"<p>fine</p>") == "fine"
        assert box._child
        os.kill(box._child.pid, signal.SIGSTOP)
        started = time.perf_counter()
        answer = box.extract(b"<p>" + b"x" * size)
        assert time.perf_counter() - started < 0.4 * WALL_FACTOR + 1
        assert isinstance(answer, SandboxVerdict)
        assert answer.reason == "timeout"
        assert box.extract(b"<p>fine</p>") == "fine"
    finally:
        box.close()


@pytest.mark.slow
def test_a_page_that_never_ends_takes_no_more_than_five_seconds_of_a_processor() -> None:
    with Extractor(ExtractionSettings(max_cost=10**15)) as lenient:
        lenient.extract("<p>x</p>" * 100_000)
        page = slow_page(400_000)
        began, spent = time.perf_counter(), _processor_seconds()
        assert lenient.extract(page).verdict == "timeout"
        assert _processor_seconds() - spent < SLOWEST
        assert time.perf_counter() - began < 4.0 * WALL_FACTOR + 1


def _processor_seconds() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def test_pages_at_the_bound_have_memory_enough() -> None:
    pages = ["<p>x" * 400_000, "<div>x</div>" * 380_000, "<p>Some words of a paragraph.</p>" * 300_000]
    with Extractor(ExtractionSettings()) as instance:
        for page in pages:
            assert instance.settings.sandbox_cost < cost(measure(page.encode())) < instance.settings.max_cost
            result = instance.extract(page)
            assert (result.extractor, result.verdict) == ("main_content", None)


def test_pages_in_the_child_process_give_the_same_text(extractor: Extractor) -> None:
    page = "<article>" + "<p>Ein Absatz mit Ümläuten und mehr Wörtern darin.</p>" * 500 + "</article>"
    with Extractor(ExtractionSettings(sandbox_cost=0)) as boxed:
        assert boxed.extract(page).text == extractor.extract(page).text


def test_the_child_process_ends_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from corpus_dagster.extraction_sandbox import Sandbox\n"
        "box = Sandbox({'main_content': True}, 5.0, 2 << 30)\n"
        "box.extract(b'<p>x</p>')\n"
        "print(box._child.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
    )
    child = int(done.stdout)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and _alive(child):
        time.sleep(0.05)
    assert not _alive(child)


def _alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


# Character sets


@pytest.mark.parametrize(
    ("body", "header", "charset", "source"),
    [
        ("\ufeffé".encode("utf-16-le"), "utf-8", "utf-16-le", "bom"),
        (b"\xef\xbb\xbf\xc3\xa9", "latin1", "utf-8", "bom"),
        ("é".encode("cp1252"), "iso-8859-1", "cp1252", "header"),
        ("é".encode("cp1252") + b"<meta charset=utf-8>", "iso-8859-1", "cp1252", "header"),
        ("<meta charset='windows-1251'>привет мир".encode("cp1251"), "", "cp1251", "meta"),
        (
            '<meta http-equiv=x content="text/html; charset=Shift_JIS">日本語'.encode("cp932"),
            "",
            "cp932",
            "meta",
        ),
        ('<?xml version="1.0" encoding="gb2312"?><p>你好</p>'.encode("gb18030"), "", "gb18030", "meta"),
        (
            ("Съешь ещё этих мягких французских булок, да выпей чаю. " * 9).encode("cp1251"),
            "",
            "cp1251",
            "detected",
        ),
        (
            ("이 문서는 문자 집합을 선언하지 않습니다. 그래도 읽을 수 있어야 합니다. " * 9).encode("euc-kr"),
            "",
            "cp949",
            "detected",
        ),
        ("grüße".encode(), "", "utf-8", "detected"),
        (b"plain", "", "utf-8", "detected"),
        ("grüße aus köln".encode(), "iso-8859-1", "utf-8", "detected"),
        (
            ("Съешь ещё этих мягких французских булок, да выпей чаю. " * 9).encode("cp1251"),
            "utf-8",
            "cp1251",
            "detected",
        ),
        (b"abc", "no-such-charset", "utf-8", "detected"),
        (b"<meta charset=utf-16>abc\xc3\xa9", "", "utf-8", "meta"),
    ],
)
def test_charsets_follow_the_order_of_browsers(body: bytes, header: str, charset: str, source: str) -> None:
    decoded = decode(body, header)
    assert (decoded.charset, decoded.source) == (charset, source)
    assert "\ufffd" not in decoded.text


def test_a_character_cut_at_the_end_does_not_overrule_the_declaration() -> None:
    decoded = decode(("grüße " * 50).encode()[:-1] + b"\xc3", "utf-8")
    assert (decoded.charset, decoded.source) == ("utf-8", "header")


@pytest.mark.parametrize(
    "label",
    ["utf-8", "latin1", "gbk", "sjis", "euc-kr", "big5", "utf-16", "koi8-r", "iso-2022-jp", "macintosh"],
)
@settings(max_examples=60, deadline=None)
@given(body=st.binary(max_size=300))
def test_decoded_text_is_sound_unicode(label: str, body: bytes) -> None:
    decoded = decode(body, label)
    decoded.text.encode("utf-8")
    assert "\x00" not in decoded.text
    assert codec_for(decoded.charset) or decoded.charset
    if decoded.utf8:
        assert decoded.text.encode() == body


@pytest.mark.parametrize(
    "body",
    [
        b"<meta " * 300 + b"charset=" + b" " * 2_200,
        b"<meta " * 170 + (b"charset=" + b" " * 1_000) * 3,
        b"<meta " + b"charset=" * 500,
        b"<?xml " + b"encoding = " * 400,
        b"\x81\x8d\x8f" * 3_500_000,
        b"\xff" * 10_000_000,
        b"\xff\xfe" + b"\x00\xd8" * 5_000_000,
    ],
)
@pytest.mark.parametrize("label", ["", "utf-8", "windows-1252", "windows-874", "euc-kr"])
def test_no_bytes_take_long_to_decode(body: bytes, label: str) -> None:
    started = time.perf_counter()
    decode(body, label).text.encode()
    assert time.perf_counter() - started < (3.0 if len(body) > 10_000 else 0.5)


@pytest.mark.parametrize("label", ["windows-1252", "windows-1253", "windows-874", "iso-8859-7"])
def test_bytes_that_a_codec_lacks_are_replaced_one_by_one(label: str) -> None:
    codec = codec_for(label)
    assert codec
    for body in (bytes(range(1, 256)), b"\x81a" + bytes(range(255, 0, -1))):
        assert decode(b"a" * 5_000 + body, label, html=False).text[5_000:] in (
            body.decode(codec, "replace"),
            decode(b"a" * 5_000 + body, html=False).text[5_000:],
        )
