"""Sampling ratios: the published figures, hand-made cases and the properties that hold for any sizes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus_dagster.mixtures import SCHEMES, MixtureError, by_temperature, mixture, proportional, unimax

# Chung et al. 2023, table of languages: characters (billions), then rates in % for temperature 3.33,
# temperature 1, UniMax with the full budget and with an eighth of it, epoch cap 1; rounded as printed.
PUBLISHED = """
en:13396:5.75:46.58:3.22:1.48 ru:3018:3.68:10.49:3.22:1.48 es:2052:3.28:7.13:3.22:1.48
de:1799:3.15:6.26:3.22:1.48 fr:1433:2.94:4.98:3.22:1.48 it:779:2.45:2.71:3.22:1.48
pt:658:2.33:2.29:3.22:1.48 zh:556:2.21:1.93:3.22:1.48 pl:527:2.18:1.83:3.22:1.48 vi:409:2.02:1.42:3.22:1.48
nl:371:1.96:1.29:3.22:1.48 tr:349:1.93:1.22:3.22:1.48 ar:252:1.75:0.88:3.22:1.48 ro:250:1.74:0.87:3.22:1.48
ja:240:1.72:0.83:3.22:1.48 cs:236:1.71:0.82:3.22:1.48 fa:202:1.63:0.70:3.22:1.48 sv:201:1.63:0.70:3.22:1.48
hu:185:1.59:0.64:3.22:1.48 uk:171:1.55:0.59:3.22:1.48 el:166:1.54:0.58:3.22:1.48 da:132:1.44:0.46:2.83:1.48
fi:120:1.40:0.42:2.58:1.48 no:116:1.38:0.40:2.49:1.48 bg:99:1.32:0.35:2.13:1.48 th:92:1.29:0.32:1.97:1.48
sk:79:1.23:0.27:1.69:1.48 hi:75:1.21:0.26:1.60:1.48 ko:74:1.21:0.26:1.59:1.48 lt:63:1.15:0.22:1.35:1.48
iw:57:1.12:0.20:1.23:1.48 ca:55:1.11:0.19:1.19:1.48 id:51:1.08:0.18:1.09:1.48 sl:47:1.05:0.16:1.00:1.48
et:42:1.02:0.15:0.91:1.48 lv:38:0.99:0.13:0.83:1.48 bn:34:0.95:0.12:0.72:1.48 sq:18:0.79:0.06:0.39:1.48
az:18:0.79:0.06:0.39:1.48 sr:18:0.79:0.06:0.39:1.48 ta:17:0.78:0.06:0.37:1.48 ms:15:0.75:0.05:0.32:1.48
is:14:0.73:0.05:0.30:1.48 kk:13:0.72:0.05:0.28:1.48 mr:13:0.72:0.05:0.28:1.48 ne:11:0.68:0.04:0.23:1.48
ur:11:0.68:0.04:0.23:1.48 ka:10:0.67:0.04:0.22:1.48 hy:10:0.66:0.03:0.21:1.48 mk:10:0.65:0.03:0.20:1.48
fil:9.5:0.65:0.03:0.20:1.48 ml:9.4:0.65:0.03:0.20:1.48 mn:9.3:0.65:0.03:0.20:1.48 gl:8.8:0.64:0.03:0.19:1.48
af:7.4:0.61:0.03:0.16:1.27 be:7.4:0.60:0.03:0.16:1.26 kn:6.9:0.59:0.02:0.15:1.18 eu:6.3:0.58:0.02:0.13:1.08
te:5.9:0.57:0.02:0.13:1.01 tg:5.4:0.55:0.02:0.12:0.93 mt:5.2:0.54:0.02:0.11:0.89 uz:4.8:0.53:0.02:0.10:0.82
la:4.5:0.52:0.02:0.10:0.78 so:4.4:0.52:0.02:0.10:0.76 my:4.2:0.51:0.01:0.09:0.72 sw:4.1:0.51:0.01:0.09:0.70
ky:3.7:0.49:0.01:0.08:0.64 gu:3.6:0.49:0.01:0.08:0.61 km:3.5:0.48:0.01:0.07:0.60 eo:3.3:0.48:0.01:0.07:0.57
cy:3.1:0.47:0.01:0.07:0.53 si:3.0:0.46:0.01:0.06:0.52 ru-Latn:2.6:0.44:0.01:0.06:0.44
pa:2.2:0.42:0.01:0.05:0.37 ga:2.1:0.42:0.01:0.05:0.36 zh-Latn:1.9:0.40:0.01:0.04:0.33
ps:1.4:0.37:0.01:0.03:0.25 ku:1.3:0.36:0.00:0.03:0.22 lb:1.3:0.36:0.00:0.03:0.22 ha:1.1:0.34:0.00:0.02:0.19
ceb:1.1:0.34:0.00:0.02:0.19 fy:1.0:0.33:0.00:0.02:0.17 mg:0.9:0.33:0.00:0.02:0.16 am:0.9:0.32:0.00:0.02:0.16
el-Latn:0.9:0.32:0.00:0.02:0.15 sd:0.9:0.32:0.00:0.02:0.15 gd:0.8:0.31:0.00:0.02:0.14
ht:0.8:0.31:0.00:0.02:0.14 yi:0.8:0.31:0.00:0.02:0.13 lo:0.8:0.31:0.00:0.02:0.13
hi-Latn:0.7:0.30:0.00:0.02:0.12 zu:0.7:0.30:0.00:0.02:0.12 jv:0.7:0.30:0.00:0.01:0.12
hmn:0.6:0.29:0.00:0.01:0.11 mi:0.6:0.28:0.00:0.01:0.10 co:0.5:0.27:0.00:0.01:0.09 su:0.5:0.27:0.00:0.01:0.09
ny:0.5:0.27:0.00:0.01:0.08 xh:0.5:0.27:0.00:0.01:0.08 st:0.5:0.27:0.00:0.01:0.08 sm:0.4:0.25:0.00:0.01:0.07
sn:0.4:0.25:0.00:0.01:0.07 ig:0.4:0.25:0.00:0.01:0.07 ja-Latn:0.4:0.25:0.00:0.01:0.06
haw:0.4:0.24:0.00:0.01:0.06 yo:0.3:0.24:0.00:0.01:0.06 bg-Latn:0.1:0.16:0.00:0.00:0.01
"""
ROUNDING = 0.015
"""Percentage points: what the printed digits of sizes and rates leave open."""

# 1,000,000 steps of 1024 sequences of 1024 tokens, 568 input tokens per 512 after span corruption, and 4
# characters per token; the short run has 250,000 steps of 1024 sequences of 568 tokens.
FULL_BUDGET = 1_000_000 * 1024 * 1024 * (568 / 512) * 4 / 1e9
EIGHTH_OF_IT = 250_000 * 1024 * 568 * 4 / 1e9

sizes = st.lists(st.integers(0, 10**12), min_size=1, max_size=40).filter(any)
budgets = st.floats(1.0, 1e14)
caps = st.floats(0.1, 20.0)


def published() -> tuple[list[str], np.ndarray]:
    rows = [row.split(":") for row in PUBLISHED.split()]
    return [row[0] for row in rows], np.array([[float(v) for v in row[1:]] for row in rows])


def test_the_published_rates_of_107_languages_are_met() -> None:
    languages, figures = published()
    assert len(languages) == 107
    characters = figures[:, 0]
    computed = np.column_stack(
        [
            by_temperature(characters, 3.33),
            by_temperature(characters, 1.0),
            proportional(unimax(characters, FULL_BUDGET, 1.0)),
            proportional(unimax(characters, EIGHTH_OF_IT, 1.0)),
        ]
    )
    assert np.abs(100 * computed - figures[:, 1:]).max() <= ROUNDING


@pytest.mark.parametrize(("budget", "taken"), [(9, [1, 2, 6]), (30, [1, 2, 10]), (3, [1, 1, 1]), (5, [1, 2, 2])])
def test_unimax_fills_small_cells_first(budget: float, taken: list[float]) -> None:
    assert unimax([1, 2, 10], budget, 1.0).tolist() == taken


def test_unimax_gives_back_in_the_order_of_its_cells() -> None:
    assert unimax([10, 1, 2], 9, 1.0).tolist() == [6, 1, 2]


@given(sizes, budgets, caps)
def test_unimax_stays_below_cap_and_budget_and_spends_what_it_can(held: list[int], budget: float, cap: float) -> None:
    taken = unimax(held, budget, cap)
    assert (taken <= cap * np.array(held, float)).all()
    assert taken.sum() == pytest.approx(min(budget, cap * sum(held)), rel=1e-9)


@given(sizes, budgets, caps)
def test_unimax_is_one_level_cut_by_the_caps(held: list[int], budget: float, cap: float) -> None:
    taken, most = unimax(held, budget, cap), cap * np.array(held, float)
    below_cap = taken < most * (1 - 1e-9)
    if below_cap.any():
        level = taken[below_cap].max()
        assert taken == pytest.approx(np.minimum(most, level), rel=1e-6)


@given(st.permutations(range(8)), budgets)
def test_the_order_of_cells_does_not_matter(order: list[int], budget: float) -> None:
    held = np.array([5, 0, 7, 7, 120, 33, 1, 10**6])
    assert unimax(held[order], budget, 4.0) == pytest.approx(unimax(held, budget, 4.0)[order], rel=1e-12)


@given(sizes)
def test_a_temperature_of_1_is_proportional_and_a_high_one_uniform(held: list[int]) -> None:
    assert by_temperature(held, 1.0) == pytest.approx(proportional(held), rel=1e-12)
    filled = np.array(held) > 0
    assert by_temperature(held, 1e9)[filled] == pytest.approx(1 / filled.sum(), rel=1e-6)
    assert not by_temperature(held, 2.0)[~filled].any()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_ratios_sum_to_one_and_epochs_cost_what_is_sampled(scheme: str) -> None:
    tokens = [100, 0, 50, 4_000]
    made = mixture(scheme, tokens, source_sizes=[9, 9, 1, 1], budget=1_000, temperature=2.0, epoch_cap=2.0)
    assert made.ratios.sum() == pytest.approx(1.0, abs=1e-12)
    assert made.sampled.sum() == pytest.approx(1_000)
    filled = [0, 2, 3]
    assert (made.epochs * tokens)[filled] == pytest.approx(made.sampled[filled])
    assert math.isnan(made.epochs[1])


def test_raw_follows_the_source_and_not_what_is_kept() -> None:
    made = mixture("raw", [1, 99], source_sizes=[3, 1], budget=10, temperature=1.0, epoch_cap=1.0)
    assert made.ratios.tolist() == [0.75, 0.25]


def test_unimax_that_cannot_spend_the_budget_samples_less() -> None:
    made = mixture("unimax", [1, 3], source_sizes=[1, 1], budget=100, temperature=1.0, epoch_cap=4.0)
    assert made.sampled.tolist() == [4.0, 12.0]
    assert made.epochs.tolist() == [4.0, 4.0]
    assert made.ratios.tolist() == [0.25, 0.75]


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ([], "one size per cell"),
        ([1, -2], "-2"),
        ([1, math.nan], "nan"),
        ([math.inf], "inf"),
        ([0, 0], "empty"),
    ],
)
def test_sizes_that_are_none_are_refused(held: list[float], words: str) -> None:
    with pytest.raises(MixtureError, match=words):
        proportional(held)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_parameters_must_be_positive(value: float) -> None:
    for call in (
        lambda: by_temperature([1], value),
        lambda: unimax([1], value, 1.0),
        lambda: unimax([1], 1.0, value),
    ):
        with pytest.raises(MixtureError, match="above 0"):
            call()


def test_an_unknown_scheme_is_named() -> None:
    with pytest.raises(MixtureError, match=r"unimx.*token_proportional"):
        mixture("unimx", [1], source_sizes=[1], budget=1, temperature=1, epoch_cap=1)
