"""An output directory is claimed, finished and read back; what differs is named."""

import json
from types import SimpleNamespace

import pytest

from data.errors import DataError
from data.files.atomic import temporary_name
from data.files.digests import digest_of_value, digests_of_files, names_below
from pipeline import artifacts
from pipeline.artifacts import SCHEMA_VERSION, Claim, claim, finish, json_differences, read_manifest
from pipeline.errors import ArtifactError
from pipeline.stage import output_lock

DIGESTS = [digest_of_value(number) for number in range(2)]
SETTINGS = {"rules": "mc4", "name": "mt5"}
INPUTS = {"files": DIGESTS[0], "teacher": "seed 0"}


@pytest.mark.parametrize(
    ("direct_url", "code"),  # PEP 610
    [
        ({"archive_info": {"hashes": {"sha256": "ab12"}}}, "wheel sha256:ab12"),
        ({"url": "file:///checkout", "dir_info": {"editable": True}}, None),
        (None, None),  # from an index, whose version identifies it
    ],
)
def test_an_installed_wheel_is_named_by_its_digest(monkeypatch, tmp_path, direct_url, code):
    files = {"direct_url.json": direct_url and json.dumps(direct_url)}
    installed = SimpleNamespace(read_text=files.__getitem__)
    monkeypatch.setattr(artifacts, "CHECKOUT", tmp_path)
    monkeypatch.setattr(artifacts.metadata, "distribution", lambda _: installed)
    assert artifacts.source_commit() == code


def test_a_directory_goes_from_fresh_to_finished_whatever_a_kill_leaves(tmp_path):
    asked = tmp_path, "clean", SETTINGS, INPUTS
    (tmp_path / f"manifest.json.{temporary_name()}").touch()  # in a claim that was never written
    assert [claim(*asked), claim(*asked)] == [Claim.FRESH, Claim.UNFINISHED]
    with pytest.raises(ArtifactError, match="holds unfinished clean output; run clean to its end"):
        read_manifest(tmp_path, "clean", dict)
    of_claim = tmp_path / "unfinished.json"
    left = of_claim.read_bytes()
    finish(*asked, {"kept": 3})
    assert not of_claim.exists()
    of_claim.write_bytes(left)  # a kill between manifest and end
    assert claim(*asked) is Claim.FINISHED
    assert not of_claim.exists()
    manifest = read_manifest(tmp_path, "clean", dict)
    assert (manifest["kept"], manifest["schema_version"]) == (3, SCHEMA_VERSION)


def test_foreign_content_is_not_touched(tmp_path):
    (tmp_path / "notes.tmp").write_text("years of work")
    for place in (tmp_path, tmp_path / "notes.tmp"):
        with pytest.raises(ArtifactError, match="already holds something"):
            claim(place, "clean", {}, {})
    (tmp_path / f"{'0' * 32}.tmp").mkdir()
    with output_lock(tmp_path, "clean"), pytest.raises(ArtifactError, match="already holds some"):
        claim(tmp_path, "clean", {}, {})
    assert (tmp_path / "notes.tmp").read_text() == "years of work"


def test_an_output_of_another_schema_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(artifacts, "SCHEMA_VERSION", 1)
    finish(tmp_path, "clean", {}, {}, {})
    monkeypatch.undo()
    message = f"of schema 1, and this version has schema {SCHEMA_VERSION}"
    with pytest.raises(ArtifactError, match=message):
        claim(tmp_path, "clean", {}, {})
    with pytest.raises(ArtifactError, match=message):
        read_manifest(tmp_path, "clean", dict)


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize(
    ("stage", "settings", "inputs", "said"),
    [
        ("tokenize", {}, INPUTS, r"which holds (unfinished )?clean output; name another"),
        ("clean", {"rules": "demo"}, INPUTS, r"other settings \(rules: there mc4, asked demo\)"),
        (
            "clean",
            {},  # the words of a command may be the same when the files that they name have changed
            {"files": DIGESTS[1]},
            r"was made from other inputs \(files: another, or changed since; teacher: there seed 0",
        ),
        ("clean", {}, {"list a": DIGESTS[0]}, r"\(files: gone; list a: new; teacher: .*not set\)"),
        ("clean", {"rules": "demo"}, {}, r"settings \(rules.* and from other inputs \(files: gone"),
        (  # another recipe is named before the settings that differ
            "clean",
            {"rules": "demo", "name": "sw"},
            INPUTS,
            "recipe mt5, and sw was .*name another directory.*rules: there mc4, asked demo",
        ),
    ],
)
def test_another_command_is_refused_with_the_difference(
    tmp_path, done, stage, settings, inputs, said
):
    claim(tmp_path, "clean", SETTINGS, INPUTS)
    if done:
        finish(tmp_path, "clean", SETTINGS, INPUTS, {})
    with pytest.raises(ArtifactError, match=said) as refused:
        claim(tmp_path, stage, SETTINGS | settings, inputs)
    if stage == "tokenize":
        assert ("unfinished" in str(refused.value)) != done


def test_reading_what_is_not_there(tmp_path):
    (tmp_path / "file").touch()
    for name, message in (
        ("none", "does not exist; run tokenize to its end first"),
        ("", r"no manifest\.json"),
        ("file", "file, which is a file; name its directory"),
    ):
        with pytest.raises(ArtifactError, match=message):
            read_manifest(tmp_path / name, "tokenize", dict)


@pytest.mark.parametrize("content", ["{ not json", json.dumps({"stage": "[" * 100_000})])
def test_a_damaged_manifest_is_one_bounded_sentence(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(DataError, match=r"manifest\.json should ") as told:
        read_manifest(tmp_path, "tokenize", dict)
    assert len(str(told.value)) < 500


def test_differences_are_named_by_their_path():
    there = {"a": {"b": 1, "c": [1]}, "d": 2}
    assert json_differences(there, {"a": {"b": 2, "c": [1]}, "e": None}) == [
        "a.b: there 1, asked 2",
        "d: there 2, asked not set",
    ]
    assert json_differences(there, there) == []


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
