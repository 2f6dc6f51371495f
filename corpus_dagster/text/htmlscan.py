"""How much work a page would make for an HTML parser, measured in one linear pass over its bytes.

The pass follows the rules of the HTML standard that decide nesting (implied end tags, scopes, formatting
elements) closely enough that a count errs upwards on malformed markup. It builds no tree and decides nothing;
the bounds are in `corpus_dagster.extraction`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

STACK = 4096
"""Open elements that are tracked. A page that nests deeper is far over every bound, so the pass stops
there."""

ACTIVE = 128
"""Formatting elements that are tracked since the last cell or its like; the pass stops beyond them, as for
`STACK`. Real pages reach about ten."""

LOOK_BACK = 256
"""Open elements searched for the partner of an end tag. A partner further up is not found, and the depth then
counts too high, never too low; the limit keeps the pass linear."""

VOID, FORMATTING, CLOSES_P, SPECIAL, BOUNDARY, RAW, ROOT, HEADING = 1, 2, 4, 8, 16, 32, 64, 128

_CLASSES: dict[int, str] = {
    VOID: "area base basefont bgsound br col embed frame hr img image input keygen link meta param source track wbr",
    FORMATTING: "a b big code em font i nobr s small strike strong tt u",
    CLOSES_P: "address article aside blockquote center details dialog dir div dl fieldset figcaption "
    "figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr li listing main menu nav ol p "
    "plaintext pre search section summary table ul dd dt xmp",
    SPECIAL: "address applet area article aside base basefont bgsound blockquote br button caption "
    "center col colgroup dd details dir div dl dt embed fieldset figcaption figure footer "
    "form frame frameset h1 h2 h3 h4 h5 h6 header hgroup hr iframe img input keygen li link "
    "listing main marquee menu meta nav noembed noframes noscript object ol p param plaintext "
    "pre script search section select source style summary table tbody td template textarea "
    "tfoot th thead title tr track ul wbr xmp",
    BOUNDARY: "applet caption marquee object table td th template svg math foreignobject",
    RAW: "script style textarea title xmp iframe noembed noframes",
    ROOT: "html head body",
    HEADING: "h1 h2 h3 h4 h5 h6",
}
"""Classes of elements in the HTML standard, sections 13.2.4.2 and 13.2.6."""

_FNV_OFFSET, _FNV_PRIME, _MASK = 2166136261, 16777619, 0x7FFFFFFF


def _code(name: str) -> int:
    """31-bit FNV-1a hash of a lower-case element name: what the kernel knows an element by."""
    value = _FNV_OFFSET
    for byte in name.encode():
        value = ((value ^ byte) * _FNV_PRIME) & 0xFFFFFFFF
    return value & _MASK


_TABLE_SIZE = 1024


def _tables() -> tuple[np.ndarray, np.ndarray]:
    flags: dict[int, int] = {}
    for flag, names in _CLASSES.items():
        for name in names.split():
            flags[_code(name)] = flags.get(_code(name), 0) | flag
    keys = np.zeros(_TABLE_SIZE, np.int64)
    values = np.zeros(_TABLE_SIZE, np.int64)
    for code, value in flags.items():
        slot = code % _TABLE_SIZE
        while keys[slot]:
            slot = (slot + 1) % _TABLE_SIZE
        keys[slot], values[slot] = code, value
    return keys, values


KEYS, FLAGS = _tables()
_P, _LI, _DD, _DT, _OPTION, _OPTGROUP = (_code(n) for n in ("p", "li", "dd", "dt", "option", "optgroup"))
_TR, _TD, _TH, _TABLE, _A = (_code(n) for n in ("tr", "td", "th", "table", "a"))
_TBODY, _THEAD, _TFOOT, _CAPTION = (_code(n) for n in ("tbody", "thead", "tfoot", "caption"))
_COLGROUP, _ADDRESS, _DIV, _SVG, _MATH = (_code(n) for n in ("colgroup", "address", "div", "svg", "math"))
_PLAINTEXT, _SELECT, _FORM, _TEMPLATE = (_code(n) for n in ("plaintext", "select", "form", "template"))


@dataclass(frozen=True)
class MarkupWork:
    """What a parser and an extractor would have to do for a page.

    Attributes:
        size: bytes of markup.
        tags: start tags.
        depth: most elements open at once.
        depth_work: sum over start tags of the elements open at it.
        attributes: most attributes in one tag.
        attribute_work: sum over tags of the square of their attributes; those of `html` and `body` add up.
        formatting: most formatting elements active at once.
        formatting_work: sum over start tags of the formatting elements to be opened again there.
        option_work: sum over the options of each `select` of the options before it.
        complete: the pass reached the end; False where the tracked stack overflowed.
    """

    size: int
    tags: int
    depth: int
    depth_work: int
    attributes: int
    attribute_work: int
    formatting: int
    formatting_work: int
    option_work: int
    complete: bool


def measure(markup: bytes) -> MarkupWork:
    """Measure a page in UTF-8 or another superset of ASCII."""
    out = np.zeros(8, np.int64)
    complete = _scan(np.frombuffer(markup, np.uint8), KEYS, FLAGS, out)
    return MarkupWork(len(markup), *(int(v) for v in out), complete=bool(complete))


@njit(cache=True, nogil=True)
def _flags_of(code, keys, flags):
    slot = code % keys.size
    while keys[slot] != 0:
        if keys[slot] == code:
            return flags[slot]
        slot = (slot + 1) % keys.size
    return 0


@njit(cache=True, nogil=True)
def _letter(c):
    return (97 <= c <= 122) or (65 <= c <= 90)


@njit(cache=True, nogil=True)
def _space(c):
    return c == 32 or (9 <= c <= 13 and c != 11)


@njit(cache=True, nogil=True)
def _find(data, i, byte):
    n = data.size
    while i < n and data[i] != byte:
        i += 1
    return i


@njit(cache=True, nogil=True)
def _end_of_markup_declaration(data, i):
    """Position after a comment, doctype, processing instruction or bogus end tag that starts at `i`."""
    n = data.size
    if i + 3 < n and data[i + 1] == 33 and data[i + 2] == 45 and data[i + 3] == 45:
        j = i + 4
        if j < n and data[j] == 62:
            return j + 1
        if j + 1 < n and data[j] == 45 and data[j + 1] == 62:
            return j + 2
        while j < n:
            j = _find(data, j, 62)
            if j >= n:
                return n
            if data[j - 1] == 45 and data[j - 2] == 45 and j - 2 >= i + 4:
                return j + 1
            if data[j - 1] == 33 and data[j - 2] == 45 and data[j - 3] == 45 and j - 3 >= i + 4:
                return j + 1
            j += 1
        return n
    return min(_find(data, i, 62) + 1, n)


@njit(cache=True, nogil=True)
def _end_of_raw_text(data, i, code):
    """Position of the end tag that closes a raw text element whose content starts at `i`; the end without
    one."""
    n = data.size
    while i < n:
        i = _find(data, i, 60)
        if i + 1 < n and data[i + 1] == 47:
            value = np.int64(_FNV_OFFSET)
            j = i + 2
            while j < n and _letter(data[j]):
                value = ((value ^ np.int64(data[j] | 32)) * _FNV_PRIME) & 0xFFFFFFFF
                j += 1
            if (value & _MASK) == code and (j >= n or data[j] == 62 or data[j] == 47 or _space(data[j])):
                return i
        i += 1
    return n


@njit(cache=True, nogil=True)
def _scan(data, keys, flags, out):
    n = data.size
    stack = np.zeros(STACK, np.int64)
    kinds = np.zeros(STACK, np.int64)
    active = np.zeros(STACK, np.int64)
    signature = np.zeros(STACK, np.int64)
    depth = 0
    formatting = 0
    base = 0
    foreign = 0
    root_attributes = 0
    options = 0
    i = 0
    while i < n:
        i = _find(data, i, 60)
        if i + 1 >= n:
            break
        c = data[i + 1]
        closing = c == 47
        if closing:
            if i + 2 < n and not _letter(data[i + 2]):
                i = _end_of_markup_declaration(data, i)
                continue
            i += 1
            if i + 1 >= n:
                break
        elif not _letter(c):
            i = _end_of_markup_declaration(data, i) if c == 33 or c == 63 else i + 1
            continue
        # Name, attributes, end of the tag.
        i += 1
        start = i
        code = np.int64(_FNV_OFFSET)
        while i < n and not (_space(data[i]) or data[i] == 47 or data[i] == 62):
            b = data[i]
            if 65 <= b <= 90:
                b |= 32
            code = ((code ^ np.int64(b)) * _FNV_PRIME) & 0xFFFFFFFF
            i += 1
        code &= _MASK
        attributes = 0
        shape = code
        self_closing = False
        while i < n and data[i] != 62:
            b = data[i]
            if _space(b) or b == 47:
                self_closing = b == 47
                i += 1
                continue
            self_closing = False
            attributes += 1
            i += 1
            while i < n and not (_space(data[i]) or data[i] == 47 or data[i] == 62 or data[i] == 61):
                i += 1
            j = i
            while j < n and _space(data[j]):
                j += 1
            if j < n and data[j] == 61:
                j += 1
                while j < n and _space(data[j]):
                    j += 1
                if j < n and (data[j] == 34 or data[j] == 39):
                    i = min(_find(data, j + 1, data[j]) + 1, n)
                else:
                    while j < n and not (_space(data[j]) or data[j] == 62):
                        j += 1
                    i = j
        if i >= n:
            # The standard drops a tag that the end of the file cuts, but its attributes were parsed.
            out[3] = max(out[3], attributes)
            out[4] += attributes * attributes
            break
        i += 1
        kind = _flags_of(code, keys, flags)

        if closing:
            if kind & VOID or (depth == 0 and formatting == 0):
                continue
            if kind & FORMATTING:
                k = formatting - 1
                while k >= 0 and active[k] != code and active[k] != 0:
                    k -= 1
                if k >= 0 and active[k] == code:
                    for m in range(k, formatting - 1):
                        active[m] = active[m + 1]
                        signature[m] = signature[m + 1]
                    formatting -= 1
            ordinary = not kind & (SPECIAL | FORMATTING | BOUNDARY)
            blocked = False
            part = code in (_TD, _TH, _TR, _TBODY, _THEAD, _TFOOT, _CAPTION)
            crosses = code in (_TABLE, _SVG, _MATH)
            k = depth - 1
            last = max(depth - LOOK_BACK, 0)
            while k >= last:
                if stack[k] == code or (kind & HEADING and kinds[k] & HEADING):
                    break
                # Table parts close inside their own table only, the rest inside its cell or its like.
                if (stack[k] == _TABLE if part else kinds[k] & BOUNDARY and not crosses) or stack[k] == _TEMPLATE:
                    k = -1
                    break
                if kinds[k] & SPECIAL:
                    if ordinary:
                        k = -1
                        break
                    blocked = True
                k -= 1
            if k < last or (code == _FORM and k < depth - 1):
                # The end tag of a form does not close what was opened inside it.
                continue
            if kind & FORMATTING and blocked:
                for m in range(k, depth - 1):
                    stack[m] = stack[m + 1]
                    kinds[m] = kinds[m + 1]
                depth -= 1
                continue
            cleared = False
            for m in range(k, depth):
                if stack[m] == _SVG or stack[m] == _MATH:
                    foreign -= 1
                if kinds[m] & BOUNDARY and stack[m] != _TABLE:
                    cleared = True
            depth = k
            if cleared:
                formatting = max(base - 1, 0)
                base = formatting
                while base > 0 and active[base - 1] != 0:
                    base -= 1
            continue

        # A start tag.
        out[0] += 1
        out[3] = max(out[3], attributes)
        if kind & ROOT:
            root_attributes += attributes
            out[4] += root_attributes * attributes
            continue
        out[4] += attributes * attributes
        if code == _PLAINTEXT:
            break
        if kind & RAW and foreign == 0:
            out[2] += depth
            i = _end_of_raw_text(data, i, code)
            continue

        if code == _SELECT:
            options = 0
        elif code in (_OPTION, _OPTGROUP):
            options += 1
            out[7] += options

        # Elements that this one closes. In SVG and MathML nothing is implied; the tags that end them count as
        # nested there, which errs upwards.
        if foreign == 0 and kind & CLOSES_P:
            k = depth - 1
            last = max(depth - LOOK_BACK, 0)
            while k >= last and not kinds[k] & (SPECIAL | BOUNDARY):
                k -= 1
            if k >= last and stack[k] == _P:
                depth = k
            if kind & HEADING and depth > 0 and kinds[depth - 1] & HEADING:
                depth -= 1
        if foreign > 0:
            pass
        elif code in (_LI, _DD, _DT):
            k = depth - 1
            last = max(depth - LOOK_BACK, 0)
            while k >= last:
                s = stack[k]
                if s == code or (code != _LI and (s in (_DD, _DT))):
                    depth = k
                    break
                if kinds[k] & (SPECIAL | BOUNDARY) and s != _ADDRESS and s != _DIV and s != _P:
                    break
                k -= 1
        elif code in (_OPTION, _OPTGROUP):
            if depth > 0 and stack[depth - 1] == _OPTION:
                depth -= 1
        elif code in (_TD, _TH, _TR, _TBODY, _THEAD, _TFOOT, _CAPTION, _COLGROUP):
            cell = code in (_TD, _TH)
            k = depth - 1
            last = max(depth - LOOK_BACK, 0)
            while k >= last:
                s = stack[k]
                if s == _TABLE or (cell and s == _TR):
                    break
                if (cell or code == _TR) and (s in (_TBODY, _THEAD, _TFOOT)):
                    break
                k -= 1
            if k >= last:
                crossed = False
                for m in range(k + 1, depth):
                    if kinds[m] & BOUNDARY:
                        crossed = True
                depth = k + 1
                if crossed:
                    formatting = max(base - 1, 0)
                    base = formatting
                    while base > 0 and active[base - 1] != 0:
                        base -= 1
            elif last == 0:
                # Table parts outside a table are dropped by the standard.
                continue
        elif code == _A:
            k = formatting - 1
            while k >= 0 and active[k] != _A and active[k] != 0:
                k -= 1
            if k >= 0 and active[k] == _A:
                for m in range(k, formatting - 1):
                    active[m] = active[m + 1]
                    signature[m] = signature[m + 1]
                formatting -= 1
                k = depth - 1
                last = max(depth - LOOK_BACK, 0)
                while k >= last and stack[k] != _A and not kinds[k] & BOUNDARY:
                    k -= 1
                if k >= last and stack[k] == _A:
                    for m in range(k, depth - 1):
                        stack[m] = stack[m + 1]
                        kinds[m] = kinds[m + 1]
                    depth -= 1

        out[2] += depth
        out[6] += formatting - base
        if kind & VOID or (self_closing and foreign > 0):
            continue
        if depth + 1 >= STACK or formatting + 1 >= STACK or formatting - base + 1 >= ACTIVE:
            out[1] = max(out[1], depth + 1)
            out[5] = max(out[5], formatting - base + 1)
            return False
        stack[depth] = code
        kinds[depth] = kind
        depth += 1
        out[1] = max(out[1], depth)
        if code in (_SVG, _MATH):
            foreign += 1
        if kind & FORMATTING:
            for m in range(start, i):
                shape = (shape * 31 + np.int64(data[m])) & 0x7FFFFFFFFFFF
            same = 0
            earliest = -1
            k = formatting - 1
            while k >= 0 and active[k] != 0:
                if active[k] == code and signature[k] == shape:
                    same += 1
                    earliest = k
                k -= 1
            if same >= 3:
                # "Noah's Ark": at most three equal formatting elements are kept.
                for m in range(earliest, formatting - 1):
                    active[m] = active[m + 1]
                    signature[m] = signature[m + 1]
                formatting -= 1
            active[formatting] = code
            signature[formatting] = shape
            formatting += 1
            out[5] = max(out[5], formatting - base)
        elif kind & BOUNDARY and code != _TABLE and foreign == 0:
            active[formatting] = 0
            formatting += 1
            base = formatting
    return True


def strip_markup(markup: bytes) -> bytes:
    """The text between the tags of a page, in one linear pass: no tree, no main content.

    Scripts, styles and other raw text elements are dropped, comments too; block elements and line breaks
    become line feeds. Character references stay as they are. For pages that are too costly to parse.
    """
    out = np.empty(len(markup), np.uint8)
    size = _strip(np.frombuffer(markup, np.uint8), KEYS, FLAGS, out)
    return out[:size].tobytes()


@njit(cache=True, nogil=True)
def _strip(data, keys, flags, out):
    n = data.size
    size = 0
    i = 0
    while i < n:
        if data[i] != 60 or i + 1 >= n:
            out[size] = data[i]
            size += 1
            i += 1
            continue
        c = data[i + 1]
        closing = c == 47
        if c == 33 or c == 63 or (closing and i + 2 < n and not _letter(data[i + 2])):
            i = _end_of_markup_declaration(data, i)
            continue
        if not closing and not _letter(c):
            out[size] = data[i]
            size += 1
            i += 1
            continue
        begin = i
        i += 2 if closing else 1
        code = np.int64(_FNV_OFFSET)
        while i < n and not (_space(data[i]) or data[i] == 47 or data[i] == 62):
            b = data[i]
            if 65 <= b <= 90:
                b |= 32
            code = ((code ^ np.int64(b)) * _FNV_PRIME) & 0xFFFFFFFF
            i += 1
        code &= _MASK
        after_equals = False
        while i < n and data[i] != 62:
            b = data[i]
            if after_equals and (b == 34 or b == 39):
                i = min(_find(data, i + 1, b) + 1, n)
                after_equals = False
                continue
            if not _space(b):
                after_equals = b == 61
            i += 1
        i = min(i + 1, n)
        kind = _flags_of(code, keys, flags)
        # A tag is longer than the line feed that takes its place, so `out` never overflows.
        if kind & (CLOSES_P | SPECIAL) and i > begin:
            out[size] = 10
            size += 1
        if kind & RAW and not closing:
            i = _end_of_raw_text(data, i, code)
    return size
