"""Programs: what they measure, that they conserve documents, and that columns alone decide the same."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus_dagster.recipes import model
from corpus_dagster.rules.base import KEPT, UNKNOWN, Batch, Decision, Signals, Texts, decide
from corpus_dagster.rules.program import Outcome, Program
from corpus_dagster.stages import filtered

RECIPE = model.shipped()["dclm_baseline"]
PROSE = (
    "The harbour of the small town has been there for longer than anyone can remember, and boats come and go with the "
    "tide. People that have lived on the hill since they were children still walk down to the quay to see which of the "
    "crews have returned, to ask about the weather and to buy fish that was caught in the night."
)


def batch_of(texts: list[str], urls: list[str] | None = None) -> Batch:
    urls = urls or [f"https://host{i}.example/page" for i in range(len(texts))]
    hosts = [url.split("/")[2] for url in urls]
    return Batch(
        Texts.of(pa.array(texts, pa.string())), pl.Series(urls, dtype=pl.String), pl.Series(hosts, dtype=pl.String)
    )


def reasons(program: Program, decision: Decision) -> list[str | None]:
    return [None if r == KEPT else program.checks[r].reason for r in decision.reason]


def run(texts: list[str], urls: list[str] | None = None) -> tuple[Program, Outcome]:
    program = RECIPE.program
    return program, program.run(batch_of(texts, urls))


def test_plain_prose_passes_every_rule_unchanged() -> None:
    program, outcome = run([PROSE])
    assert reasons(program, outcome.decision) == [None]
    assert outcome.texts.strings() == [PROSE]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "remove_urls"),
        (
            "Der Hafen der kleinen Stadt ist schon lange da, und die Boote kommen und gehen mit der Flut. " * 3,
            "language",
        ),
        ("The harbour of the small town has been there for longer than anyone can remember.", "word_count"),
        (PROSE.replace(" ", " #", 12), "symbol_ratio"),
        ("\n".join(f"- {line}" for line in PROSE.split(", ")), "bullet_lines"),
        (PROSE.replace(", ", "…\n"), "ellipsis_lines"),
        (PROSE + "\n" + PROSE, "duplicate_lines"),
    ],
)
def test_a_text_fails_the_rule_it_breaks_first(text: str, reason: str) -> None:
    program, outcome = run([text])
    assert reasons(program, outcome.decision) == [reason]


def test_a_document_that_fails_a_gate_is_measured_no_further() -> None:
    program, outcome = run([PROSE, PROSE], ["https://host.example/a", "https://sub.example/porn/x"])
    assert reasons(program, outcome.decision)[1] in {"url_hard_words", "url_substrings"}
    known = outcome.signals.known["dclm_quality__words"]
    assert known.tolist() == [True, False]
    assert outcome.rows.tolist() == [0]


def test_a_document_that_fails_later_is_measured_to_the_end() -> None:
    _, outcome = run(["The harbour of the small town has been there for longer than anyone can remember."])
    assert all(known.all() for known in outcome.signals.known.values())


def test_edits_are_deletions_from_the_text_as_it_came() -> None:
    other = PROSE.replace("harbour", "market")
    text = f"{PROSE}\n\n\n\nSHARE THIS NOW\n12 likes\n{other} See www.example.com/x for more.\n"
    _, outcome = run([text])
    raw = text.encode()
    left = bytearray()
    position = 0
    for start, end in zip(outcome.spans.starts, outcome.spans.ends, strict=True):
        left += raw[position:start]
        position = end
    left += raw[position:]
    assert left.decode() == outcome.texts.strings()[0]
    assert "SHARE THIS" not in left.decode()
    assert "example.com" not in left.decode()


WORDS = st.sampled_from(
    ["the", "of", "tide", "boat", "http://a.com/x", "READ", "7", "...", "#", "日本", "\n", "\n\n\n", "- a", "likes"]
)
TEXTS = st.lists(WORDS, max_size=120).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(TEXTS, st.just(PROSE), st.text(max_size=200).map(lambda s: s.encode("utf-8", "ignore").decode())),
        max_size=8,
    )
)
def test_verdicts_do_not_depend_on_the_batch(texts: list[str]) -> None:
    _, together = run(texts)
    for i, text in enumerate(texts):
        _, alone = run([text])
        assert alone.decision.reason[0] == together.decision.reason[i]
        assert np.array_equal(alone.decision.value[:1], together.decision.value[i : i + 1], equal_nan=True)
        for name, values in alone.signals.values.items():
            assert values[0] == together.signals.values[name][i]


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=8))
def test_stored_signals_decide_as_the_run_did(texts: list[str]) -> None:
    program, outcome = run(texts)
    again = decide(program.checks, outcome.signals)
    assert np.array_equal(again.reason, outcome.decision.reason)
    assert np.array_equal(again.value, outcome.decision.value, equal_nan=True)


def test_every_document_is_kept_or_removed_with_a_reason_and_a_value() -> None:
    texts = [PROSE, "", "short", PROSE * 3, "日本語のテキスト。" * 30]
    program, outcome = run(texts)
    removed = ~outcome.decision.kept
    assert all(reason is not None for reason in np.array(reasons(program, outcome.decision), dtype=object)[removed])
    assert not np.isnan(outcome.decision.value[removed]).any()


def test_a_check_without_its_signal_leaves_the_document_undecided() -> None:
    program, outcome = run([PROSE, "short"])
    known = {**outcome.signals.known, "dclm_quality__fasttext_words": np.array([False, False])}
    decision = decide(program.checks, Signals(2, outcome.signals.values, known))
    position = [check.reason for check in program.checks].index("word_count")
    assert (
        decision.reason.tolist() == [UNKNOWN, outcome.decision.reason[1]] or decision.reason.tolist() == [UNKNOWN] * 2
    )
    assert decision.stopped_at[0] == position


def test_signal_columns_have_their_own_names_and_types() -> None:
    columns = RECIPE.program.columns
    assert len({column.name for column in columns}) == len(columns)
    assert all(column.nullable for column in columns)


@given(st.lists(st.integers(0, 40 << 20), max_size=30))
def test_pieces_hold_every_document_once_in_order_and_little_text(sizes: list[int]) -> None:
    batch = pa.record_batch({"row": pa.array(range(len(sizes))), "text_bytes": pa.array(sizes, pa.int32())})
    cut = list(filtered.pieces([batch]))
    assert [row for piece in cut for row in piece.column("row").to_pylist()] == list(range(len(sizes)))
    for piece in cut:
        assert piece.num_rows == 1 or sum(piece.column("text_bytes").to_pylist()) <= filtered.BATCH_BYTES
