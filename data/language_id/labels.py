"""Maps the labels of fastText language identifiers to mC4's codes.

GlotLID and NLLB have labels such as `__label__swh_Latn`, lid.176 such as `__label__sw`. Languages
are ISO 639-3 or 639-1 and finer than mC4's: `arz` is Egyptian Arabic, `cmn` Mandarin. A label is
looked up as it is, then as its macrolanguage (ISO 639-3's table, from `iso639-lang`), the level of
CLD3. A language in Latin script has its own code where mC4 has one for it.

    swh_Latn, sw -> sw    arz_Arab -> ar    heb_Hebr -> iw    hin_Latn -> hi-Latn    srp_Latn -> sr
    hrv_Latn -> hr, which is not among mC4's codes        und_Mong -> und    zxx_Zxxx -> zxx
"""

import functools

from iso639 import Lang
from iso639.exceptions import DeprecatedLanguageValue, InvalidLanguageValue

from data import languages
from data.languages import NO_LANGUAGE, UNDETERMINED

PREFIX = "__label__"
UNKNOWN = frozenset({"und", "mul", "mis"})
OF_LID_176 = {"als": "gsw"}  # Wikipedia's code for Alemannic is ISO's for Tosk Albanian


@functools.cache
def mc4_code(label: str) -> str:
    """Returns mC4's code for a label, the language's own code if mC4 has none, "und" or "zxx"."""
    name, _, script = label.removeprefix(PREFIX).partition("_")
    name = name if script else OF_LID_176.get(name, name)
    if name == NO_LANGUAGE:
        return NO_LANGUAGE
    code = UNDETERMINED if name in UNKNOWN else _code(name)
    variant = languages.find(f"{code}-{script}")
    return code if variant is None else variant.code


def _code(name: str) -> str:
    found = languages.find(name)
    if found is not None:
        return found.code
    try:
        language = Lang(name)
        roof = language.macro()
    except (InvalidLanguageValue, DeprecatedLanguageValue):
        return UNDETERMINED
    for known in (language, roof):
        found = languages.find(known.pt3) if known else None
        if found is not None:
            return found.code
    return language.pt1 or language.pt3
