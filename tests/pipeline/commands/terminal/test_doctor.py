import json
import sys

import pytest
from packaging.requirements import Requirement

from pipeline import cli
from pipeline import machine as doctor
from pipeline.machine import Finding
from pipeline.recipe import fits


def stops(one: Finding) -> bool:
    """Returns whether a finding would stop a run; each such finding has a remedy."""
    assert one.remedy or not one.stops
    return one.stops


def test_a_python_without_wheels_two_plugins_and_a_loaded_tensorflow_stop_a_run():
    versions = {(3, 10, 9): True, (3, 11, 0): False, (3, 13, 7): False, (3, 14, 0): True}
    found = {version: stops(doctor.python_version(version)) for version in versions}
    assert found == versions
    assert not stops(doctor.plugins(["xla_cuda12"]))
    assert stops(doctor.plugins(["xla_cuda12", "xla_cuda13"]))
    assert not stops(doctor.tensorflow({"json": json}))
    assert stops(doctor.tensorflow({"tensorflow": None}))


@pytest.mark.parametrize(
    ("required", "stopped"),
    [(["pytest>=1"], False), (["pytest<1"], True), (["no-such-package"], True), ([], False)],
)
def test_requirements_that_are_not_met_stop_a_run_and_extras_do_not(required, stopped):
    wanted = [Requirement(one) for one in required]
    assert stops(doctor.unmet_requirements(wanted)) == stopped
    found = doctor.extra("gcs", wanted)
    assert not found.stops
    assert ("make install EXTRAS=demo,dev,gcs" in found.remedy) == stopped


def test_requirements_are_those_of_the_extra():
    required = [Requirement(one) for one in ("a", "b; extra == 's3'", "c; python_version < '3'")]
    assert [one.name for one in doctor.of_extra(required, "")] == ["a"]
    assert [one.name for one in doctor.of_extra(required, "s3")] == ["b"]


def test_what_a_process_of_its_own_meets_is_said_in_its_last_line():
    assert not stops(doctor.loads("pass"))
    found = doctor.loads("raise ValueError('of this kind')")
    assert stops(found)
    assert found.found == "do not load: ValueError: of this kind"
    assert stops(doctor.devices("import os; os._exit(3)"))
    killed = doctor.devices("import os, sys; print('a log line', file=sys.stderr); os.abort()")
    assert killed.found == "JAX does not start: ended by SIGABRT"
    assert doctor.devices('print(\'x\\n[["TPU", 16000000000], ["TPU", 16000000000]]\')').found == (
        "2 x TPU with 16 GB"
    )


def test_a_place_that_cannot_be_written_stops_a_run(tmp_path):
    (tmp_path / "file").write_text("")
    assert not stops(doctor.room(tmp_path / "new/run"))
    assert stops(doctor.room(tmp_path / "file/run"))
    assert stops(doctor.store("nowhere://bucket/corpus"))
    assert stops(doctor.store("s3:/bucket"))


def test_a_narrow_terminal_without_utf_8_is_noted():
    assert [one.mark for one in doctor.terminal("utf-8", 80)] == ["ok", "ok"]
    assert [one.mark for one in doctor.terminal("ANSI_X3.4-1968", 40)] == ["note", "note"]


@pytest.mark.parametrize("faults", [[], [Finding("devices", "none", "buy one", stops=True)]])
def test_the_status_is_1_if_a_run_would_be_stopped(monkeypatch, capsys, faults):
    monkeypatch.setattr(doctor, "installation", lambda: [Finding("Python", sys.version)])
    monkeypatch.setattr(doctor, "machine", lambda out, stores: [Finding(str(out), stores), *faults])
    for more in ([], ["--json"]):
        words = ["doctor", "--out", "runs", "--store", "s3://a", "s3://b", *more]
        if faults:
            with pytest.raises(SystemExit) as stopped:
                cli.run(words)
            assert stopped.value.code == 1
        else:
            assert cli.run(words) == 0
    *printed, last = capsys.readouterr().out.split("[\n", 1)
    assert [one["subject"] for one in json.loads("[\n" + last)][:2] == ["Python", "runs"]
    said = printed[0].splitlines()[-1]
    assert said == ("A run would be stopped by: devices." if faults else "Nothing stops a run.")


@pytest.mark.parametrize(("limit", "usable"), [("max", None), ("4000000", 4_000_000)])
def test_a_container_may_use_no_more_than_its_limit(tmp_path, monkeypatch, limit, usable):
    monkeypatch.setattr(fits, "CGROUP", tmp_path / "memory.max")
    fits.CGROUP.write_text(f"{limit}\n")
    whole, _ = fits.machine_bytes()
    assert fits.usable_bytes() == (usable or whole)
    assert ("container may use 4 MB" in doctor.memory().found) == (usable is not None)
