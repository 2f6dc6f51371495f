"""Quality classifier: fastText with word bigrams, trained on wanted against ordinary pages, as DCLM does.

Trains a model file from two sets of texts, and scores texts with such a file or with DCLM's published one.
Where the texts come from and which score is enough is decided elsewhere.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import fasttext
import numpy as np
import xxhash

from corpus_dagster.text.arrow import Buffer

POSITIVE_LABEL = "__label__hq"
NEGATIVE_LABEL = "__label__cc"
LABEL_PREFIX = "__label__"

DECISION = 0.5
"""Score from which precision and recall count a text as positive."""

_BATCH_TEXTS = 1024
"""Texts handed to fastText at a time: few calls, and the copies it makes stay small."""
_HASH_RANGE = 2**64


class ClassifierError(ValueError):
    """A model file cannot be used, or a model cannot be trained; the message says why and what to do."""


@dataclass(frozen=True)
class TrainSettings:
    """How a classifier is trained.

    The defaults keep the file small: 2^16 bigram buckets of 16 dimensions are 4 MB, each word 64 bytes more.
    DCLM's own model has fastText's default of 100 dimensions and 2 million buckets, 0.8 GB and up.

    Attributes:
        dimensions: of the word and bigram vectors.
        buckets: into which word bigrams are hashed.
        word_ngrams: longest n-gram of words; 2 are bigrams.
        min_count: words seen less often are unknown.
        epochs: passes over the texts.
        least_examples: texts looked at in all, passes counted: a small set gets more passes, or nothing is learnt.
        learning_rate: at the start; it falls to zero.
        held_out: share of the texts, chosen by their hash, that are kept for the report.
        seed: of the starting vectors and the sampling.
    """

    dimensions: int = 16
    buckets: int = 1 << 16
    word_ngrams: int = 2
    min_count: int = 5
    epochs: int = 5
    least_examples: int = 25_000
    learning_rate: float = 0.1
    held_out: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.held_out < 1:
            raise ValueError(f"held_out is {self.held_out}; expected a share in [0, 1)")


@dataclass(frozen=True)
class TrainReport:
    """What a classifier was trained on and how it does on the texts held out.

    Attributes:
        positives: texts of the positive class trained on.
        negatives: texts of the negative class trained on.
        held_out_positives: texts of the positive class held out.
        held_out_negatives: texts of the negative class held out.
        precision: share of positives among held-out texts with a score of at least `DECISION`.
        recall: share of the held-out positives with such a score.
        auc: chance that a held-out positive scores above a held-out negative, ties counting one half.
        bytes: size of the model file.

    A figure without a text to measure it on is NaN.
    """

    positives: int
    negatives: int
    held_out_positives: int
    held_out_negatives: int
    precision: float
    recall: float
    auc: float
    bytes: int


def prepare(text: str) -> str:
    """The text as the model reads it: stripped, its lines joined by one space, as in DCLM."""
    return " ".join(text.strip().splitlines())


def choose_by_hash(keys: Sequence[str], n: int) -> Buffer:
    """Positions, int64[min(n, len(keys))], of the n keys with the smallest XXH3 hashes, in that order.

    Which keys are chosen does not depend on their order; of equal keys the earlier positions come first.
    """
    hashes = np.array([_hash(key) for key in keys], np.uint64)
    return np.lexsort((np.array(keys, object), hashes))[:n] if len(keys) else np.zeros(0, np.int64)


def train(positives: Sequence[str], negatives: Sequence[str], settings: TrainSettings, path: Path) -> TrainReport:
    """Train a classifier of two labels and write its file, whole or not at all.

    The same texts give the same bytes, in whatever order they come: training runs in the order of the texts'
    hashes, on one thread.

    Args:
        positives: texts to be recognised.
        negatives: ordinary texts, about as many.
        settings: how to train.
        path: the model file, replaced where it exists.

    Raises:
        ClassifierError: a class has no text to train on, or no word is frequent enough.
    """
    labelled = [(t, True) for t in map(_readable, positives) if t]
    labelled += [(t, False) for t in map(_readable, negatives) if t]
    hashed = sorted((_hash(text), text, positive) for text, positive in labelled)
    bound = round(settings.held_out * _HASH_RANGE)
    held_out = [(text, positive) for code, text, positive in hashed if code < bound]
    trained = [(text, positive) for code, text, positive in hashed if code >= bound]
    counts = {positive: sum(p is positive for _, p in trained) for positive in (True, False)}
    for name, given, count in (("positive", positives, counts[True]), ("negative", negatives, counts[False])):
        if not count:
            raise ClassifierError(
                f"no {name} text is left to train on: {len(given)} were given, of which the empty ones and a "
                f"share of {settings.held_out} were left out; give more texts"
            )
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        lines = Path(folder) / "train.txt"
        with lines.open("w", encoding="utf-8", newline="\n") as file:
            for text, positive in trained:
                file.write(f"{POSITIVE_LABEL if positive else NEGATIVE_LABEL} {_without_labels(text)}\n")
        try:
            model = fasttext.train_supervised(
                input=str(lines),
                dim=settings.dimensions,
                bucket=settings.buckets,
                wordNgrams=settings.word_ngrams,
                minCount=settings.min_count,
                epoch=max(settings.epochs, math.ceil(settings.least_examples / len(trained))),
                lr=settings.learning_rate,
                loss="softmax",
                label=LABEL_PREFIX,
                seed=settings.seed,
                # With more threads the result depends on their races.
                thread=1,
                verbose=0,
            )
        except RuntimeError as error:
            raise ClassifierError(
                f"fastText cannot train on {len(trained)} texts with {settings}: {error}; "
                "a lower learning_rate helps where it met NaN"
            ) from error
        if not model.get_words():
            raise ClassifierError(
                f"no word occurs {settings.min_count} times in {len(trained)} texts; give more or lower min_count"
            )
        written = Path(folder) / "model.bin"
        model.save_model(str(written))
        os.replace(written, path)
    truth = np.array([positive for _, positive in held_out], np.bool_)
    # A text of which the model knows nothing has no score, and is never chosen.
    scores = np.nan_to_num(QualityClassifier(path).score([text for text, _ in held_out]))
    return TrainReport(
        counts[True],
        counts[False],
        int(truth.sum()),
        int((~truth).sum()),
        _share(truth & (scores >= DECISION), scores >= DECISION),
        _share(truth & (scores >= DECISION), truth),
        _area_under_curve(scores[truth], scores[~truth]),
        path.stat().st_size,
    )


class QualityClassifier:
    """A fastText classifier in memory. Load it once per process: the published one takes some GB.

    Args:
        path: a supervised fastText model, `.bin` or `.ftz`.
        positive_label: the label whose probability is the score.

    Raises:
        ClassifierError: the file is missing, is not such a model, or does not know the label.
    """

    def __init__(self, path: Path, positive_label: str = POSITIVE_LABEL) -> None:
        if not path.is_file():
            raise ClassifierError(f"no quality model at {path}; train one or correct the path")
        try:
            self._model = fasttext.load_model(str(path))
        except ValueError as error:
            raise ClassifierError(
                f"{path} is not a fastText model ({error}); expected a .bin or .ftz file that fastText wrote"
            ) from error
        # Of an unsupervised model fastText lists the words as labels, so it fails here too.
        labels = self._model.get_labels()
        if positive_label not in labels:
            shown = ", ".join(map(repr, labels[:10]))
            raise ClassifierError(
                f"{path} does not know the label {positive_label!r}; it has {len(labels)} labels: {shown}; "
                "name the one that means high quality as the positive label"
            )
        self.positive_label = positive_label
        self.labels = tuple(labels)

    @classmethod
    @lru_cache(maxsize=1)
    def cached(cls, path: Path, positive_label: str = POSITIVE_LABEL) -> QualityClassifier:
        """The classifier of this process: loaded at the first call, and again when another is asked for."""
        return cls(path, positive_label)

    def score(self, texts: Sequence[str]) -> Buffer:
        """float32[n]: probability of the positive label, 0 to 1; NaN where there is nothing but white space.

        With two labels the score is, as in DCLM, the probability of the likelier one or what it leaves to 1:
        fastText's probabilities are 0.00001 too large, so that the two do not sum to 1.
        """
        scores = np.full(len(texts), np.nan, np.float32)
        prepared = ((position, prepare(text)) for position, text in enumerate(texts))
        k = 1 if len(self.labels) == 2 else -1
        for batch in _batches([(position, text) for position, text in prepared if text]):
            labels, probabilities = self._model.predict([text for _, text in batch], k=k)
            for (position, _), names, values in zip(batch, labels, probabilities, strict=True):
                scores[position] = self._probability(names, values)
        return np.clip(scores, 0, 1)

    def _probability(self, labels: Sequence[str], probabilities: Sequence[float]) -> float:
        found = dict(zip(labels, probabilities, strict=True))
        if self.positive_label in found:
            return found[self.positive_label]
        # Nothing at all where the model knows neither a word nor a bigram of the text.
        return 1 - probabilities[0] if len(probabilities) else np.nan


def _hash(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "replace"))


def _readable(text: str) -> str:
    """The text prepared, with "?" for lone surrogates, which JSON files of positives may hold."""
    return prepare(text.encode("utf-8", "replace").decode())


def _without_labels(text: str) -> str:
    """The text without words that fastText would take for labels."""
    if LABEL_PREFIX not in text:
        return text
    return " ".join(word for word in text.split() if not word.startswith(LABEL_PREFIX))


def _batches(texts: list[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    for start in range(0, len(texts), _BATCH_TEXTS):
        yield texts[start : start + _BATCH_TEXTS]


def _share(part: Buffer, whole: Buffer) -> float:
    return float(part.sum() / whole.sum()) if whole.any() else float("nan")


def _area_under_curve(positives: Buffer, negatives: Buffer) -> float:
    """Mann-Whitney U over the number of pairs."""
    if not len(positives) or not len(negatives):
        return float("nan")
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, side="left")
    not_above = np.searchsorted(ordered, positives, side="right")
    return float((below + not_above).sum() / (2 * len(positives) * len(negatives)))
