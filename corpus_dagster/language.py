"""Language identification by fastText's lid.176, which ships with the package. Texts in, two labels and
scores out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal

import fasttext
import numpy as np

MODEL_NAME = "lid.176.ftz"

MODEL_DIGEST = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"
"""SHA-256 of the model file, which goes into the lineage of everything scored by it. Checked when the model
is loaded."""

LABEL_PREFIX = "__label__"

NewlinePolicy = Literal["space", "delete"]

_NEWLINE: dict[str, str] = {"space": " ", "delete": ""}


class LanguageModelError(RuntimeError):
    """The packaged model is not the one this version was made with."""


@lru_cache(maxsize=1)
def _model() -> Any:
    resource = files("corpus_dagster") / "data" / MODEL_NAME
    found = hashlib.sha256(resource.read_bytes()).hexdigest()
    if found != MODEL_DIGEST:
        raise LanguageModelError(f"{resource}: SHA-256 is {found}, expected {MODEL_DIGEST}; install the package again")
    # The wrapper of `load_model` warns on every load that its return type has changed; the class behind it
    # does not.
    return fasttext.FastText._FastText(model_path=str(resource))


class LanguageIdentifier:
    """Most probable languages of texts. The model is loaded once per process, at the first use."""

    def identify(
        self, texts: Sequence[str], newlines: NewlinePolicy
    ) -> tuple[list[str], np.ndarray, list[str], np.ndarray]:
        """Score a batch.

        Args:
            texts: any strings; the whole of each is looked at.
            newlines: what becomes of line ends, since the model reads one line: `space` (datatrove, NeMo) or
                `delete` (DCLM, cc_net), which fuses the words around them.

        Returns:
            First labels (n), their probabilities (float32, n, 0 to 1), second labels (n), their
            probabilities. A text without any word or character known to the model has empty labels and
            probability 0.
        """
        replacement = _NEWLINE[newlines]
        first, second = [""] * len(texts), [""] * len(texts)
        scores = np.zeros((2, len(texts)), np.float32)
        rows = [i for i, text in enumerate(texts) if text and not text.isspace()]
        if rows:
            lines = [_line(texts[i], replacement) for i in rows]
            labels, probabilities = _model().predict(lines, k=2)
            for row, found, values in zip(rows, labels, probabilities, strict=True):
                for rank, names in enumerate((first, second)):
                    if rank < len(found):
                        names[row] = found[rank].removeprefix(LABEL_PREFIX)
                        scores[rank, row] = values[rank]
        # fastText adds a small constant before normalising, so that a certain label exceeds 1 in the sixth
        # digit.
        np.minimum(scores, 1.0, out=scores)
        return first, scores[0], second, scores[1]


def _line(text: str, newline: str) -> str:
    if "\n" in text:
        text = text.replace("\n", newline)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        # Lone surrogates; Arrow strings cannot hold them, but people may pass them.
        return text.encode("utf-8", "replace").decode("utf-8")
    return text
