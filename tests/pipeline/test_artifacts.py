""" """

import json

import pytest

from data.errors import DataError
from data.files.atomic import temporary_name
from data.files.digests import digest_of_value, digests_of_files, names_below
from pipeline import artifacts
from pipeline.artifacts import SCHEMA_VERSION, Claim, claim, finish, json_differences, read_manifest
from pipeline.errors import ArtifactError
from pipeline.stage import output_lock


class Installed:
    def __init__(self, direct_url: dict[str, object] | None):
        self.direct_url = direct_url

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"  # PEP 610
        return None if self.direct_url is None else json.dumps(self.direct_url)


def test_an_installed_wheel_is_named_by_its_digest(monkeypatch, tmp_path):
    monkeypatch.setattr(artifacts, "CHECKOUT", tmp_path)

    def code(direct_url: dict[str, object] | None) -> str | None:
        monkeypatch.setattr(artifacts.metadata, "distribution", lambda name: Installed(direct_url))
        return artifacts.source_commit()

    wheel = {"url": "file:///a.whl", "archive_info": {"hashes": {"sha256": "ab12"}}}
    assert code(wheel) == "wheel sha256:ab12"
    assert code({"url": "file:///checkout", "dir_info": {"editable": True}}) is None
    assert code(None) is None  # from an index, whose version identifies it


def test_a_directory_goes_from_fresh_to_finished(tmp_path):
    out = tmp_path / "new" / "out"
    assert claim(out, "clean", {"rules": "mc4"}, {"files": "1"}) is Claim.FRESH
    assert claim(out, "clean", {"rules": "mc4"}, {"files": "1"}) is Claim.UNFINISHED
    with pytest.raises(
        ArtifactError, match="holds unfinished clean output; run clean to its end first"
    ):
        read_manifest(out, "clean", dict)
    finish(out, "clean", {"rules": "mc4"}, {"files": "1"}, {"kept": 3})
    assert claim(out, "clean", {"rules": "mc4"}, {"files": "1"}) is Claim.FINISHED
    manifest = read_manifest(out, "clean", dict)
    assert manifest["kept"] == 3
    assert manifest["schema_version"] == SCHEMA_VERSION
    assert not (out / "unfinished.json").exists()


def test_a_users_own_unfinished_files_are_content_and_stay(tmp_path):
    (tmp_path / "notes.tmp").write_text("mine")
    (tmp_path / f"{'0' * 32}.tmp").mkdir()
    with output_lock(tmp_path, "clean"), pytest.raises(ArtifactError, match="already holds some"):
        claim(tmp_path, "clean", {}, {})
    assert (tmp_path / "notes.tmp").read_text() == "mine"


def test_what_a_kill_leaves_does_not_stop_the_next_start(tmp_path):
    (tmp_path / f"manifest.json.{temporary_name()}").touch()  # in a claim that was never written
    assert claim(tmp_path, "clean", {}, {}) is Claim.FRESH
    left = (tmp_path / "unfinished.json").read_bytes()
    finish(tmp_path, "clean", {}, {}, {})
    (tmp_path / "unfinished.json").write_bytes(left)  # between manifest and end
    assert claim(tmp_path, "clean", {}, {}) is Claim.FINISHED
    assert not (tmp_path / "unfinished.json").exists()


def test_an_output_of_another_schema_is_refused(tmp_path):
    claim(tmp_path, "clean", {}, {})
    finish(tmp_path, "clean", {}, {}, {})
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 1}))
    for read in (
        lambda: claim(tmp_path, "clean", {}, {}),
        lambda: read_manifest(tmp_path, "clean", dict),
    ):
        with pytest.raises(
            ArtifactError, match=f"of schema 1, and this version has schema {SCHEMA_VERSION}"
        ):
            read()


@pytest.mark.parametrize("done", [True, False])
def test_other_settings_are_refused_with_the_difference(tmp_path, done):
    claim(tmp_path / "out", "clean", {"rules": "mc4", "languages": ["sw"]}, {})
    if done:
        finish(tmp_path / "out", "clean", {"rules": "mc4", "languages": ["sw"]}, {}, {})
    with pytest.raises(ArtifactError, match=r"settings \(rules: there mc4, asked demo\)"):
        claim(tmp_path / "out", "clean", {"rules": "demo", "languages": ["sw"]}, {})
    holds = f"which holds {'' if done else 'unfinished '}clean output; name another"
    with pytest.raises(ArtifactError, match=holds):
        claim(tmp_path / "out", "tokenize", {"rules": "mc4", "languages": ["sw"]}, {})


