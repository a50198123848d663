"""The decoders of WHATWG's Encoding standard, byte by byte, in the order of its steps.

The indexes are read out of the decoders under test, pointer by pointer: `test_charsets.py` compares
each with the digest that the standard's own file carries ("Identifier").
"""

import functools
from collections.abc import Callable, Iterator, Sequence

from data.reading import charsets

ERROR = "\ufffd"
Index = Sequence[int | None]


class Queue:
    """The standard's queue of bytes, which are read and restored."""

    def __init__(self, content: bytes):
        self._bytes = list(reversed(content))

    def read(self) -> int | None:
        return self._bytes.pop() if self._bytes else None

    def restore(self, *read: int) -> None:
        self._bytes.extend(reversed(read))


def decode(name: str, content: bytes) -> str:
    """Returns the characters of bytes without a byte-order mark."""
    return "".join(DECODERS[name](Queue(content)))


def code_point(name: str, sequence: bytes) -> int | None:
    """Returns the code point of a sequence; None if it has none, or is more than one."""
    text = charsets.decode(sequence, name)
    return ord(text) if len(text) == 1 and text != ERROR else None


@functools.cache
def big5() -> Index:
    places = [divmod(pointer, 157) for pointer in range(126 * 157)]
    pairs = [bytes((lead + 0x81, at + (0x40 if at < 0x3F else 0x62))) for lead, at in places]
    return [code_point("big5", pair) for pair in pairs]


