"""fastText's predictions by our kernels, held to those of the library, to the last bit."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import fasttext
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.strategies import buffers, texts

from corpus_dagster.text.fasttext_file import ModelFileError
from corpus_dagster.text.fasttext_model import NO_LABEL, Model, NewlinePolicy

NEWLINES: dict[NewlinePolicy, str] = {"space": " ", "delete": ""}
POLICIES: list[NewlinePolicy] = ["space", "delete"]

LID = Path(str(files("corpus_dagster") / "data" / "lid.176.ftz"))

WORDS = [*"abcdefgh", "é", "ß", "漢字", "мир", "don't", "tide", "boat", "Boat", "𝔘𝔫𝔦", "</s>", "__label__a"]


def library(path: Path) -> Any:
    # The class behind `load_model`, which warns on every load.
    return fasttext.FastText._FastText(model_path=str(path))


def check(model: Model, reference: Any, batch: Sequence[str], k: int = 2) -> None:
    """Labels and float32 probabilities of both newline policies are the library's."""
    for policy, newline in NEWLINES.items():
        labels, scores = model.predict_buffers(*buffers(list(batch)), k, policy)
        expected = reference.predict([text.replace("\n", newline) for text in batch], k=k)
        for text, found, values, names, wanted in zip(batch, labels, scores, *expected, strict=True):
            assert [model.labels[i] for i in found if i != NO_LABEL] == list(names), text[:100]
            np.testing.assert_array_equal(values[: len(wanted)], wanted, err_msg=repr(text[:100]))
            assert not values[len(wanted) :].any()


@pytest.fixture(scope="module")
def lid() -> tuple[Model, Any]:
    return Model.load(LID), library(LID)


VARIANTS: dict[str, dict[str, Any]] = {
    "bigrams": {"wordNgrams": 2, "dim": 16},
    "bigrams and subwords": {"wordNgrams": 2, "minn": 2, "maxn": 4, "dim": 10},
    "trigrams, hierarchical": {"wordNgrams": 3, "loss": "hs", "minn": 1, "maxn": 3, "dim": 7},
    "words alone": {"wordNgrams": 1, "bucket": 0, "dim": 33},
    "long subwords": {"minn": 5, "maxn": 30, "dim": 4},
    "quantised": {"wordNgrams": 2, "minn": 2, "maxn": 4, "quantise": {"dsub": 3}},
    "quantised, norms": {"minn": 2, "maxn": 3, "quantise": {"qnorm": True, "dsub": 2}},
    "pruned": {"wordNgrams": 2, "minn": 2, "maxn": 4, "quantise": {"qnorm": True, "cutoff": 300}},
    "pruned, hierarchical": {"minn": 2, "maxn": 4, "loss": "hs", "quantise": {"cutoff": 300}},
    "all quantised": {"labels": 300, "wordNgrams": 2, "quantise": {"qnorm": True, "qout": True, "dsub": 5}},
    "one label": {"labels": 1, "loss": "hs"},
}


def train(folder: Path, labels: int = 5, quantise: dict[str, Any] | None = None, **options: Any) -> Path:
    """A small model; label i has the words around i, so that it learns something."""
    rng = random.Random(0)
    lines = []
    for i in range(max(400, 2 * labels)):
        label = i % labels
        words = [rng.choice(WORDS[:-2]) + str((label + rng.randrange(3)) % 9) for _ in range(8)]
        lines.append(f"__label__{label} {' '.join(words)} {rng.choice(WORDS[:-2])}")
    source, path = folder / "train.txt", folder / "model.bin"
    source.write_text("\n".join(lines) + "\n")
    options = {"dim": 16, "bucket": 997, "epoch": 3, "lr": 0.5, "minCount": 2, "loss": "softmax", **options}
    model = fasttext.train_supervised(input=str(source), thread=1, verbose=0, **options)
    if quantise:
        model.quantize(input=str(source), thread=1, verbose=False, **quantise)
    model.save_model(str(path))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Model, Any]]:
    found = {}
    for name, options in VARIANTS.items():
        path = train(tmp_path_factory.mktemp("model"), **options)
        found[name] = Model.load(path), library(path)
    return found


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("small"), dim=3, bucket=20, minn=2, maxn=3)


_tokens = st.one_of(st.sampled_from(WORDS), st.sampled_from(["__label__en", "__label__", "__label_", "</s>", "<", ">"]))
_marked = st.lists(
    st.one_of(_tokens, st.sampled_from([" ", "\n", "\n\n", "\0", "\t", "\v", "\f", "\r"]), texts), max_size=30
).map("".join)


@given(st.lists(st.one_of(texts, _marked, st.text()), max_size=8), st.integers(1, 5))
def test_the_language_model_predicts_as_the_library_does(lid: tuple[Model, Any], batch: list[str], k: int) -> None:
    check(*lid, batch, k)


