"""Reproducible choices: a counter-based generator seeded by words, not by the `random` module.

The sequence depends on the seed words only, so the sample is the same under every Python and on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

_MASK = (1 << 64) - 1
# SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, figure 17.
_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB


def digest64(*words: object) -> int:
    """First 64 bits of the BLAKE2b digest of the words, joined by a byte that no word contains."""
    joined = "\x1f".join(str(word) for word in words)
    return int.from_bytes(hashlib.blake2b(joined.encode(), digest_size=8).digest(), "big")


class Dice:
    """A stream of choices that is fixed by its seed words."""

    def __init__(self, *seed: object) -> None:
        self._state = digest64(*seed)

    def bits(self) -> int:
        """Next 64 uniform bits."""
        self._state = (self._state + _GOLDEN) & _MASK
        z = self._state
        z = ((z ^ (z >> 30)) * _MIX_1) & _MASK
        z = ((z ^ (z >> 27)) * _MIX_2) & _MASK
        return z ^ (z >> 31)

    def below(self, limit: int) -> int:
        """Uniform integer in [0, limit); the bias of the modulus is below limit / 2**64."""
        return self.bits() % limit

    def between(self, low: int, high: int) -> int:
        """Uniform integer in [low, high], both ends included."""
        return low + self.below(high - low + 1)

    def one_in(self, n: int) -> bool:
        """True once in `n` throws on average."""
        return self.below(n) == 0

    def pick(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[self.below(len(options))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in a random order (Fisher-Yates)."""
        result = list(items)
        for i in range(len(result) - 1, 0, -1):
            j = self.below(i + 1)
            result[i], result[j] = result[j], result[i]
        return result

    def sample(self, items: Sequence[T], n: int) -> list[T]:
        """`n` different items in a random order."""
        return self.shuffled(items)[:n]
