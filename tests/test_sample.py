"""The sample crawls: layout and soundness of the archives, and that every planted page does what its label says.

The rules are spelled out here once more in plain Python, on purpose apart from the kernels under test elsewhere.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from urllib.parse import urlsplit

import brotli
import fasttext
import pytest
from hypothesis import given
from hypothesis import strategies as st
from resiliparse.extract.html2text import extract_plain_text
from warcio.archiveiterator import ArchiveIterator

from corpus_dagster import sample
from corpus_dagster.sample import archive, grammar
from corpus_dagster.sample.dice import Dice

URL_LISTS = files("corpus_dagster").joinpath("data", "urls")
STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}
TOP = {2: 0.20, 3: 0.18, 4: 0.16}
REPEATED = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
COUNTERS = "likes|shares|comments|retweets|reposts|quotes|bookmarks|upvotes|downvotes|downloads|views|followers"
URL_IN_TEXT = re.compile(r"(?:https?://|\bwww\.)\S+")
RULES = (
    "url_hosts", "url_substrings", "url_hard_words", "url_soft_words", "language", "word_count", "mean_word_length",
    "symbol_ratio", "bullet_lines", "ellipsis_lines", "non_alpha_words", "stop_words", "duplicate_lines",
    "duplicate_paragraphs", "duplicate_line_chars", "duplicate_paragraph_chars", "top_2_gram", "top_3_gram",
    "top_4_gram", "duplicate_5_gram", "duplicate_6_gram", "duplicate_7_gram", "duplicate_8_gram", "duplicate_9_gram",
    "duplicate_10_gram", "removed_words",
)  # fmt: skip


@dataclass(frozen=True)
class Page:
    """A response as a reader of the archive finds it, with its label."""

    label: dict[str, object]
    text: str


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    sample.write(folder)
    return folder


@pytest.fixture(scope="session")
def labels(root: Path) -> dict[str, list[dict[str, object]]]:
    return {
        crawl: [
            json.loads(line) for line in (root / "crawl-data" / crawl / "labels.jsonl").read_text("utf-8").splitlines()
        ]
        for crawl in sample.CRAWLS
    }


@pytest.fixture(scope="session")
def pages(root: Path, labels: dict[str, list[dict[str, object]]]) -> dict[str, list[Page]]:
    return {crawl: list(_pages(root, crawl, labels[crawl])) for crawl in sample.CRAWLS}


def listed(root: Path, crawl: str) -> list[str]:
    return gzip.decompress((root / "crawl-data" / crawl / "warc.paths.gz").read_bytes()).decode().split()


def _pages(root: Path, crawl: str, rows: list[dict[str, object]]) -> Iterator[Page]:
    by_url = {str(row["url"]): row for row in rows}
    for path in listed(root, crawl):
        with (root / path).open("rb") as file:
            for record in ArchiveIterator(file):
                if record.rec_type != "response":
                    continue
                row = by_url[record.rec_headers.get_header("WARC-Target-URI")]
                if str(row["expect"]).startswith("skip:"):
                    continue
                body = decoded(record.raw_stream.read(), row["content_encoding"])
                text = body.decode(str(row["charset"] or "utf-8"))
                if record.http_headers.get_header("Content-Type") != "text/plain" and row["kind"] != "plain_text":
                    text = extract_plain_text(text, main_content=True)
                yield Page(row, text)


def decoded(body: bytes, encoding: object) -> bytes:
    """Done by hand: warcio 1.8.1 raises AttributeError on Brotli bodies with brotli 1.2."""
    if encoding == "gzip":
        return gzip.decompress(body)
    if encoding == "deflate":
        # Half of the servers send the raw stream.
        return zlib.decompress(body, wbits=15 if body[:1] == b"\x78" else -15)
    if encoding == "br":
        return brotli.decompress(body)
    if encoding == "chunked":
        stream, whole = io.BytesIO(body), b""
        while size := int(stream.readline(), 16):
            whole += stream.read(size)
            assert stream.read(2) == b"\r\n"
        return whole
    return body


# The rules of the recipe, in its order.


def entries(name: str) -> list[str]:
    lines = URL_LISTS.joinpath(f"{name}.txt").read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+(?:[.'’,]\w+)*", text)


def url_rule(url: str) -> str | None:
    # The host is cut out by hand, as one of the URLs is no URL.
    host = url.split("/")[2].split(":")[0]
    if host.removeprefix("www.") in entries("hosts"):
        return "url_hosts"
    bare = url.lower().replace("-", "").replace(".", "")
    if any(word in bare for word in entries("strict")):
        return "url_substrings"
    if re.search(rf"\b(?:{'|'.join(entries('hard'))})\b", url.lower()):
        return "url_hard_words"
    if len(set(re.findall(rf"\b(?:{'|'.join(entries('soft'))})\b", url.lower()))) >= 2:
        return "url_soft_words"
    return None


def cleaned(text: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", URL_IN_TEXT.sub("", text))


def duplicated(segments: list[str]) -> tuple[float, float]:
    segments = [segment.strip() for segment in segments if segment.strip()]
    if len(segments) < 2:
        return 0.0, 0.0
    counts = Counter(segments)
    copies = [segment for segment in segments if counts[segment] > 1]
    return len(copies) / len(segments), sum(map(len, copies)) / sum(map(len, segments))


def repetition(text: str) -> Iterator[tuple[str, float, float]]:
    lines, line_chars = duplicated(text.split("\n"))
    paragraphs, paragraph_chars = duplicated(text.split("\n\n"))
    yield "duplicate_lines", lines, 0.30
    yield "duplicate_paragraphs", paragraphs, 0.30
    yield "duplicate_line_chars", line_chars, 0.20
    yield "duplicate_paragraph_chars", paragraph_chars, 0.20
    words = words_of(text)
    total = sum(map(len, words))
    for n, limit in {**TOP, **REPEATED}.items():
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        counts = Counter(grams)
        if n in TOP:
            top = max(((count, sum(map(len, gram))) for gram, count in counts.items()), default=(0, 0))
            yield f"top_{n}_gram", top[0] * top[1] / total if top[0] > 1 else 0.0, limit
        else:
            covered = {i + k for i, gram in enumerate(grams) if counts[gram] > 1 for k in range(n)}
            yield f"duplicate_{n}_gram", sum(len(words[i]) for i in covered) / total, limit


def kept_line(line: str) -> str:
    stripped = line.strip()
    if not stripped:
        return line
    upper = sum(c.isupper() for c in stripped) / len(stripped)
    digits = sum(c.isdigit() for c in stripped) / len(stripped)
    if upper > 0.5 or digits > 0.999999 or len(stripped.split()) < 2:
        return ""
    if re.fullmatch(rf"\W*\d+(?:[.,]\d+)?k?\s+(?:{COUNTERS})\W*", stripped.lower()):
        return ""
    if len(stripped.split()) <= 10:
        line = re.sub(r"items in cart|read more\.\.\.$|^sign-in", "", line, flags=re.IGNORECASE)
    return line


def filter_rule(page: Page, language: tuple[str, float]) -> str | None:
    """The first rule that the page breaks, or None."""
    broken = url_rule(str(page.label["url"]))
    if broken:
        return broken
    if language[0] != "en" or language[1] <= 0.65:
        return "language"
    text = cleaned(page.text)
    spaced = text.split()
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    symbols = sum(text.count(symbol) for symbol in ("#", "...", "…"))
    checks = (
        ("word_count", len(words_of(text)) < 50),
        ("mean_word_length", not 3 <= sum(map(len, spaced)) / max(len(spaced), 1) <= 10),
        ("symbol_ratio", symbols > 0.1 * len(spaced)),
        ("bullet_lines", sum(line.startswith(("●", "•", "*", "-")) for line in lines) > 0.9 * len(lines)),
        ("ellipsis_lines", sum(line.endswith(("...", "…")) for line in lines) > 0.3 * len(lines)),
        ("non_alpha_words", sum(not any(c.isalpha() for c in w) for w in spaced) > 0.2 * len(spaced)),
        ("stop_words", sum(word.lower() in STOP_WORDS for word in words_of(text)) < 2),
    )
    for rule, fails in checks:
        if fails:
            return rule
    for rule, value, limit in repetition(text):
        if value > limit:
            return rule
    after = "\n".join(map(kept_line, text.split("\n")))
    if len(words_of(after)) < 0.95 * len(words_of(text)):
        return "removed_words"
    return None


@pytest.fixture(scope="session")
def verdicts(pages: dict[str, list[Page]]) -> dict[str, list[str | None]]:
    """The rule that removes each page."""
    with as_file(files("corpus_dagster").joinpath("data", "lid.176.ftz")) as path:
        model = fasttext.load_model(str(path))
    result: dict[str, list[str | None]] = {}
    for crawl, rows in pages.items():
        texts = [cleaned(page.text).replace("\n", "") for page in rows]
        names, scores = model.predict(texts, k=1)
        languages = [
            (name[0].removeprefix("__label__"), float(score[0])) if name else ("", 0.0)
            for name, score in zip(names, scores, strict=True)
        ]
        result[crawl] = [filter_rule(page, language) for page, language in zip(rows, languages, strict=True)]
    return result


def test_every_removal_reason_is_planted(labels: dict[str, list[dict[str, object]]]) -> None:
    for rows in labels.values():
        expected = {str(row["expect"]) for row in rows}
        assert {f"filtered:{rule}" for rule in RULES} <= expected
        assert {"keep", "quality", "duplicates:document", "duplicates:paragraph"} <= expected


@pytest.mark.parametrize("crawl", sample.CRAWLS)
def test_planted_pages_break_their_rule_and_no_earlier_one(
    crawl: str, pages: dict[str, list[Page]], verdicts: dict[str, list[str | None]]
) -> None:
    wrong = []
    for page, verdict in zip(pages[crawl], verdicts[crawl], strict=True):
        expect = str(page.label["expect"])
        planted = expect.removeprefix("filtered:") if expect.startswith("filtered:") else None
        if verdict != planted:
            wrong.append(f"{page.label['kind']} {page.label['url']}: {expect}, found {verdict}")
    assert not wrong, "\n".join(wrong[:40])


def deduplicated(texts: list[str]) -> list[tuple[bool, int]]:
    """BFF's `old-both` with an exact set: whether a document is removed, and how many of its paragraphs are."""
    seen: set[tuple[str, ...]] = set()
    result: list[tuple[bool, int]] = []
    for text in texts:
        contained = total = removed = 0
        for paragraph in text.split("\n"):
            tokens = re.findall(r"\w+(?:[.'’]\w+)*|[^\w\s]", paragraph)
            grams = [tuple(tokens[i : i + 13]) for i in range(len(tokens) - 12)]
            hits = sum(gram in seen for gram in grams)
            contained += hits
            total += len(grams)
            if grams and hits / len(grams) > 0.8:
                removed += 1
            else:
                seen.update(grams)
        result.append((bool(total) and contained / total > 0.8, removed))
    return result