@functools.cache
def euc_kr() -> Index:
    pairs = [bytes((at // 190 + 0x81, at % 190 + 0x41)) for at in range(126 * 190)]
    return [code_point("euc-kr", pair) for pair in pairs]


@functools.cache
def gb18030() -> Index:
    places = [divmod(pointer, 190) for pointer in range(126 * 190)]
    pairs = [bytes((lead + 0x81, at + (0x40 if at < 0x3F else 0x41))) for lead, at in places]
    return [code_point("gb18030", pair) for pair in pairs]


@functools.cache
def jis0208() -> Index:
    """Returns the index of Shift_JIS, without the private use area in its midst."""
    places = [divmod(pointer, 188) for pointer in range(60 * 188)]
    pairs = [
        bytes((lead + (0x81 if lead < 0x1F else 0xC1), at + (0x40 if at < 0x3F else 0x41)))
        for lead, at in places
    ]
    private = range(8836, 10716)
    return [
        None if pointer in private else code_point("shift_jis", pair)
        for pointer, pair in enumerate(pairs)
    ]


@functools.cache
def jis0212() -> Index:
    return [
        code_point("euc-jp", bytes((0x8F, at // 94 + 0xA1, at % 94 + 0xA1)))
        for at in range(94 * 94)
    ]


@functools.cache
def gb18030_ranges() -> list[list[int]]:
    """Returns the first pointer of each range of four bytes, and its code point."""
    ranges: list[list[int]] = []
    for pointer in range(39420):
        quotient, fourth = divmod(pointer, 10)
        second, third = divmod(quotient, 126)
        first, second = divmod(second, 10)
        four = bytes((first + 0x81, second + 0x30, third + 0x81, fourth + 0x30))
        point = ord(charsets.decode(four, "gb18030"))  # U+FFFD is one of them
        if pointer != 7457 and (not ranges or point - pointer != ranges[-1][1] - ranges[-1][0]):
            ranges.append([pointer, point])
    return [*ranges, [189000, 0x10000]]


def of_ranges(pointer: int) -> int | None:
    if 39419 < pointer < 189000 or pointer > 1237575:
        return None
    if pointer == 7457:
        return 0xE7C7
    start, point = [found for found in gb18030_ranges() if found[0] <= pointer][-1]
    return point + pointer - start


def at(index: Index, pointer: int | None) -> int | None:
    return None if pointer is None or pointer >= len(index) else index[pointer]


Pair = Callable[[int, int], str | None]


def pairs(queue: Queue, leads: Sequence[int], single: Callable[[int], str], pair: Pair):
    """Yields the characters of a charset of one and two bytes."""
    while (byte := queue.read()) is not None:
        if byte < 0x80:
            yield chr(byte)
        elif byte not in leads:
            yield single(byte)
        elif (second := queue.read()) is None:
            yield ERROR
        else:
            yield of_pair(queue, second, pair(byte, second))


def of_pair(queue: Queue, second: int, character: str | None) -> str:
    if character is None and second < 0x80:
        queue.restore(second)
    return ERROR if character is None else character


def text(point: int | None) -> str | None:
    return None if point is None else chr(point)


TWO = {1133: "\u00ca\u0304", 1135: "\u00ca\u030c", 1164: "\u00ea\u0304", 1166: "\u00ea\u030c"}


def big5_pair(lead: int, byte: int) -> str | None:
    if not (0x40 <= byte <= 0x7E or 0xA1 <= byte <= 0xFE):
        return None
    pointer = (lead - 0x81) * 157 + byte - (0x40 if byte < 0x7F else 0x62)
    return TWO.get(pointer) or text(at(big5(), pointer))


def euc_kr_pair(lead: int, byte: int) -> str | None:
    pointer = (lead - 0x81) * 190 + byte - 0x41 if 0x41 <= byte <= 0xFE else None
    return text(at(euc_kr(), pointer))


def shift_jis_pair(lead: int, byte: int) -> str | None:
    if not (0x40 <= byte <= 0x7E or 0x80 <= byte <= 0xFC):
        return None
    pointer = (
        (lead - (0x81 if lead < 0xA0 else 0xC1)) * 188 + byte - (0x40 if byte < 0x7F else 0x41)
    )
    if 8836 <= pointer <= 10715:
        return chr(0xE000 - 8836 + pointer)
    return text(at(jis0208(), pointer))


def shift_jis_single(byte: int) -> str:
    return "\x80" if byte == 0x80 else chr(0xFEC0 + byte) if 0xA1 <= byte <= 0xDF else ERROR


def euc_jp(queue: Queue) -> Iterator[str]:
    while (byte := queue.read()) is not None:
        if byte < 0x80:
            yield chr(byte)
        elif byte not in (0x8E, 0x8F) and not 0xA1 <= byte <= 0xFE:
            yield ERROR
        else:
            yield euc_jp_sequence(queue, byte, queue.read())


def euc_jp_sequence(queue: Queue, lead: int, byte: int | None) -> str:
    if byte is None:
        return ERROR
    index = jis0208()
    if lead == 0x8E and 0xA1 <= byte <= 0xDF:
        return chr(0xFEC0 + byte)
    if lead == 0x8F and 0xA1 <= byte <= 0xFE:
        index, lead, byte = jis0212(), byte, queue.read()
    if byte is None:
        return ERROR
    is_pair = 0xA1 <= lead <= 0xFE and 0xA1 <= byte <= 0xFE
    pointer = (lead - 0xA1) * 94 + byte - 0xA1 if is_pair else None
    return of_pair(queue, byte, text(at(index, pointer)))


def gb18030_bytes(queue: Queue) -> Iterator[str]:
    while (byte := queue.read()) is not None:
        if byte <= 0x80:
            yield "€" if byte == 0x80 else chr(byte)
        elif byte == 0xFF:
            yield ERROR
        else:
            yield gb18030_sequence(queue, byte, queue.read())


def gb18030_sequence(queue: Queue, first: int, second: int | None) -> str:
    if second is None:
        return ERROR
    if 0x30 <= second <= 0x39:
        return gb18030_four(queue, first, second, queue.read())
    pointer = None
    if 0x40 <= second <= 0x7E or 0x80 <= second <= 0xFE:
        pointer = (first - 0x81) * 190 + second - (0x40 if second < 0x7F else 0x41)
    return of_pair(queue, second, text(at(gb18030(), pointer)))


def gb18030_four(queue: Queue, first: int, second: int, third: int | None) -> str:
    if third is None:
        return ERROR
    if not 0x81 <= third <= 0xFE:
        queue.restore(second, third)
        return ERROR
    fourth = queue.read()
    if fourth is None:
        return ERROR
    if not 0x30 <= fourth <= 0x39:
        queue.restore(second, third, fourth)
        return ERROR
    pointer = ((first - 0x81) * 10 + second - 0x30) * 1260 + (third - 0x81) * 10 + fourth - 0x30
    return text(of_ranges(pointer)) or ERROR


STATES = {b"(B": "ASCII", b"(J": "Roman", b"(I": "katakana", b"$@": "lead", b"$B": "lead"}


def iso_2022_jp(queue: Queue) -> Iterator[str]:
    """Yields the characters; `output` is the standard's flag that an escape stands just before."""
    state, output = "ASCII", False
    while (byte := queue.read()) is not None:
        if byte != 0x1B:
            output = False
            yield iso_2022_jp_character(queue, state, byte)
            continue
        escape = [one for one in (queue.read(), queue.read()) if one is not None]
        if bytes(escape) in STATES:
            state = STATES[bytes(escape)]
            if output:
                yield ERROR
            output = True
        else:
            queue.restore(*escape)
            output = False
            yield ERROR


def iso_2022_jp_character(queue: Queue, state: str, byte: int) -> str:
    if state == "lead":
        return iso_2022_jp_pair(queue, byte) if 0x21 <= byte <= 0x7E else ERROR
    if state == "katakana":
        return chr(0xFF61 - 0x21 + byte) if 0x21 <= byte <= 0x5F else ERROR
    if state == "Roman" and byte in (0x5C, 0x7E):
        return "¥" if byte == 0x5C else "‾"
    return ERROR if byte > 0x7F or byte in (0x0E, 0x0F) else chr(byte)


def iso_2022_jp_pair(queue: Queue, lead: int) -> str:
    byte = queue.read()
    if byte == 0x1B:
        queue.restore(byte)
    if byte is None or not 0x21 <= byte <= 0x7E:
        return ERROR
    return text(at(jis0208(), (lead - 0x21) * 94 + byte - 0x21)) or ERROR


def utf_8(queue: Queue) -> Iterator[str]:
    while (byte := queue.read()) is not None:
        if byte < 0x80:
            yield chr(byte)
        elif 0xC2 <= byte <= 0xF4:
            yield utf_8_sequence(queue, byte)
        else:
            yield ERROR


def utf_8_sequence(queue: Queue, first: int) -> str:
    needed = 1 if first < 0xE0 else 2 if first < 0xF0 else 3
    lower = {0xE0: 0xA0, 0xF0: 0x90}.get(first, 0x80)
    upper = {0xED: 0x9F, 0xF4: 0x8F}.get(first, 0xBF)
    point = first & (0x1F, 0x0F, 0x07)[needed - 1]
    for _ in range(needed):
        byte = queue.read()
        if byte is None:
            return ERROR
        if not lower <= byte <= upper:
            queue.restore(byte)
            return ERROR
        lower, upper, point = 0x80, 0xBF, point << 6 | byte & 0x3F
    return chr(point)


def utf_16(queue: Queue, *, big: bool) -> Iterator[str]:
    lead = None
    while (first := queue.read()) is not None:
        second = queue.read()
        if second is None:
            yield ERROR
            return
        unit = first << 8 | second if big else second << 8 | first
        if lead is not None and 0xDC00 <= unit <= 0xDFFF:
            yield chr(0x10000 + ((lead - 0xD800) << 10) + unit - 0xDC00)
            lead = None
        elif lead is not None:
            lead = None
            queue.restore(first, second)
            yield ERROR
        elif 0xD800 <= unit <= 0xDBFF:
            lead = unit
        else:
            yield ERROR if 0xDC00 <= unit <= 0xDFFF else chr(unit)
    if lead is not None:
        yield ERROR


FROM_81 = range(0x81, 0xFF)
SHIFT_JIS_LEADS = (*range(0x81, 0xA0), *range(0xE0, 0xFD))
DECODERS: dict[str, Callable[[Queue], Iterator[str]]] = {
    "big5": lambda queue: pairs(queue, FROM_81, lambda _: ERROR, big5_pair),
    "euc-kr": lambda queue: pairs(queue, FROM_81, lambda _: ERROR, euc_kr_pair),
    "shift_jis": lambda queue: pairs(queue, SHIFT_JIS_LEADS, shift_jis_single, shift_jis_pair),
    "euc-jp": euc_jp,
    "gb18030": gb18030_bytes,
    "iso-2022-jp": iso_2022_jp,
    "utf-8": utf_8,
    "utf-16le": lambda queue: utf_16(queue, big=False),
    "utf-16be": lambda queue: utf_16(queue, big=True),
}
