"""The languages of mC4: 107 codes, which are 101 languages and 6 Latin-script variants.

Everything that differs by language is a column of `languages.tsv`, never an `if`. Counts of pages
and tokens and mT5's sampling shares are from Table 6 of the mT5 paper. Codes are CLD3's, as in mC4
(`iw`, `no`, `fil`, `jv`); newer ones (`he`, `nb`, `tl`, `jw`, ...) are aliases.

**Declarations.** Pages declare their language in other ways too: by a tag of BCP 47 (`zh-CN`), a
locale (`pt_BR`), a code of ISO 639 that is finer than mC4's, or an English name. Of a tag the first
subtag is the language, and one of four letters its script (RFC 5646, section 2.1). A language that
mC4 lacks counts as its macrolanguage (ISO 639-3's table, from `iso639-lang`), the level of CLD3.

    zh-CN, zh_TW, yue-Hant-HK, Chinese -> zh    hi-Latn-IN -> hi-Latn    sr-Latn -> sr
"""

import csv
import difflib
import functools
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources

from data.errors import DataError, escape_controls, join_names

UNDETERMINED = "und"  # mC4's code for pages whose language is uncertain
NO_LANGUAGE = "zxx"  # ISO 639's code for what is not a language: digests, tables, broken charsets
LONGEST_DECLARATION = 64  # characters; RFC 5646, section 4.4.1, has 35 for a tag


@dataclass(frozen=True, kw_only=True)
class Language:
    """One row of the table.

    Attributes:
        code: mC4's code, for example `sw` or `ru-Latn`.
        name: English name.
        script: ISO 15924 code of the usual script.
        family: genealogical branch, for grouping in the report.
        iso639_3: three-letter code as web archives declare it; None for script variants.
        aliases: other codes that mean this language or one of several that mC4 counts as it, the
            commonest first.
        pages_millions: number of pages in mC4, in millions.
        tokens_billions: number of mT5 tokens in mC4, in billions.
        mt5_percent: share of mT5's training examples, in percent.
    """

    code: str
    name: str
    script: str
    family: str
    iso639_3: str | None
    aliases: tuple[str, ...]
    pages_millions: float
    tokens_billions: float
    mt5_percent: float

    @property
    def names(self) -> tuple[str, ...]:
        """Its codes and aliases, mC4's code first."""
        return tuple(filter(None, (self.code, self.iso639_3, *self.aliases)))

    @property
    def is_script_variant(self) -> bool:
        """Whether this is `ru-Latn` or one of the five others, which are not separate languages."""
        return self.code.endswith("-Latn")


@functools.cache
def all_languages() -> tuple[Language, ...]:
    """Returns the 107 rows, most pages first."""
    return tuple(
        Language(
            code=row["code"],
            name=row["name"],
            script=row["script"],
            family=row["family"],
            iso639_3=None if row["iso639_3"] == "-" else row["iso639_3"],
            aliases=() if row["aliases"] == "-" else tuple(row["aliases"].split(",")),
            pages_millions=float(row["pages_millions"]),
            tokens_billions=float(row["tokens_billions"]),
            mt5_percent=float(row["mt5_percent"]),
        )
        for row in table_rows("data", "languages.tsv")
    )


def table_rows(package: str, name: str) -> list[dict[str, str]]:
    """Returns the rows of a tab-separated table in a package."""
    text = resources.files(package).joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))


def find(name: str) -> Language | None:
    """Returns the language with this code, alias or three-letter code, or None."""
    return _by_code().get(name.strip().lower())


def get(name: str) -> Language:
    """Returns the language with this code, alias or English name.

    Raises:
        DataError: if there is no such language; the message offers near matches.
    """
    language = find(name) or _by_english_name().get(name.strip().lower())
    if language is None:
        known = [*_by_code(), *_by_english_name()]
        near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
        offer = f"did you mean {', '.join(near)}?" if near else "data/languages.tsv lists them."
        raise DataError(f"Language {join_names([name])!r} is not one of mC4's 107 codes; {offer}")
    return language


@functools.cache
def _by_english_name() -> dict[str, Language]:
    return {language.name.lower(): language for language in all_languages()}


@functools.cache
def _by_code() -> dict[str, Language]:
    return {code.lower(): language for language in all_languages() for code in language.names}


def codes(names: Iterable[str] | None) -> tuple[str, ...]:
    """Returns the mC4 codes of names, in order and without repeats; all 107 for None.

    Args:
        names: codes, aliases or English names; one string may hold several, with commas between.

    Raises:
        DataError: if there is no such language, or no name at all.
    """
    if names is None:
        return tuple(language.code for language in all_languages())
    languages = [get(part) for name in names for part in name.split(",") if part.strip()]
    if not languages:
        raise DataError("No language was named; write codes such as sw, or leave --languages out.")
    return tuple(dict.fromkeys(language.code for language in languages))


def iso639_3_codes(names: Iterable[str]) -> list[str]:
    """Returns the sorted ISO 639-3 codes of names that are known, of `hi-Latn` that of Hindi."""
    languages = (find(name.partition("-")[0]) for name in names)
    return sorted({known.iso639_3 for known in languages if known and known.iso639_3})


def declared_language(header: str | None, script: str = "") -> str | None:
    """Returns the code of a page's declared language.

    Args:
        header: a `WARC-Identified-Content-Language` value such as `swa,eng` (the first one
            counts), a `lang` field such as `sw` or `zh-CN`, or None.
        script: its script, by which Hindi in Latin script is `hi-Latn`; "" if it is not declared.
    """
    name = _first_of(header)
    if not name or max(len(name), len(script)) > LONGEST_DECLARATION:
        return None
    return _code_of_declaration(name, script)


def unlisted_declaration(header: str | None) -> str:
    """Returns a declared language that is not a code or alias of the table, as text; else ""."""
    name = _first_of(header)
    return "" if find(name) else escape_controls(name[:LONGEST_DECLARATION])


def _first_of(header: str | None) -> str:
    return (header or "").partition(",")[0].strip()


@functools.lru_cache(maxsize=4096)  # of pages few, but strangers may write any
def _code_of_declaration(name: str, script: str) -> str | None:
    language = find(name) or _by_english_name().get(name.lower())
    if language is None:
        first, *others = re.split("[-_]", name)
        before_extensions = itertools.takewhile(lambda subtag: len(subtag) > 1, others)
        scripts = (subtag for subtag in before_extensions if re.fullmatch("[A-Za-z]{4}", subtag))
        language, script = find(code_of_iso_639(first) or ""), next(scripts, script)
    return language and (find(f"{language.code}-{script}") or language).code


@functools.lru_cache(maxsize=4096)
def code_of_iso_639(name: str) -> str | None:
    """Returns mC4's code for a code of ISO 639, or for its macrolanguage.

    Its own, preferably of two letters, if mC4 has neither; None if there is no such code.
    """
    if (known := find(name)) is not None:
        return known.code
    # Loaded here: it takes a tenth of a second, and most codes are the table's.
    from iso639 import Lang
    from iso639.exceptions import DeprecatedLanguageValue, InvalidLanguageValue

    try:
        language = Lang(name.lower())
        wider = language.macro()
    except (InvalidLanguageValue, DeprecatedLanguageValue):
        return None
    for candidate in filter(None, (language, wider)):
        if (known := find(candidate.pt3)) is not None:
            return known.code
    return language.pt1 or language.pt3