@pytest.mark.parametrize("crawl", sample.CRAWLS)
def test_deduplication_does_what_the_labels_say(
    crawl: str, pages: dict[str, list[Page]], verdicts: dict[str, list[str | None]]
) -> None:
    survivors = [page for page, rule in zip(pages[crawl], verdicts[crawl], strict=True) if rule is None]
    wrong = []
    texts = ["\n".join(map(kept_line, cleaned(page.text).split("\n"))) for page in survivors]
    for page, (document, paragraphs) in zip(survivors, deduplicated(texts), strict=True):
        found = "duplicates:document" if document else "duplicates:paragraph" if paragraphs else "none"
        expect = str(page.label["expect"])
        if found != (expect if expect.startswith("duplicates:") else "none"):
            wrong.append(f"{page.label['kind']} {page.label['url']}: {expect}, found {found}")
    assert not wrong, "\n".join(wrong[:40])


def test_most_pages_are_english(verdicts: dict[str, list[str | None]]) -> None:
    for rules in verdicts.values():
        assert sum(rule != "language" for rule in rules) > 0.75 * len(rules)


def test_at_least_eight_other_languages_are_there(labels: dict[str, list[dict[str, object]]]) -> None:
    for rows in labels.values():
        assert {row["language"] for row in rows} >= {"en", *grammar.LANGUAGES}


