import pytest

from data.language_id.page_characters import SCRIPTS
from data.language_id.written_in import ALSO, alone_in, is_usually_written_in, is_written_in
from data.languages import all_languages, find

MIXED_SCRIPTS = ("Jpan", "Kore", "Hans")  # what Han, Kana and Hangul make up


def test_every_language_is_written_in_its_usual_script():
    known = {*SCRIPTS, *MIXED_SCRIPTS}
    for one in all_languages():
        assert one.script in known
        assert is_written_in(one.code, (one.script,))
        assert is_usually_written_in(one.code, (one.script,))


def test_other_scripts_are_of_known_languages_and_not_the_usual_one():
    for code, scripts in ALSO.items():
        language = find(code)
        assert language is not None
        assert language.code == code
        assert language.script not in scripts
        assert set(scripts) <= set(SCRIPTS)


@pytest.mark.parametrize("code, script", [("sr", "Latn"), ("uz", "Cyrl"), ("jv", "Java")])
def test_languages_of_several_scripts(code, script):
    assert is_written_in(code, (script,))
    assert not is_usually_written_in(code, (script,))


def test_a_language_is_not_written_in_a_script_of_others():
    assert not is_written_in("hi", ("Hans",))
    assert not is_written_in("sw", ("Arab",))
    assert is_written_in("tt", ("Arab",))
    assert is_written_in("sw", ())


def test_scripts_of_one_language():
    found = [alone_in((one,)) for one in ("Thai", "Java", "Jpan", "Latn", "Zyyy")]
    assert found == ["th", "jv", "ja", None, None]
    assert alone_in(("Thai", "Latn")) is None
    assert alone_in(()) is None


def test_one_of_the_scripts_is_enough():
    assert is_written_in("ru", ("Latn", "Cyrl"))
    assert is_usually_written_in("ru", ("Latn", "Cyrl"))
