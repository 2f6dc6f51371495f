"""Groups of hosts by top-level domain: the coarse provenance that mixtures are made by."""

from __future__ import annotations

import polars as pl

ACADEMIC = ("edu", "ac")
GOVERNMENT = ("gov", "mil", "gob", "gouv", "gv")
ORGANISATION = ("org", "ngo", "foundation", "int")
COMMERCIAL = ("com", "net", "biz", "shop", "store", "co", "info", "io", "app", "dev")

GROUPS = ("academic", "government", "organisation", "commercial", "country", "other", "none")
"""All groups. `country` is any other two-letter top-level domain, `none` a document whose URL has no host."""


def host_group(host: pl.Expr) -> pl.Expr:
    """Group of a host, by its last label or, under a country, by the one before: `ox.ac.uk` is academic."""
    labels = host.str.split(".")
    last = labels.list.get(-1, null_on_oob=True)
    country = last.str.len_chars() == 2
    second = pl.when(country & (labels.list.len() > 2)).then(labels.list.get(-2, null_on_oob=True))

    def named(names: tuple[str, ...]) -> pl.Expr:
        return last.is_in(names) | second.fill_null("").is_in(names)

    return (
        pl.when(host == "")
        .then(pl.lit("none"))
        .when(named(ACADEMIC))
        .then(pl.lit("academic"))
        .when(named(GOVERNMENT))
        .then(pl.lit("government"))
        .when(named(ORGANISATION))
        .then(pl.lit("organisation"))
        .when(last.is_in(COMMERCIAL))
        .then(pl.lit("commercial"))
        .when(country)
        .then(pl.lit("country"))
        .otherwise(pl.lit("other"))
    )
