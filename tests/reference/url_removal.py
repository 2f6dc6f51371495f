"""The two patterns of URL removal, run by Python's `re`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reference.columns import Marked

_TAIL = r"[-a-zA-Z0-9()@:%_\+.~#?&//=]*"


def remove(text: str, tlds: Sequence[str], *, published_guard: bool = False) -> Marked:
    alternatives = "|".join(re.escape(tld) for tld in tlds)
    marked = Marked(text)
    patterns = [
        rf"\s{{0,10}}(?:((https?|ftp)://))?[-a-zA-Z0-9@:%._\+~#=]{{1,256}}\.({alternatives})\b({_TAIL})",
        rf"\s{{0,10}}\b((https?|ftp)://)?(?:[0-2]?[0-9]{{1,2}}\.){{3}}[0-2]?[0-9]{{1,2}}{_TAIL}",
    ]
    if published_guard and not re.match(alternatives, text):
        del patterns[0]
    for pattern in patterns:
        expected = re.sub(pattern, "", marked.text)
        for match in reversed(list(re.finditer(pattern, marked.text))):
            marked.remove(*match.span())
        assert marked.text == expected
    return marked
