"""The quality classifier: it learns, repeats itself byte for byte, and refuses files it cannot use."""

from __future__ import annotations

import random
from pathlib import Path

import fasttext
import numpy as np
import pytest

from corpus_dagster import classifier
from corpus_dagster.classifier import (
    NEGATIVE_LABEL,
    POSITIVE_LABEL,
    ClassifierError,
    QualityClassifier,
    TrainSettings,
    choose_by_hash,
    prepare,
    train,
)

SMALL = TrainSettings(dimensions=4, buckets=1000, min_count=1, epochs=20, held_out=0.25)
GOOD_WORDS = ["because", "therefore", "consider", "explain", "example", "reason", "question", "answer"]
PLAIN_WORDS = ["buy", "cart", "login", "cookie", "menu", "price", "share", "click", "subscribe", "home"]
SHARED_WORDS = ["the", "a", "of", "and", "to", "in"]


def pages(words: list[str], count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return ["\n".join(" ".join(draw.choices(words + SHARED_WORDS, k=12)) for _ in range(3)) for _ in range(count)]


POSITIVES, NEGATIVES = pages(GOOD_WORDS, 120, 1), pages(PLAIN_WORDS, 120, 2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "quality.bin"
    train(POSITIVES, NEGATIVES, SMALL, path)
    return path


def test_it_tells_the_classes_apart_on_texts_held_out(tmp_path: Path) -> None:
    report = train(POSITIVES, NEGATIVES, SMALL, tmp_path / "m.bin")
    assert report.positives + report.held_out_positives == 120
    assert report.negatives + report.held_out_negatives == 120
    assert min(report.held_out_positives, report.held_out_negatives) > 10
    assert min(report.precision, report.recall, report.auc) > 0.95
    assert report.bytes == (tmp_path / "m.bin").stat().st_size
    assert list(tmp_path.iterdir()) == [tmp_path / "m.bin"]


def test_the_same_texts_in_any_order_give_the_same_file(tmp_path: Path, model: Path) -> None:
    train(POSITIVES[::-1], NEGATIVES[7:] + NEGATIVES[:7], SMALL, tmp_path / "again.bin")
    assert (tmp_path / "again.bin").read_bytes() == model.read_bytes()


def test_another_seed_gives_another_file(tmp_path: Path, model: Path) -> None:
    settings = TrainSettings(**{**SMALL.__dict__, "seed": 1})
    train(POSITIVES, NEGATIVES, settings, tmp_path / "other.bin")
    assert (tmp_path / "other.bin").read_bytes() != model.read_bytes()


def test_scores_are_probabilities_of_the_positive_label_and_not_a_number_without_text(model: Path) -> None:
    scores = QualityClassifier(model).score([POSITIVES[0], "", " \n ", NEGATIVES[0]])
    assert scores.dtype == np.float32
    assert np.isnan(scores).tolist() == [False, True, True, False]
    assert scores[0] > 0.9
    assert scores[3] < 0.1
    assert ((scores[[0, 3]] >= 0) & (scores[[0, 3]] <= 1)).all()


def test_scores_are_those_of_fasttext_line_by_line(model: Path) -> None:
    plain = fasttext.load_model(str(model))
    texts = POSITIVES[:20] + NEGATIVES[:20]
    expected = []
    for text in texts:
        names, values = plain.predict(prepare(text))
        found: dict[str, float] = dict(zip(names, values, strict=True))
        expected.append(found[POSITIVE_LABEL] if POSITIVE_LABEL in found else 1 - found[NEGATIVE_LABEL])
    got = QualityClassifier(model).score(texts)
    assert got == pytest.approx(np.clip(np.array(expected, np.float32), 0, 1), abs=1e-6)


def test_the_label_that_counts_can_be_chosen(model: Path) -> None:
    scores = QualityClassifier(model, NEGATIVE_LABEL).score([POSITIVES[0], NEGATIVES[0]])
    assert scores[0] < 0.1 < 0.9 < scores[1]


def test_batches_do_not_change_scores(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*POSITIVES[:5], "", *NEGATIVES[:5]]
    at_once = QualityClassifier(model).score(texts)
    monkeypatch.setattr(classifier, "_BATCH_TEXTS", 3)
    np.testing.assert_array_equal(QualityClassifier(model).score(texts), at_once)


def test_a_process_loads_a_model_once(model: Path) -> None:
    first = QualityClassifier.cached(model, POSITIVE_LABEL)
    assert QualityClassifier.cached(model, POSITIVE_LABEL) is first
    assert QualityClassifier.cached(model, NEGATIVE_LABEL).positive_label == NEGATIVE_LABEL


def test_lone_surrogates_do_not_stop_training(tmp_path: Path) -> None:
    train([*POSITIVES, "broken \ud800 text"], NEGATIVES, SMALL, tmp_path / "m.bin")
    assert len(choose_by_hash(["\ud800"], 1)) == 1


def test_of_many_labels_the_positive_one_is_scored(tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    rows = [
        ("__label__hq", POSITIVES),
        ("__label__cc", NEGATIVES),
        ("__label__other", pages(["x", "y"], 60, 3)),
    ]
    lines.write_text("".join(f"{label} {prepare(t)}\n" for label, texts in rows for t in texts))
    trained = fasttext.train_supervised(str(lines), dim=4, epoch=20, thread=1, verbose=0, minCount=1)
    trained.save_model(str(tmp_path / "three.bin"))
    scores = QualityClassifier(tmp_path / "three.bin").score([POSITIVES[0], NEGATIVES[0], "x y x"])
    assert scores[0] > 0.8
    assert scores[1:].max() < 0.2


def test_words_that_look_like_labels_are_no_labels(tmp_path: Path) -> None:
    marked = [f"__label__trap {text}" for text in POSITIVES]
    train(marked, NEGATIVES, SMALL, tmp_path / "m.bin")
    assert set(QualityClassifier(tmp_path / "m.bin").labels) == {POSITIVE_LABEL, NEGATIVE_LABEL}


@pytest.mark.parametrize(
    ("text", "prepared"), [(" a\nb\r\nc ", "a b c"), ("", ""), ("\n \n", ""), ("a\u2028b\x0bc", "a b c")]
)
def test_lines_are_joined_by_a_space(text: str, prepared: str) -> None:
    assert prepare(text) == prepared


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClassifierError, match="no quality model at"):
        QualityClassifier(tmp_path / "none.bin")


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.bin").write_text("not a model, but long enough to be read as one")
    with pytest.raises(ClassifierError, match="is not a fastText model"):
        QualityClassifier(tmp_path / "text.bin")


def test_a_model_without_the_label_is_refused_and_its_labels_are_named(model: Path) -> None:
    with pytest.raises(ClassifierError, match=r"'__label__good'; it has 2 labels: .*'__label__hq'"):
        QualityClassifier(model, "__label__good")


def test_an_unsupervised_model_is_refused(tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(map(prepare, POSITIVES)))
    vectors = fasttext.train_unsupervised(str(lines), dim=4, epoch=1, thread=1, minCount=1, bucket=100)
    vectors.save_model(str(tmp_path / "vectors.bin"))
    with pytest.raises(ClassifierError, match="does not know the label"):
        QualityClassifier(tmp_path / "vectors.bin")


@pytest.mark.parametrize(
    ("positives", "negatives", "named"), [([], NEGATIVES, "positive"), (POSITIVES, [" "], "negative")]
)
def test_a_class_without_texts_is_refused(
    tmp_path: Path, positives: list[str], negatives: list[str], named: str
) -> None:
    with pytest.raises(ClassifierError, match=f"no {named} text is left to train on"):
        train(positives, negatives, SMALL, tmp_path / "m.bin")
    assert list(tmp_path.iterdir()) == []


def test_words_too_rare_to_train_on_are_reported(tmp_path: Path) -> None:
    with pytest.raises(ClassifierError, match="no word occurs 1000 times in 2 texts"):
        train(["one two"], ["three four"], TrainSettings(min_count=1000, held_out=0), tmp_path / "m.bin")


def test_choosing_by_hash_depends_on_the_keys_alone() -> None:
    keys = [f"https://example.org/{i}" for i in range(100)]
    chosen = {keys[i] for i in choose_by_hash(keys, 10)}
    turned = keys[::-1]
    assert {turned[i] for i in choose_by_hash(turned, 10)} == chosen
    assert len(chosen) == 10
    assert chosen <= {keys[i] for i in choose_by_hash(keys, 30)}
    assert sorted(choose_by_hash(keys, 1000)) == list(range(100))
    assert choose_by_hash([], 5).tolist() == []


def test_of_equal_keys_the_earlier_are_chosen_first() -> None:
    assert choose_by_hash(["a", "a", "a"], 2).tolist() == [0, 1]


def test_a_training_that_diverges_is_reported(tmp_path: Path) -> None:
    settings = TrainSettings(min_count=1, learning_rate=1e30)
    with pytest.raises(ClassifierError, match="lower learning_rate"):
        train(POSITIVES, NEGATIVES, settings, tmp_path / "m.bin")
