"""Language identification by fastText's lid.176, which ships with the package. Texts in, two labels and
scores out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import as_file, files

import numpy as np

from corpus_dagster.text.arrow import Buffer
from corpus_dagster.text.blank import WHITE_SPACE, consist_of
from corpus_dagster.text.fasttext_model import Model, NewlinePolicy

__all__ = ["MODEL_DIGEST", "MODEL_NAME", "LanguageIdentifier", "LanguageModelError", "NewlinePolicy"]

MODEL_NAME = "lid.176.ftz"

MODEL_DIGEST = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"
"""SHA-256 of the model file, which goes into the lineage of everything scored by it. Checked when the model
is loaded."""

LABEL_PREFIX = "__label__"


class LanguageModelError(RuntimeError):
    """The packaged model is not the one this version was made with."""


@lru_cache(maxsize=1)
def _model() -> tuple[Model, Buffer]:
    """The model, and its labels without their prefix (str objects), the last one empty for no label at all."""
    resource = files("corpus_dagster") / "data" / MODEL_NAME
    found = hashlib.sha256(resource.read_bytes()).hexdigest()
    if found != MODEL_DIGEST:
        raise LanguageModelError(f"{resource}: SHA-256 is {found}, expected {MODEL_DIGEST}; install the package again")
    with as_file(resource) as path:
        model = Model.load(path)
    # Position -1, which stands for no label, is the last one.
    return model, np.array([*(label.removeprefix(LABEL_PREFIX) for label in model.labels), ""], object)


class LanguageIdentifier:
    """Most probable languages of texts. The model is loaded once per process, at the first use."""

    def identify(self, texts: Sequence[str], newlines: NewlinePolicy) -> tuple[list[str], Buffer, list[str], Buffer]:
        """Score strings: `identify_buffers` with lists of labels. Lone surrogates are read as question marks."""
        encoded = [text.encode("utf-8", "replace") for text in texts]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(text) for text in encoded], out=offsets[1:])
        data = np.frombuffer(b"".join(encoded), np.uint8)
        first, score, second, second_score = self.identify_buffers(offsets, data, newlines)
        return first.tolist(), score, second.tolist(), second_score

    def identify_buffers(
        self, offsets: Buffer, data: Buffer, newlines: NewlinePolicy
    ) -> tuple[Buffer, Buffer, Buffer, Buffer]:
        """Score a column of n texts.

        Args:
            offsets: int64[n + 1], ascending positions in `data`.
            data: uint8, UTF-8; the whole of each text is looked at.
            newlines: what becomes of line ends, since the model reads one line: `space` (datatrove, NeMo) or
                `delete` (DCLM, cc_net), which fuses the words around them.

        Returns:
            First labels (str objects, n), their probabilities (float32, n, 0 to 1), second labels (n), their
            probabilities. A text of white space only has empty labels and probability 0.
        """
        model, names = _model()
        labels, scores = model.predict_buffers(offsets, data, 2, newlines)
        # fastText itself finds a language for nothing: that of the end of a line.
        blank = consist_of(offsets, data, WHITE_SPACE)
        labels[blank] = -1
        scores[blank] = 0
        # fastText adds a small constant before it takes logarithms, so that a certain label exceeds 1 in the
        # sixth digit.
        np.minimum(scores, 1, out=scores)
        return names[labels[:, 0]], scores[:, 0].copy(), names[labels[:, 1]], scores[:, 1].copy()
