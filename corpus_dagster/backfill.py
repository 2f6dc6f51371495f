"""Which crawls to request next: the decision behind the schedule and the sensor, without Dagster."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def next_crawls(
    crawls: Sequence[str],
    done: Collection[str],
    under_way: Collection[str],
    fit_crawls: Collection[str],
    *,
    most: int,
    given_up: Collection[str] = (),
) -> list[str]:
    """Missing crawls to request now, newest first, at most `most` under way at a time.

    Crawls that a classifier is fitted on go first, and the others wait until those are done: their scores need it.

    Args:
        crawls: all crawls of the catalogue, oldest first.
        done: crawls whose corpus is there.
        under_way: crawls that a run is working on.
        fit_crawls: crawls that fitted states need.
        most: limit on crawls under way.
        given_up: crawls that are not requested again; when a classifier needs one, nothing else is requested either.
    """
    room = max(0, most - len(under_way))
    out = {*done, *under_way, *given_up}
    missing = [crawl for crawl in reversed(crawls) if crawl not in out]
    needed = [crawl for crawl in crawls if crawl in fit_crawls and crawl not in done]
    if needed:
        missing = [crawl for crawl in needed if crawl in missing]
    return missing[:room]