@pytest.mark.parametrize("variant", VARIANTS)
def test_trained_models_predict_as_the_library_does(trained: dict[str, tuple[Model, Any]], variant: str) -> None:
    @given(st.lists(st.one_of(texts, _marked), max_size=6), st.integers(1, 7))
    def compare(batch: list[str], k: int) -> None:
        check(*trained[variant], batch, k)

    compare()
    rng = random.Random(1)
    spaces = ["\n", " ", " ", "\t"]
    check(
        *trained[variant],
        [
            "".join(rng.choice(WORDS[:-2]) + str(rng.randrange(9)) + rng.choice(spaces) for _ in range(n))
            for n in range(60)
        ],
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n",
        "\0",
        " \t\v\f\r\0",
        "</s>",
        "one </s> two",
        "one <\n/s> two",
        "__label__en",
        "__label__en words __label__zz",
        "__la\nbel__en words",
        "a\nb\nc",
        "fu\n\nsed wo\nrds\n",
        "\nleading",
        "nul\0within",
    ],
)
def test_marks_of_the_training_format_are_read_as_the_library_reads_them(
    lid: tuple[Model, Any], trained: dict[str, tuple[Model, Any]], text: str
) -> None:
    check(*lid, [text])
    for pair in trained.values():
        check(*pair, [text])


@pytest.mark.parametrize("size", [7, 8, 9, 63, 64, 65, 700, 5000, 300_000])
def test_words_of_any_length_are_read_whole(
    lid: tuple[Model, Any], trained: dict[str, tuple[Model, Any]], size: int
) -> None:
    words = ["".join(random.Random(size).choices("abcdé漢", k=size)), "x" * size, "漢" * (size // 3)]
    batch = [*words, " ".join(words), words[0][: size // 2] + "\n" + words[0][size // 2 :] + " " + words[0]]
    check(*lid, batch)
    check(*trained["bigrams and subwords"], batch)
    # fastText takes time in the square of the longest n-gram for each letter.
    if size <= 5000:
        check(*trained["long subwords"], batch)


def test_a_full_cache_changes_nothing(lid: tuple[Model, Any]) -> None:
    rng = random.Random(2)
    batch = [" ".join("".join(rng.choices("aeinstr", k=rng.randrange(5, 12))) for _ in range(9000)) for _ in range(12)]
    check(*lid, batch)


def test_words_of_one_hash_are_told_apart(lid: tuple[Model, Any]) -> None:
    rng = np.random.default_rng(3)
    letters = np.unique(rng.integers(ord("a"), ord("z") + 1, (300_000, 9), np.uint8), axis=0)
    hashes = np.full(len(letters), 2166136261, np.uint32)
    for column in letters.T:
        hashes = (hashes ^ column) * np.uint32(16777619)
    order = np.argsort(hashes, kind="stable")
    same = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    assert len(same)
    # Equal ends keep the hashes equal.
    pairs = [letters[order[i : i + 2]] for i in same]
    words = [row.tobytes().decode() + "ingstone" for pair in pairs for row in pair]
    check(*lid, [*words, " ".join(words), " ".join(reversed(words))])


def test_words_that_share_a_slot_of_the_cache_are_all_read(lid: tuple[Model, Any]) -> None:
    numbers = np.char.zfill(np.arange(1_000_000).astype(str), 7)
    letters = numbers.astype("S7").view(np.uint8).reshape(-1, 7)
    hashes = np.full(len(letters), 2166136261, np.uint32)
    for column in letters.T:
        hashes = (hashes ^ column) * np.uint32(16777619)
    slots = (hashes.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)) & np.uint64((1 << 17) - 1)
    crowded = numbers[slots < 8]
    assert len(crowded) > 24
    check(*lid, [" ".join(crowded)] * 2)


def test_the_order_of_texts_does_not_matter(lid: tuple[Model, Any]) -> None:
    rng = random.Random(4)
    batch = ["".join(rng.choices("abc déf\n漢字", k=rng.randrange(80))) for _ in range(200)]
    forward = Model.load(LID).predict_buffers(*buffers(batch), 2, "space")
    backward = Model.load(LID).predict_buffers(*buffers(batch[::-1]), 2, "space")
    for one, other in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(one, other[::-1])


def test_a_slice_of_a_column_is_read_in_place(lid: tuple[Model, Any]) -> None:
    offsets, data = buffers(["first text", "second text here", "third"])
    whole = lid[0].predict_buffers(offsets, data, 2, "space")
    part = lid[0].predict_buffers(offsets[1:], data, 2, "space")
    for one, other in zip(whole, part, strict=True):
        np.testing.assert_array_equal(one[1:], other)


def test_more_labels_than_the_model_has_are_not_given(trained: dict[str, tuple[Model, Any]]) -> None:
    labels, _ = trained["bigrams"][0].predict_buffers(*buffers(["a0 b1"]), 50, "space")
    assert sorted(labels[0]) == list(range(5))


def test_labels_with_another_prefix_are_no_features(tmp_path: Path) -> None:
    source, path = tmp_path / "train.txt", tmp_path / "model.bin"
    source.write_text("#x one two\n#y three four\n" * 20)
    fasttext.train_supervised(
        input=str(source), label="#", dim=4, bucket=50, maxn=3, minn=2, wordNgrams=2, thread=1, verbose=0
    ).save_model(str(path))
    check(Model.load(path), library(path), ["one #x two", "#y", "#z three", "__label__ four"])


def test_a_model_of_file_version_11_has_no_character_ngrams(small: Path, tmp_path: Path) -> None:
    older = tmp_path / "older.bin"
    content = bytearray(small.read_bytes())
    content[4:8] = struct.pack("<i", 11)
    older.write_bytes(content)
    batch = ["a0 b1 unknown", "tide3 漢字4"]
    check(Model.load(older), library(older), batch)
    with pytest.raises(AssertionError):
        check(Model.load(small), library(older), batch)


def test_a_model_in_use_may_be_replaced(small: Path, tmp_path: Path) -> None:
    path, other = tmp_path / "model.bin", tmp_path / "other.bin"
    shutil.copy(small, path)
    other.write_bytes(b"short")
    model = Model.load(path)
    os.replace(other, path)
    check(model, library(small), ["a0 b1 c2"])


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (0, 1, "begins with"),
        (4, 10, "version 10"),
        (4, 13, "version 13"),
        (8, 0, "dim 0"),
        (8, 4, "3 columns|x 3"),
        (28, -2, "wordNgrams"),
        (32, 2, "negative sampling"),
        (32, 4, "one-vs-all"),
        (32, 9, "unknown"),
        (36, 2, "not a supervised"),
        (40, 0, "bucket"),
        (40, 21, "input matrix"),
        (48, 1000, "maxn"),
        (64, 1, "entries"),
    ],
)
def test_a_model_that_cannot_be_evaluated_is_refused(
    small: Path, tmp_path: Path, at: int, value: int, message: str
) -> None:
    path = tmp_path / "model.bin"
    content = bytearray(small.read_bytes())
    content[at : at + 4] = struct.pack("<i", value)
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=message):
        Model.load(path)


