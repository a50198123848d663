"""`mswitch report` on several networks of the baseline: grouped, compared, pictured, recomputed."""

import json
from dataclasses import replace

import pytest
import recompute_report
import recompute_trade
from synthetic_runs import recipe_in_json, write_run

from pipeline.errors import ArtifactError


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Two seeds of a wider dense network, of the candidate's parameters."""
    root = tmp_path_factory.mktemp("wide")
    model = recipe_in_json(None)["model"] | {"embed": 96}
    return tuple(
        write_run(
            root / f"{seed}", experts=None, seed=seed, gain=0.5, parameters=6_100_000, model=model
        )
        for seed in (0, 1)
    )


@pytest.fixture
def asked(asked):
    return replace(asked, allow_differences=True)


def written(asked):
    asked.execute()
    return json.loads((asked.out / "report.json").read_text())


def numbers(value, renamed):
    """Returns a part of a report with the name of its first network as in a report of one."""
    return json.loads(json.dumps(value).replace(*renamed))


def test_each_network_is_compared_and_the_first_as_if_alone(asked, wide, tmp_path, capsys):
    alone = written(asked)
    first, second = asked.baseline
    mixed = replace(asked, baseline=(first, wide[0], second, wide[1]), out=tmp_path / "two")
    found = written(mixed)
    renamed = ("mT5 of width 64", "mT5")
    for part in ("summary", "runs", "scripts", "nulls", "languages", "curves", "verdict"):
        assert numbers(found[part], renamed) == alone[part]
    assert alone["trade"]["opponents"] == []
    assert alone["sentence"].startswith("At equal FLOPs per token and width: Switch is better")
    (other,) = found["trade"]["opponents"]
    assert other["name"] == "mT5 of width 96"
    assert other["equal"] == ["FLOPs per token", "parameters"]
    assert [one["field"] for one in other["differences"]] == ["model.embed"]
    assert 0 < other["summary"]["mean_gain"] < found["summary"]["mean_gain"]
    losses = {
        name: [p["losses"]["all"] for p in found["trade"]["points"] if p["network"] == name]
        for name in ("mT5 of width 64", "mT5 of width 96", "Switch")
    }
    for name, gain in (("mT5 of width 64", found), ("mT5 of width 96", other)):
        difference = sum(losses[name]) / 2 - sum(losses["Switch"]) / 2
        assert difference == pytest.approx(gain["summary"]["mean_gain"], abs=1e-9)
    assert "At equal FLOPs per token and parameters: mean gain over mT5 of width 96 +" in (
        " ".join(capsys.readouterr().out.split())
    )
    text = (mixed.out / "report.md").read_text()
    assert "| mT5 of width 96 | FLOPs per token, parameters | +" in text
    again = replace(mixed, baseline=(first, wide[1], wide[0], second), out=tmp_path / "again")
    one, two = found["trade"], written(again)["trade"]
    assert (one["points"], one["frontiers"]) == (two["points"], two["frontiers"])
    words = ["--baseline", *mixed.baseline, "--candidate", *mixed.candidate]
    recompute_report.main([str(mixed.out), *map(str, words)])
    assert "6 points, 42 frontiers and 1 further networks equal to 1e-9" in capsys.readouterr().out
    found["trade"]["points"][0]["device_seconds"] *= 1.001
    with pytest.raises(SystemExit, match="device_seconds"):
        recompute_trade.compare_trade(found, [*mixed.baseline], [*mixed.candidate])


def test_networks_of_the_candidate_are_points_and_differ_only_where_it_is_allowed(
    asked, wide, tmp_path
):
    model = recipe_in_json(8)["model"] | {"embed": 96}
    more = write_run(tmp_path / "more", experts=8, model=model)
    both = replace(asked, candidate=(*asked.candidate, more), out=tmp_path / "out")
    with pytest.raises(ArtifactError, match=r"model\.embed.*--allow-differences"):
        replace(both, allow_differences=False).execute()
    with pytest.raises(ArtifactError, match=r"model\.embed.*--allow-differences"):
        replace(asked, baseline=(*asked.baseline, *wide), allow_differences=False).execute()
    trade = written(both)["trade"]
    assert [one["name"] for one in trade["networks"]] == [
        "mT5",
        "Switch of width 64",
        "Switch of width 96",
    ]
    assert {one["network"] for one in trade["points"] if one["side"] == "Switch"} == {
        "Switch of width 64",
        "Switch of width 96",
    }


def test_a_run_without_a_log_has_no_time_and_the_report_says_so(asked, tmp_path):
    run = write_run(tmp_path / "bare", experts=None)
    (run / "metrics.jsonl").unlink()
    found = written(replace(asked, baseline=(run,)))
    network, *_ = found["trade"]["networks"]
    assert network["step_device_seconds"] is None
    assert "time per step" not in found["trade"]["equal"]
    lines = [one for one in found["trade"]["frontiers"] if one["cost"] == "device_seconds"]
    assert {bool(one["points"]) for one in lines if one["side"] == "mT5"} == {False}
    recompute_trade.compare_trade(found, [run], [*asked.candidate])
    said = (asked.out / "report.md").read_text()
    assert "Not recorded, so without points: device-seconds of mT5." in said
