"""Control characters in text of others, escaped before a terminal or a document shows it.

A terminal executes them: ESC and the C1 controls recolour, retitle and overwrite. A line break
forges a line of its own, and Unicode's bidirectional controls reorder what stands beside them.
Lone surrogates (bytes of a file name that are not UTF-8) cannot be written at all.
"""

import regex

CONTROLS = regex.compile(r"[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Bidi_Control}]")


def escape_controls(text: str) -> str:
    r"""Returns a text on one line, with control characters as Python writes them, such as `\x1b`.

    Joiners that Persian and Indic words need are kept, as are spaces of every width.
    """
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
