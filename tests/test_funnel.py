"""The funnel as text, and the comparison of two of them."""

from __future__ import annotations

from corpus_dagster import funnel


def step(stage: str, rule: str, before: int, after: int) -> dict[str, object]:
    return {
        "stage": stage,
        "rule": rule,
        "documents_in": before,
        "documents_removed": before - after,
        "documents_out": after,
        "words_out": after * 1000,
        "bytes_out": after * 7000,
    }


STEPS = [
    step("documents", "documents", 4000, 4000),
    step("filtered", "language", 4000, 1500),
    step("curated", "quality", 1500, 0),
]


def test_rows_give_what_is_left_and_its_share_of_the_start() -> None:
    assert funnel.rows(STEPS)[1] == ("filtered", "language", "1,500", "2,500", "1,500,000", "10,500,000", "37.5%")
    assert [row[-1] for row in funnel.rows(STEPS)] == ["100.0%", "37.5%", "0.0%"]


def test_an_empty_crawl_has_no_shares() -> None:
    assert [row[-1] for row in funnel.rows([step("documents", "documents", 0, 0)])] == ["-"]
    assert funnel.rows([]) == []


def test_a_table_is_aligned_words_left_and_numbers_right() -> None:
    assert funnel.text_table(("a", "rule", "n"), [("x", "long one", "1"), ("yy", "s", "1,000")]).splitlines() == [
        "a   rule          n",
        "--  --------  -----",
        "x   long one      1",
        "yy  s         1,000",
    ]


def test_a_table_without_rows_is_its_head() -> None:
    assert funnel.text_table(("a", "b"), []).splitlines() == ["a  b", "-  -"]


def test_markdown_has_a_line_per_step_and_as_many_cells() -> None:
    head, rule, *lines = funnel.markdown_table(STEPS).splitlines()
    assert len(lines) == len(STEPS)
    assert {line.count("|") for line in (head, rule, *lines)} == {len(funnel.HEADERS) + 1}
    assert lines[1] == "| filtered | language | 1,500 | 2,500 | 1,500,000 | 10,500,000 | 37.5% |"


def test_equal_counts_do_not_differ() -> None:
    counts = {"A": funnel.counts(STEPS)}
    assert counts["A"]["filtered: language"] == {"documents": 1500, "words": 1_500_000, "bytes": 10_500_000}
    assert funnel.differences(counts, counts) == []


def test_each_difference_is_a_sentence_in_the_order_of_the_funnel() -> None:
    expected = {"A": funnel.counts(STEPS), "B": funnel.counts(STEPS)}
    found = {"A": funnel.counts([STEPS[0], step("filtered", "language", 4000, 1499)]), "C": funnel.counts(STEPS)}
    lines = funnel.differences(expected, found)
    assert [line.split(":")[0] for line in lines] == ["C", "A, filtered", "A, curated", "B"]
    assert lines[0] == "C: not expected"
    assert lines[1].startswith("A, filtered: language: expected {'documents': 1500")
    assert lines[2].endswith("found None")
    assert lines[3] == "B: expected, not found"