def test_edits_leave_nothing_of_what_they_name(pages: dict[str, list[Page]]) -> None:
    marks = {
        "urls": URL_IN_TEXT,
        "newlines": re.compile(r"\n{3,}"),
        "cart": re.compile("items in cart"),
        "read_more": re.compile(r"Read more\.\.\.$", re.MULTILINE),
        "sign_in": re.compile("^Sign-in", re.MULTILINE),
        "upper_case_lines": re.compile("^[A-Z ]+$", re.MULTILINE),
        "numeric_lines": re.compile(r"^\d+$", re.MULTILINE),
        "counter_lines": re.compile(r"^\d+ (?:likes|views)$", re.MULTILINE),
    }
    seen = set()
    for rows in pages.values():
        for page in rows:
            for edit in page.label["edits"] if isinstance(page.label["edits"], list) else ():
                seen.add(edit)
                assert marks[edit].search(page.text), (edit, page.label["url"])
    assert seen == set(marks)


def test_personal_data_stands_in_the_text_and_is_reserved_for_examples(pages: dict[str, list[Page]]) -> None:
    found = 0
    for page in (page for rows in pages.values() for page in rows):
        data = page.label["personal_data"]
        assert isinstance(data, list)
        for item in data:
            found += 1
            assert item in page.text
            assert re.search(r"@mail\.example$|^\(202\) 555-01|^(?:192\.0\.2|198\.51\.100|203\.0\.113)\.", item)
    assert found >= 90


