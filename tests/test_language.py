"""Language identification."""

from __future__ import annotations

import hashlib
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus_dagster.language import MODEL_DIGEST, MODEL_NAME, LanguageIdentifier

SENTENCES = {
    "en": "The committee will meet again next week to discuss the results of the survey.",
    "de": "Der Ausschuss trifft sich nächste Woche wieder, um die Ergebnisse der Umfrage zu besprechen.",
    "fr": "Le comité se réunira la semaine prochaine pour discuter des résultats de l'enquête.",
    "ru": "Комитет снова соберётся на следующей неделе, чтобы обсудить результаты опроса.",
    "zh": "委员会将于下周再次开会讨论调查结果。",
    "ar": "ستجتمع اللجنة مرة أخرى الأسبوع المقبل لمناقشة نتائج الاستطلاع.",
}


def test_the_packaged_model_is_the_one_in_the_lineage() -> None:
    model = (files("corpus_dagster") / "data" / MODEL_NAME).read_bytes()
    assert hashlib.sha256(model).hexdigest() == MODEL_DIGEST


@pytest.mark.parametrize("newlines", ["space", "delete"])
def test_languages_are_recognised_in_a_batch(newlines: str) -> None:
    labels, scores, second, second_scores = LanguageIdentifier().identify(list(SENTENCES.values()), newlines)  # pyright: ignore[reportArgumentType]
    assert labels == list(SENTENCES)
    assert (scores > 0.5).all()
    assert (scores <= 1).all()
    assert (second_scores < scores).all()
    assert all(a != b for a, b in zip(labels, second, strict=True))


def test_a_batch_gives_what_single_texts_give() -> None:
    texts = [*SENTENCES.values(), "", "short", "\n\n", "two\nlines"]
    identifier = LanguageIdentifier()
    batch = identifier.identify(texts, "space")
    single = [identifier.identify([t], "space") for t in texts]
    assert batch[0] == [s[0][0] for s in single]
    np.testing.assert_array_equal(batch[1], [s[1][0] for s in single])


def test_the_newline_policy_changes_what_the_model_reads() -> None:
    identifier = LanguageIdentifier()
    fused, spaced, joined = (
        identifier.identify([text], policy)[1][0]  # pyright: ignore[reportArgumentType]
        for text, policy in (("so\nto\nbe\nit", "delete"), ("so\nto\nbe\nit", "space"), ("sotobeit", "space"))
    )
    assert fused == joined
    assert fused != spaced


def test_texts_without_text_have_no_language() -> None:
    labels, scores, second, second_scores = LanguageIdentifier().identify(["", " \n\t", "\u2003"], "space")
    assert labels == second == ["", "", ""]
    assert not scores.any()
    assert not second_scores.any()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(alphabet=st.characters(exclude_categories=()), max_size=30), max_size=6))
def test_no_text_makes_it_raise(texts: list[str]) -> None:
    odd = [*texts, "\x00", "\ud800", "a\x00b", "</s>", "__label__en", "\r", "\u2028"]
    labels, scores, _, _ = LanguageIdentifier().identify(odd, "delete")
    assert len(labels) == len(scores) == len(odd)
    assert ((scores >= 0) & (scores <= 1)).all()