def test_a_missing_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no model file"):
        Model.load(tmp_path / "none.bin")
    (tmp_path / "empty.bin").write_bytes(b"")
    with pytest.raises(ModelFileError, match="0 bytes until the end"):
        Model.load(tmp_path / "empty.bin")


def test_weights_that_are_no_numbers_are_refused(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(small.read_bytes()[:-4] + struct.pack("<f", np.nan))
    with pytest.raises(ModelFileError, match="weight"):
        Model.load(path)


@pytest.mark.parametrize("source", ["small", "quantised"])
def test_a_cut_file_is_refused(small: Path, tmp_path: Path, source: str) -> None:
    content = small.read_bytes() if source == "small" else LID.read_bytes()
    path = tmp_path / "model.bin"
    for size in [*range(0, 200, 3), *range(200, len(content), max(1, len(content) // 100)), len(content) - 1]:
        path.write_bytes(content[:size])
        with pytest.raises(ModelFileError):
            Model.load(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(ModelFileError, match="the end of the file"):
        Model.load(path)


@pytest.mark.parametrize("variant", ["plain", "pruned"])
def test_a_damaged_file_is_refused_or_harmless(
    small: Path, tmp_path_factory: pytest.TempPathFactory, variant: str
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    whole = small if variant == "plain" else train(folder, **VARIANTS["pruned, hierarchical"])
    content, path = whole.read_bytes(), folder / "damaged.bin"

    @given(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), min_size=1, max_size=3))
    def damage(changes: list[tuple[int, int]]) -> None:
        damaged = bytearray(content)
        for at, value in changes:
            # Half of the changes go to the front, where numbers stand that sizes come from.
            damaged[at if value % 2 else at % 120] = value
        path.write_bytes(damaged)
        try:
            model = Model.load(path)
        except ModelFileError:
            return
        labels, scores = model.predict_buffers(*buffers(["a0 b1 unknown words 漢字", ""]), 2, "space")
        assert ((labels >= NO_LABEL) & (labels < len(model.labels))).all()
        assert np.isfinite(scores).all()

    damage()


@pytest.mark.shared
@pytest.mark.parametrize(
    "name",
    [
        "lid/sib200_dev.jsonl.zst",
        "lid/sib200_train_40langs.jsonl.zst",
        "lid/lingua_sentences_dev.jsonl.zst",
        "cc_html/hplt_cc_sample100.jsonl.zst",
        "cc_html/pathological_long.jsonl.zst",
    ],
)
def test_real_texts_of_many_languages_are_labelled_as_the_library_does(
    lid: tuple[Model, Any], shared_data: Path, name: str
) -> None:
    with pa.input_stream(str(shared_data / name), compression="zstd") as stream:
        lines = stream.read().decode("utf-8", "replace").split("\n")
    values = [value for line in lines if line for value in json.loads(line).values()]
    found = [v.encode("utf-8", "replace").decode() for v in values if isinstance(v, str) and len(v) > 20]
    assert found
    for start in range(0, len(found), 1000):
        check(*lid, found[start : start + 1000])
