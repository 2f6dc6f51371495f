"""BFF `old-both` with an exact set in place of the Bloom filter."""

from __future__ import annotations

import re
from dataclasses import dataclass

from reference.columns import Row

from corpus_dagster.dedup.bloom import BloomSettings
from corpus_dagster.text.words import segments

# White_Space, PropList-15.0.0.txt; `str.isspace` also takes U+001C to U+001F.
WHITE_SPACE = set("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | {chr(c) for c in range(0x2000, 0x200B)}


@dataclass
class Decision:
    ngrams: int
    seen: int
    document: bool
    rows: list[Row]


def paragraphs(text: str) -> list[str]:
    return [piece for piece in re.split(r"(?=\n)", text) if piece]


def ngrams_of(paragraph: str, settings: BloomSettings) -> list[tuple[str, ...]]:
    tokens = [s for s in segments(paragraph) if not set(s) <= WHITE_SPACE]
    if len(tokens) < settings.ngram_min:
        return []
    count = max(1, len(tokens) - settings.ngram_max + 1)
    return [tuple(tokens[i : i + settings.ngram_max]) for i in range(count)]


def annotate(texts: list[str], known: set[tuple[str, ...]], settings: BloomSettings) -> list[Decision]:
    decisions = []
    for text in texts:
        total = contained = position = 0
        rows: list[Row] = []
        for paragraph in paragraphs(text):
            end = position + len(paragraph.encode())
            ngrams = ngrams_of(paragraph, settings)
            hits = sum(ngram in known for ngram in ngrams)
            total += len(ngrams)
            contained += hits
            if ngrams and hits / len(ngrams) > settings.threshold:
                if rows and rows[-1][1] == position:
                    rows[-1] = (rows[-1][0], end, 0)
                else:
                    rows.append((position, end, 0))
            else:
                known.update(ngrams)
            position = end
        decisions.append(Decision(total, contained, bool(total) and contained / total > settings.threshold, rows))
    return decisions
