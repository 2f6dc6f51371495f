from __future__ import annotations

import re
from urllib.parse import unquote
from xml.etree import ElementTree

from corpus_dagster import funnel, plots

SVG = "{http://www.w3.org/2000/svg}"


def parse(markdown: str) -> ElementTree.Element:
    """The image as a browser gets it."""
    found = re.fullmatch(r"!\[[^\]]*\]\(data:image/svg\+xml,([^ ()\"#]*)\)", markdown)
    assert found, "a Markdown image whose address holds nothing that would end it"
    return ElementTree.fromstring(unquote(found[1]))


def lengths(image: ElementTree.Element) -> list[int]:
    path = image.find(f"{SVG}path")
    assert path is not None
    return [int(length) for length in re.findall(r"h(\d+)", path.get("d", ""))]


def labels(image: ElementTree.Element) -> list[str]:
    return [span.text or "" for span in image.iter(f"{SVG}tspan")]


def test_bars_are_in_proportion_and_labelled() -> None:
    image = parse(plots.bars("what", [("one", 4000), ("two", 1000), ("three", 0)]))
    assert lengths(image) == [plots.WIDTH, plots.WIDTH // 4, 0]
    assert labels(image) == ["one 4,000", "two 1,000", "three 0"]
    assert image.get("height") == str(3 * plots.ROW)


def test_a_value_above_zero_is_never_without_a_bar() -> None:
    assert lengths(parse(plots.bars("what", [("many", 10**9), ("one", 1)])))[1] == 1


def test_nothing_to_show_is_still_an_image() -> None:
    assert labels(parse(plots.bars("what", []))) == []
    assert lengths(parse(plots.bars("what", [("none", 0)]))) == [0]


def test_labels_may_hold_anything() -> None:
    label = "mime: <a&b> 'x' \"y\" (z) #1 100% é"
    assert labels(parse(plots.bars("what", [(label, 1)]))) == [f"{label} 1"]


def test_a_full_plot_of_a_large_crawl_is_short_enough_to_be_shown_inline() -> None:
    rows = [("duplicate_paragraph_chars"[:24], 999_999_999 - i) for i in range(plots.ROWS)]
    assert len(plots.bars("removed documents by reason", rows)) < plots.INLINE_CHARACTERS


def test_the_largest_stand_alone_and_the_others_together() -> None:
    rows = [("d", 1), ("a", 5), ("zero", 0), ("c", 2), ("b", 2)]
    assert plots.largest(rows, "others", most=3) == [("a", 5), ("b", 2), ("2 others", 3)]
    assert plots.largest(rows, "others", most=4) == [("a", 5), ("b", 2), ("c", 2), ("d", 1)]


def test_landmarks_of_a_funnel_are_its_ends_and_its_greatest_losses_in_order() -> None:
    removed = [0, 10, 0, 30, 5, 1]
    left, steps = 100, []
    for number, gone in enumerate(removed):
        left -= gone
        steps.append({"rule": f"r{number}", "documents_removed": gone, "documents_out": left})
    assert funnel.landmarks(steps, 4) == [("r0", 100), ("r1", 90), ("r3", 60), ("r5", 54)]
    assert [rule for rule, _ in funnel.landmarks(steps, 9)] == ["r0", "r1", "r3", "r4", "r5"]
    assert funnel.landmarks(steps[:1], 4) == [("r0", 100)]
