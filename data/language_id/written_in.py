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
def is_usually_written_in(code: str, scripts: tuple[str, ...]) -> bool:
    """Returns whether a script is a language's usual one; any is, where nothing is known."""
    language = find(code)
    return language is None or not scripts or language.script in scripts


@functools.cache
def is_written_in(code: str, scripts: tuple[str, ...]) -> bool:
    """Returns whether a language may be written in one of the scripts, or if there are none."""
    return is_usually_written_in(code, scripts) or not {*ALSO.get(code, ())}.isdisjoint(scripts)


@functools.cache
def alone_in(scripts: tuple[str, ...]) -> str | None:
    """Returns the language of mC4 that is the only one written in the scripts, or None."""
    found = [one.code for one in all_languages() if is_written_in(one.code, scripts)]
    return found[0] if len(found) == 1 else None
