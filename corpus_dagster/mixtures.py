"""Sampling ratios of the cells of a corpus (languages, kinds of host) by closed formulas.

The formulas stand here as the papers print them; the mart `mixture_ratios` computes the same in SQL over the
statistics of the lake. What a cell is, and how its size is counted, is the caller's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Sizes = Sequence[int] | Sequence[float] | NDArray[np.integer] | NDArray[np.floating]
Vector = NDArray[np.float64]

RAW = "raw"
TOKEN_PROPORTIONAL = "token_proportional"
TEMPERATURE = "temperature"
UNIMAX = "unimax"
SCHEMES = (RAW, TOKEN_PROPORTIONAL, TEMPERATURE, UNIMAX)
"""Names of the schemes in the mart, in its order of explanation."""


class MixtureError(ValueError):
    """Sizes or parameters that no mixture can be made of."""


@dataclass(frozen=True)
class Mixture:
    """How much to sample of each cell.

    Attributes:
        ratios: float64[n], shares of what is sampled; they sum to 1.
        sampled: float64[n], tokens to take from each cell.
        epochs: float64[n], sampled tokens / tokens of the cell; NaN for a cell without tokens.
    """

    ratios: Vector
    sampled: Vector
    epochs: Vector


def proportional(sizes: Sizes) -> Vector:
    """Share of each cell in the sum of all: p_i = s_i / Σ s.

    Args:
        sizes: [n], not negative, not all 0.

    Raises:
        MixtureError: the sizes are no sizes.
    """
    checked = _checked(sizes)
    return checked / checked.sum()


def by_temperature(sizes: Sizes, temperature: float) -> Vector:
    """Shares flattened by a temperature: p_i ∝ (s_i / Σ s)^(1/T).

    T = 1 is proportional, T → ∞ uniform over the cells that hold something. Multilingual models also write it
    with α = 1/T (mT5, Xue et al. 2021, section 3.1: α = 0.3, T = 3.33).

    Args:
        sizes: [n], not negative, not all 0.
        temperature: above 0.

    Raises:
        MixtureError: the sizes are no sizes, or the temperature is not above 0.
    """
    _positive("temperature", temperature)
    flattened = proportional(sizes) ** (1.0 / temperature)
    return flattened / flattened.sum()


def unimax(sizes: Sizes, budget: float, epoch_cap: float) -> Vector:
    """What UniMax takes of each cell: the budget spread evenly, none repeated beyond the cap.

    Chung et al. 2023 (UniMax, arXiv 2304.09151), algorithm 1: from the smallest cell to the largest,
    each takes an even part of what is left of the budget, or `epoch_cap` times its size where that is less.

    Args:
        sizes: [n], not negative, not all 0; same unit as the budget.
        budget: what to sample in all, above 0.
        epoch_cap: most times a cell is repeated (N in the paper), above 0.

    Returns:
        float64[n] in the unit of the sizes. The sum falls short of the budget when every cell is at its cap.

    Raises:
        MixtureError: the sizes are no sizes, or a parameter is not above 0.
    """
    _positive("budget", budget)
    _positive("epoch cap", epoch_cap)
    checked = _checked(sizes)
    taken = np.zeros_like(checked)
    left = float(budget)
    ascending = np.argsort(checked, kind="stable")
    for done, cell in enumerate(ascending):
        even_part = left / (len(checked) - done)
        taken[cell] = min(even_part, checked[cell] * epoch_cap)
        left -= taken[cell]
    return taken


def mixture(
    scheme: str,
    tokens: Sizes,
    *,
    source_sizes: Sizes,
    budget: float,
    temperature: float,
    epoch_cap: float,
) -> Mixture:
    """One row set of the mart `mixture_ratios`: the ratios of a scheme, and what they cost.

    Args:
        scheme: one of `SCHEMES`.
        tokens: [n], tokens of each cell in the corpus, not all 0.
        source_sizes: [n], size of each cell before curation, in any one unit; only `raw` uses it.
        budget: tokens to sample in all.
        temperature: used by `temperature`.
        epoch_cap: used by `unimax`.

    Raises:
        MixtureError: an unknown scheme, or sizes or parameters that no mixture can be made of.
    """
    held = _checked(tokens)
    _positive("budget", budget)
    if scheme == UNIMAX:
        sampled = unimax(held, budget, epoch_cap)
        ratios = proportional(sampled)
    elif scheme == RAW:
        ratios = proportional(source_sizes)
        sampled = ratios * budget
    elif scheme == TOKEN_PROPORTIONAL:
        ratios = proportional(held)
        sampled = ratios * budget
    elif scheme == TEMPERATURE:
        ratios = by_temperature(held, temperature)
        sampled = ratios * budget
    else:
        raise MixtureError(f"unknown mixture scheme {scheme!r}; known: {', '.join(SCHEMES)}")
    epochs = np.divide(sampled, held, out=np.full_like(sampled, np.nan), where=held > 0)
    return Mixture(ratios, sampled, epochs)


def _checked(sizes: Sizes) -> Vector:
    values = np.asarray(sizes, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise MixtureError(f"sizes of cells have the shape {values.shape}; expected one size per cell")
    if not np.isfinite(values).all() or (values < 0).any():
        raise MixtureError(f"sizes of cells hold {values[~(values >= 0) | np.isinf(values)][0]}; expected 0 or more")
    if not values.any():
        raise MixtureError(f"all {len(values)} cells are empty; there is nothing to mix")
    return values


def _positive(name: str, value: float) -> None:
    if not (value > 0 and np.isfinite(value)):
        raise MixtureError(f"{name} is {value}; expected a number above 0")
