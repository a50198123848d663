"""The scripts in which each language is written.

The usual script is `languages.tsv`'s; others in use are CLDR's (its data on languages), for
languages of mC4. A language that mC4 does not have may be written in any script.
"""

import functools

from data.languages import all_languages, find

ALSO = {
    "az": ("Cyrl", "Arab"),
    "ha": ("Arab",),
    "hmn": ("Hmng", "Hmnp", "Plrd"),
    "jv": ("Java", "Arab"),
    "kk": ("Latn", "Arab"),
    "ku": ("Arab", "Cyrl"),
    "ky": ("Latn", "Arab"),
    "mn": ("Mong",),
    "ms": ("Arab",),
    "pa": ("Arab",),
    "ro": ("Cyrl",),
    "sd": ("Deva",),
    "so": ("Arab",),
    "sr": ("Latn",),
    "su": ("Sund",),
    "tg": ("Latn", "Arab"),
    "uz": ("Cyrl", "Arab"),
}


@functools.cache
def is_usually_written_in(code: str, script: str | None) -> bool:
    """Returns whether a script is a language's usual one; any is, where nothing is known."""
    language = find(code)
    return language is None or script is None or script == language.script


@functools.cache
def is_written_in(code: str, script: str | None) -> bool:
    """Returns whether a language may be written in a script; any may, of a page without letters."""
    return is_usually_written_in(code, script) or script in ALSO.get(code, ())


@functools.cache
def alone_in(script: str | None) -> str | None:
    """Returns the language of mC4 that is the only one with a script, or None."""
    found = [one.code for one in all_languages() if is_written_in(one.code, script)]
    return found[0] if script is not None and len(found) == 1 else None
