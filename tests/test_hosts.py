"""Groups of hosts by their names."""

from __future__ import annotations

import polars as pl
import pytest

from corpus_dagster.hosts import GROUPS, host_group

EXAMPLES = {
    "mit.edu": "academic",
    "www.ox.ac.uk": "academic",
    "unimelb.edu.au": "academic",
    "nasa.gov": "government",
    "www.service.gov.uk": "government",
    "army.mil": "government",
    "wikipedia.org": "organisation",
    "who.int": "organisation",
    "charity.org.uk": "organisation",
    "shop.example.com": "commercial",
    "a.b.co": "commercial",
    "example.dev": "commercial",
    "example.de": "country",
    "shop.co.uk": "country",
    "ac.uk": "country",
    "edu.de": "country",
    "page.test": "other",
    "xn--80akhbyknj4f.xn--p1ai": "other",
    "192.0.2.7": "other",
    "[2001:db8::1]": "other",
    "localhost": "other",
    "edu.example": "other",
    "": "none",
}


@pytest.mark.parametrize(("host", "group"), EXAMPLES.items())
def test_a_host_belongs_to_one_group(host: str, group: str) -> None:
    assert pl.select(host_group(pl.lit(host))).item() == group


def test_a_column_of_hosts_is_grouped_row_by_row() -> None:
    frame = pl.DataFrame({"host": list(EXAMPLES)}).with_columns(group=host_group(pl.col("host")))
    assert frame["group"].to_list() == list(EXAMPLES.values())
    assert set(EXAMPLES.values()) == set(GROUPS)