def test_other_inputs_are_refused_by_their_names(tmp_path):
    """The words of a command may be the same when the files that they name have changed."""
    digests = [digest_of_value(number) for number in range(2)]
    claim(tmp_path / "out", "clean", {"rules": "mc4"}, {"files": digests[0], "teacher": "seed 0"})
    says = r"was made from other inputs \(files: another, or changed since; teacher: there seed 0"
    with pytest.raises(ArtifactError, match=says):
        claim(tmp_path / "out", "clean", {"rules": "mc4"}, {"files": digests[1]})
    says = r"other inputs \(files: gone; list a: new; teacher: there seed 0, asked not set\)"
    with pytest.raises(ArtifactError, match=says):
        claim(tmp_path / "out", "clean", {"rules": "mc4"}, {"list a": digests[0]})
    says = r"with other settings \(rules: there mc4, asked demo\) and from other inputs \(teacher: "
    with pytest.raises(ArtifactError, match=says):
        claim(tmp_path / "out", "clean", {"rules": "demo"}, {"files": digests[0]})


def test_another_recipe_is_named_before_the_settings_that_differ(tmp_path):
    first, second = ({"alpha": n, "name": name, "zeta": n} for n, name in enumerate(("mt5", "sw")))
    claim(tmp_path / "out", "pretrain", first, {})
    with pytest.raises(ArtifactError) as refused:
        claim(tmp_path / "out", "pretrain", second, {})
    sentence = str(refused.value)
    assert sentence.index("recipe mt5, and sw was") < sentence.index("name another directory")
    assert sentence.index("name another directory") < sentence.index("alpha: there 0, asked 1")


def test_foreign_content_is_not_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ArtifactError, match="already holds something"):
        claim(tmp_path, "clean", {}, {})
    with pytest.raises(ArtifactError, match="already holds something"):
        claim(tmp_path / "thesis.txt", "clean", {}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_reading_what_is_not_there(tmp_path):
    with pytest.raises(ArtifactError, match="does not exist; run tokenize to its end first"):
        read_manifest(tmp_path / "none", "tokenize", dict)
    with pytest.raises(ArtifactError, match=r"no manifest\.json"):
        read_manifest(tmp_path, "tokenize", dict)
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match="file, which is a file; name its directory"):
        read_manifest(tmp_path / "file", "tokenize", dict)
    (tmp_path / "manifest.json").write_text("{ not json")
    with pytest.raises(DataError, match="should hold JSON"):
        read_manifest(tmp_path, "tokenize", dict)


def test_differences_are_named_by_their_path():
    found = {"a": {"b": 1, "c": [1]}, "d": 2}
    assert json_differences(found, {"a": {"b": 2, "c": [1]}, "e": None}) == [
        "a.b: there 1, asked 2",
        "d: there 2, asked not set",
    ]
    assert json_differences(found, found) == []


def test_files_are_known_by_place_and_size():
    two = digests_of_files([("/here/a", 3), ("/here/in/b", 4)])
    assert list(two) == ["file a", "file in/b"]
    changed = digests_of_files([("/here/a", 3), ("/here/in/b", 5)])
    assert [name for name in two if two[name] != changed[name]] == ["file in/b"]
    assert list(digests_of_files([("s3://there/a", 3)])) == ["file a"]
    assert list(digests_of_files([(f"/here/{number}", 1) for number in range(1_001)])) == ["files"]


def test_a_name_is_that_of_the_place_however_it_is_spelled(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real/a.txt").symlink_to(tmp_path / "b.bin")  # the file keeps its own name
    monkeypatch.chdir(tmp_path)
    spellings = ["real/a.txt", "./link//a.txt", str(tmp_path / "real/../link/a.txt")]
    assert names_below(spellings) == ["a.txt"] * 3
    assert names_below([]) == []


def test_a_stage_that_no_command_has_is_one_sentence(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"stage": "[" * 100_000}))
    with pytest.raises(DataError) as told:
        read_manifest(tmp_path, "clean", dict)
    assert len(str(told.value)) < 500