def test_hosts_are_reserved_names_and_many(labels: dict[str, list[dict[str, object]]]) -> None:
    urls = [str(row["url"]) for rows in labels.values() for row in rows]
    hosts = {url.split("/")[2].split(":")[0] for url in urls}
    assert len(hosts) >= 60
    assert all(host.endswith((".test", ".example", ".invalid")) for host in hosts)


def test_one_url_cannot_be_parsed(labels: dict[str, list[dict[str, object]]]) -> None:
    for rows in labels.values():
        bad = [str(row["url"]) for row in rows if row["kind"] == "unusual_url"]
        assert len(bad) == 1
        with pytest.raises(ValueError, match="Port"):
            _ = urlsplit(bad[0]).port


def test_duplicates_name_an_earlier_record(labels: dict[str, list[dict[str, object]]]) -> None:
    order = {crawl: {str(row["url"]): i for i, row in enumerate(rows)} for crawl, rows in labels.items()}
    same_file = other_file = 0
    for crawl, rows in labels.items():
        for i, row in enumerate(rows):
            if str(row["expect"]).startswith("duplicates:"):
                assert order[crawl][str(row["duplicate_of"])] < i
                original = rows[order[crawl][str(row["duplicate_of"])]]
                same_file += original["file"] == row["file"]
                other_file += original["file"] != row["file"]
    assert same_file > 50
    assert other_file > 50


def test_pages_repeat_across_the_crawls(pages: dict[str, list[Page]]) -> None:
    first, second = sample.CRAWLS
    texts = {str(page.label["url"]): page.text for page in pages[first]}
    repeated = [page for page in pages[second] if page.label["duplicate_crawl"] == first]
    same = [texts[str(page.label["duplicate_of"])] == page.text for page in repeated]
    assert sum(same) >= 50
    assert len(same) - sum(same) >= 40


@pytest.mark.parametrize("crawl", sample.CRAWLS)
def test_archives_are_sound(crawl: str, root: Path, labels: dict[str, list[dict[str, object]]]) -> None:
    paths = listed(root, crawl)
    assert len(paths) == 4
    rows = iter(labels[crawl])
    for path in paths:
        assert re.fullmatch(
            rf"crawl-data/{crawl}/segments/\d{{13}}\.\d\d/warc/SAMPLE-\d{{14}}-\d{{14}}-\d{{5}}\.warc\.gz", path
        )
        kinds: Counter[str] = Counter()
        with (root / path).open("rb") as file:
            for record in ArchiveIterator(file, no_record_parse=True):
                kinds[record.rec_type] += 1
                headers = record.rec_headers
                block = record.content_stream().read()
                assert len(block) == int(headers.get_header("Content-Length"))
                if record.rec_type == "response":
                    row = next(rows)
                    assert (row["url"], row["file"]) == (headers.get_header("WARC-Target-URI"), path)
                    body = block.split(b"\r\n\r\n", 1)[1]
                    assert headers.get_header("WARC-Block-Digest") == _sha1(block)
                    assert headers.get_header("WARC-Payload-Digest") == _sha1(body)
                    assert bool(headers.get_header("WARC-Truncated")) == row["truncated"]
        assert kinds["warcinfo"] == 1
        assert 470 <= kinds["response"] <= 530
        assert kinds["request"] == kinds["metadata"] == kinds["response"]
    assert next(rows, None) is None


