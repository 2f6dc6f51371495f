from __future__ import annotations

from corpus_dagster.backfill import next_crawls

CRAWLS = ["A", "B", "C", "D"]


def test_the_newest_missing_crawls_come_first_up_to_the_limit() -> None:
    assert next_crawls(CRAWLS, {"C"}, set(), set(), most=2) == ["D", "B"]


def test_crawls_under_way_take_up_room_and_are_not_asked_for_again() -> None:
    assert next_crawls(CRAWLS, set(), {"D"}, set(), most=2) == ["C"]
    assert next_crawls(CRAWLS, set(), {"D", "C"}, set(), most=2) == []


def test_crawls_of_a_fitted_state_go_first_and_the_others_wait_for_them() -> None:
    assert next_crawls(CRAWLS, set(), set(), {"A"}, most=3) == ["A"]
    assert next_crawls(CRAWLS, set(), {"A"}, {"A"}, most=3) == []
    assert next_crawls(CRAWLS, {"A"}, set(), {"A"}, most=3) == ["D", "C", "B"]


def test_crawls_given_up_are_passed_over_and_take_up_no_room() -> None:
    assert next_crawls(CRAWLS, set(), set(), set(), most=2, given_up={"D"}) == ["C", "B"]


def test_when_a_classifier_needs_a_crawl_given_up_nothing_is_asked_for() -> None:
    assert next_crawls(CRAWLS, set(), set(), {"A"}, most=2, given_up={"A"}) == []


def test_nothing_is_asked_for_when_all_is_done() -> None:
    assert next_crawls(CRAWLS, set(CRAWLS), set(), {"A"}, most=2) == []