def _sha1(data: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(data).digest()).decode()


def test_record_ids_are_unique(root: Path) -> None:
    ids = [
        record.rec_headers.get_header("WARC-Record-ID")
        for crawl in sample.CRAWLS
        for path in listed(root, crawl)
        for record in ArchiveIterator((root / path).open("rb"), no_record_parse=True)
    ]
    assert len(ids) == len(set(ids))


def test_every_record_is_a_gzip_member_of_its_own(root: Path) -> None:
    data = (root / listed(root, sample.CRAWLS[0])[0]).read_bytes()
    members = 0
    while data:
        unpacker = zlib.decompressobj(wbits=31)
        assert unpacker.decompress(data).startswith(b"WARC/1.0\r\n")
        assert unpacker.eof
        members += 1
        data = unpacker.unused_data
    assert members > 1400


def test_pages_travel_in_many_ways(labels: dict[str, list[dict[str, object]]]) -> None:
    rows = [row for crawl in labels.values() for row in crawl]
    assert {row["content_encoding"] for row in rows} == {None, "gzip", "deflate", "br", "chunked"}
    assert {row["charset"] for row in rows} >= {
        "utf-8", "utf-16", "windows-1251", "koi8-r", "shift_jis", "euc_jp", "euc-kr", "gb18030", "iso-8859-1",
    }  # fmt: skip
    assert {row["status"] for row in rows} >= {200, 301, 302, 404, 500, 503}
    assert sum(bool(row["truncated"]) for row in rows) >= 10


def test_writing_again_gives_the_same_bytes(root: Path, tmp_path: Path) -> None:
    sample.write(tmp_path)
    written = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    expected = {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert written == expected


def test_the_sample_is_small(root: Path) -> None:
    assert sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) < 15_000_000


def test_reference_texts_are_disjoint_from_the_pages(root: Path, pages: dict[str, list[Page]]) -> None:
    rows = [json.loads(line) for line in (root / sample.REFERENCE).read_text("utf-8").splitlines()]
    texts = [row["text"] for row in rows]
    assert texts == sample.high_quality_texts()
    assert len(set(texts)) == len(texts) == 400
    paragraphs = {p for rows in pages.values() for page in rows for p in page.text.split("\n") if len(p) > 200}
    assert not any(p in paragraphs for text in texts for p in text.split("\n"))


def test_the_folder_is_written_once_and_whole(tmp_path: Path) -> None:
    folder = sample.sample_folder(tmp_path)
    stamp = (folder / sample.REFERENCE).stat().st_mtime_ns
    assert sample.sample_folder(tmp_path) == folder
    assert (folder / sample.REFERENCE).stat().st_mtime_ns == stamp
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_summary_counts_what_was_written(root: Path, labels: dict[str, list[dict[str, object]]]) -> None:
    summary = sample.write(root)
    for crawl in summary.crawls:
        assert crawl.responses == len(labels[crawl.id]) == sum(crawl.expect.values())
        assert crawl.bytes == sum((root / path).stat().st_size for path in crawl.files)


@given(st.binary(max_size=200_000))
def test_hand_made_encodings_decode(data: bytes) -> None:
    assert gzip.decompress(archive.gzip_member(data)) == data
    assert zlib.decompress(archive.zlib_stream(data)) == data
    assert brotli.decompress(archive.brotli_stream(data)) == data


def test_brotli_spans_several_blocks() -> None:
    data = bytes(range(256)) * 700
    assert brotli.decompress(archive.brotli_stream(data)) == data


def test_choices_are_the_same_on_every_machine() -> None:
    dice = Dice("a", 1)
    assert [dice.bits() for _ in range(3)] == [8841855004599993901, 8417307682330354521, 7367651311970072637]
    assert Dice("b").shuffled(range(8)) == [7, 6, 0, 1, 2, 3, 5, 4]
