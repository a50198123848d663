"""`mswitch report` on two synthetic runs: 101 languages, twelve evaluations, some not reached."""

import copy
import csv
import itertools
import json
import re
import shutil
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import recompute_contents
import recompute_languages
import recompute_nulls
import recompute_report
import recompute_sides
import vl_convert
from small_blocks import VOCABULARY
from synthetic_runs import HOSTILE, write_run

from pipeline import artifacts
from pipeline.commands.report import Report
from pipeline.errors import ArtifactError
from pipeline.reporting import report


@pytest.fixture
def without_page(monkeypatch):
    """Leaves out the HTML page, whose charts take two thirds of a report's time."""
    monkeypatch.setattr("eval.report.html.to_html", lambda _: "")


@pytest.fixture(scope="module")
def read(finished):
    """The report as it was written, and what its runs hold."""
    runs = ([finished / f"{kind}{seed}" for seed in (0, 1)] for kind in ("dense", "switch"))
    sides = [recompute_sides.side(of) for of in runs]
    return json.loads((finished / "out/report.json").read_text()), sides


def test_losses_per_language_lie_beside_the_report_as_csv(finished):
    out = finished / "out"
    found = json.loads((out / "report.json").read_text())["languages"]
    with (out / "languages.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["code"]: row for row in csv.DictReader(file)}
    assert rows.keys() == found.keys()
    names = "loss_nats_baseline", "loss_nats_candidate", "gain_nats"
    assert all(
        float(row[name]) == found[code][name] for code, row in rows.items() for name in names
    )
    assert "languages.csv" in json.loads((out / "manifest.json").read_text())["files"]


def test_the_languages_and_their_summary_are_recomputed_from_the_evaluation_files(read):
    """Without code of eval/."""
    report, sides = read
    table = recompute_languages.compare_languages(report["languages"], sides, recompute_sides.NATS)
    summary = report["summary"]
    recompute_languages.compare_summary(table, summary, 101)
    assert (summary["languages"], summary["script_variants"]) == (101, 6)
    assert summary["languages_not_reached"] > 0
    assert "time_speedup" not in summary  # clocks of runs are not compared
    assert [one["name"] for one in report["nulls"]] == ["mT5", "Switch"]
    for null in report["nulls"]:
        low, high = (null["summary"][f"mean_step_speedup_{end}"] for end in ("low", "high"))
        assert low < 1 < high


def test_the_first_screen_has_the_null_comparison_with_the_most_languages(finished):
    found = json.loads((finished / "out/report.json").read_text())
    counts = [one["summary"]["languages_improved"] for one in found["nulls"]]
    most = found["nulls"][counts.index(max(counts))]["name"]
    page = (finished / "out/index.html").read_text()
    assert f"<dt>Between seeds of {most}</dt><dd>{max(counts)}<small> better" in page


def test_html_is_one_file_that_escapes_the_web(finished):
    page = (finished / "out/index.html").read_text()
    assert HOSTILE not in page
    own = page.replace(vl_convert.javascript_bundle(), "")  # which contains some tags itself
    assert "<img" not in own
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;" in page
    assert not re.search(r"<link|<script src|<iframe|@import|url\(|(src|href)=.?http", own)
    assert own.count("<script>") == 2  # Altair's bundle, once, and the page's own
    assert len(page) < 3_000_000
    written = {path.name for path in (finished / "out").iterdir()}
    assert written == {"index.html", "manifest.json", "report.json", "languages.csv", "report.md"}


def test_a_finished_report_stands(finished, tmp_path, capsys, monkeypatch, without_page):
    run, copy = finished / "dense0", tmp_path / "copy"
    shutil.copytree(run, copy)
    same = Report(baseline=(run,), candidate=(copy,), out=tmp_path / "out")
    same.execute()
    printed = capsys.readouterr().out
    with monkeypatch.context() as patch:
        patch.setattr(report, "to_json", None)  # a finished report is not written again
        same.execute()
    assert "out is finished." in " ".join(capsys.readouterr().err.split())
    assert (
        "mT5 (candidate) is better than mT5 (baseline) in 0 of 101 languages and worse in 0"
        in printed
    )
    written = (tmp_path / "out/report.md").read_text()
    with pytest.raises(ArtifactError, match=r"made from other inputs \(candidate/0/"):
        replace(same, candidate=(finished / "switch0",)).execute()
    assert (tmp_path / "out/report.md").read_text() == written
    (tmp_path / "chapter.txt").write_text("precious")
    with pytest.raises(ArtifactError, match="not a report output"):
        replace(same, out=tmp_path).execute()
    with pytest.raises(ArtifactError, match=r"both name .*dense0; a run against itself"):
        replace(same, candidate=(tmp_path / "../" / run,)).execute()


def test_a_run_is_one_seed_however_often_it_is_named(finished, tmp_path):
    run = finished / "dense0"
    twice = Report(baseline=(run, run / "../dense0"), candidate=(run,), out=tmp_path / "out")
    with pytest.raises(ArtifactError, match=r"--baseline names .*dense0 twice"):
        twice.execute()


def test_only_the_runs_own_tokens_and_corpus_are_shown(finished, tmp_path, without_page):
    corpus, tokens = str(finished / "corpus"), str(finished / "tokens")
    arguments = Report(
        baseline=(finished / "dense0",), candidate=(finished / "switch0",), out=tmp_path / "out"
    )
    with pytest.raises(ArtifactError, match="name them with --tokens"):
        replace(arguments, corpus=corpus).execute()
    artifacts.finish(tmp_path / "corpus", "clean", {}, {}, {"languages": {}})
    with pytest.raises(
        ArtifactError, match=r"made from another corpus than .*corpus, or from this one before"
    ):
        replace(arguments, corpus=str(tmp_path / "corpus"), tokens=tokens).execute()
    inputs = {"corpus_0": artifacts.digest_of_manifest(corpus), "corpus_1": "another"}
    nothing = {"token_dtype": "<u2", "vocabulary": VOCABULARY, "languages": {}}
    artifacts.finish(tmp_path / "tokens", "tokenize", {}, inputs, nothing)
    with pytest.raises(ArtifactError, match=r"are not the tokens that .*switch0 was trained on"):
        replace(arguments, tokens=str(tmp_path / "tokens")).execute()
    digest = artifacts.digest_of_manifest(tmp_path / "tokens")
    other = write_run(tmp_path / "other", experts=8, made_from={"tokens": digest})
    both = replace(
        arguments, candidate=(other,), allow_differences=True, tokens=str(tmp_path / "tokens")
    )
    with pytest.raises(ArtifactError, match="made from 2 corpora"):
        replace(both, corpus=corpus).execute()
    both.execute()


def test_differences_are_reported_where_they_are_allowed(finished, tmp_path, capsys):
    runs = tuple(
        write_run(tmp_path / f"switch{n}", experts=8, seed=n, batch=64 * (n + 1), warm_up=10)
        for n in (0, 1)
    )
    arguments = Report(
        baseline=(finished / "dense0", finished / "dense1"), candidate=runs, out=tmp_path / "out"
    )
    with pytest.raises(ArtifactError, match=r"batch: there 32, here 64.*--allow-differences"):
        arguments.execute()
    replace(arguments, allow_differences=True).execute()
    found = json.loads((tmp_path / "out/report.json").read_text())
    assert found["differences"] == [
        {"field": "batch", "baseline": ["32", "32"], "candidate": ["64", "128"]},
        {"field": "warm_up", "baseline": ["not recorded"] * 2, "candidate": ["10", "10"]},
    ]
    assert found["cautions"][0].startswith("The runs differ beyond the feed-forward")
    for text in (
        capsys.readouterr().out,
        (tmp_path / "out/report.md").read_text(),
        (tmp_path / "out/index.html").read_text().split("<nav")[0],  # the first screen
    ):
        assert "which was allowed: batch, warm_up." in text
    assert "| batch | 32 | 64, 128 |" in (tmp_path / "out/report.md").read_text()


@pytest.mark.slow
def test_another_vocabulary_is_compared_by_bits_per_byte(finished, tmp_path, without_page):
    """Finer tokens leave bits per byte unchanged, so the report is the same in that unit."""
    finer = write_run(tmp_path / "finer", experts=8, seed=0, pieces_per_token=3)
    dense = finished / "dense0", finished / "dense1"
    arguments = Report(baseline=dense, candidate=(finer,), out=tmp_path / "out")
    with pytest.raises(ArtifactError, match=r"targets.*--allow-differences.*bits per byte"):
        arguments.execute()
    replace(arguments, allow_differences=True).execute()
    replace(arguments, candidate=(finished / "switch0",), out=tmp_path / "one").execute()
    found, one = (json.loads((tmp_path / f"{n}/report.json").read_text()) for n in ("out", "one"))
    assert (found["unit"], one["unit"]) == ("bits per byte", "nats per token")
    for code, row in found["languages"].items():
        assert row["gain_nats"] is None
        gain = one["languages"][code]["gain_bits_per_byte"]
        assert row["gain_bits_per_byte"] == pytest.approx(gain)
        assert row["gain_bits_per_byte_low"] <= gain <= row["gain_bits_per_byte_high"]
        assert row["step_speedup"] == pytest.approx(one["languages"][code]["step_speedup"])
    # Seeds of one side have one vocabulary, and are compared in the report's unit too.
    (null,) = found["nulls"]
    runs = recompute_sides.side(list(dense))
    recompute_nulls.compare_null(null, runs, [0, 1], ("loss_bits", "text_bytes"))
    between_seeds = [row["gain"] for row in null["languages"].values()]
    assert between_seeds == sorted(between_seeds, reverse=True)
    mixed = replace(arguments, candidate=(finished / "switch0", finer), out=tmp_path / "mixed")
    with pytest.raises(ArtifactError, match="runs of one side need one vocabulary"):
        replace(mixed, allow_differences=True).execute()


@pytest.mark.slow
def test_numbers_recomputed_by_another_program(finished, tmp_path, capsys):
    runs = []
    for side, kind in (("baseline", "dense"), ("candidate", "switch")):
        runs += [f"--{side}", str(finished / f"{kind}0"), str(finished / f"{kind}1")]
    runs += ["--student", str(finished / "student0"), str(finished / "student1")]
    recompute_report.main([str(finished / "out"), *runs])
    printed = capsys.readouterr().out
    assert "107 rows equal to 1e-9" in printed
    assert "interval of the mean speed-up, 2 null comparisons equal to 1e-9" in printed
    assert "kept: 108 shares kept equal to 1e-9" in printed
    shutil.copytree(finished / "out", tmp_path / "out")
    written = json.loads((tmp_path / "out/report.json").read_text())
    written["languages"]["sw"]["gain_nats"] += 1e-4
    (tmp_path / "out/report.json").write_text(json.dumps(written))
    with pytest.raises(SystemExit, match="sw gain"):
        recompute_report.main([str(tmp_path / "out"), *runs])


def test_what_a_report_holds_is_what_its_runs_hold(read):
    recompute_contents.compare_contents(*read)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: r.update(nulls=r["nulls"][:1]), "are not their divisions into halves"),
        (lambda r: r["nulls"][0]["baseline_seeds"].append(7), "are not their divisions"),
        (lambda r: more(r["curves"], "mT5", "loss_nats", "sw"), "sw at"),
        (lambda r: more(r["curves"], "mT5", "loss_nats", "all"), "all at"),
        (lambda r: more(r["curves"]["mT5"], "loss_nats_all_by_run", 1), "run 1 at"),
        (lambda r: more(r["languages"], "sw", "loss_nats_baseline_runs"), "sw loss of a run"),
        (lambda r: more(r["candidate"], "held_out_loss_nats"), "held-out loss"),
    ],
)
def test_a_report_that_holds_something_else_is_refused(read, change, says):
    report, sides = copy.deepcopy(read[0]), read[1]
    change(report)
    with pytest.raises(SystemExit, match=says):
        recompute_contents.compare_contents(report, sides)


@pytest.mark.parametrize(
    "field", ["languages", "languages_worse", "mean_gain", "mean_gain_high", "median_step_speedup"]
)
def test_a_null_comparison_that_holds_something_else_is_refused(read, field):
    report, sides = copy.deepcopy(read[0]), read[1]
    null = report["nulls"][0]
    unit = recompute_sides.NATS
    recompute_nulls.compare_null(null, sides[0], report["baseline"]["seeds"], unit)
    null["summary"][field] += 1
    with pytest.raises(SystemExit, match="null "):
        recompute_nulls.compare_null(null, sides[0], report["baseline"]["seeds"], unit)


def test_gains_in_bits_are_recomputed_where_nats_are_the_unit(read):
    report, sides = copy.deepcopy(read[0]), read[1]
    rows = {code: report["languages"][code] for code in ("sw", "ru")}
    table = recompute_languages.compare_languages(rows, sides, recompute_sides.NATS)
    assert table.bits["sw"] == pytest.approx(rows["sw"]["gain_bits_per_byte"])
    rows["ru"]["gain_bits_per_byte"] += 1e-6
    with pytest.raises(SystemExit, match="ru gain in bits"):
        recompute_languages.compare_languages(rows, sides, recompute_sides.NATS)


def test_runs_of_script_variants_alone_are_refused(finished, tmp_path):
    runs = []
    for kind in ("dense0", "switch0"):
        shutil.copytree(finished / kind, tmp_path / kind)
        for path in (tmp_path / kind / "evaluation").glob("step=*.parquet"):
            table = pq.read_table(path)
            pq.write_table(table.filter(pc.equal(table["language"], "ru-Latn")), path)
        runs.append((tmp_path / kind,))
    with pytest.raises(ArtifactError, match="on ru-Latn alone, Latin-script variants that no mean"):
        Report(baseline=runs[0], candidate=runs[1], out=tmp_path / "out").execute()


def more(values, *path):
    """Adds a hundredth to the first of the numbers that lie there."""
    for name in path:
        values = values[name]
    values[0] += 0.01


def test_models_that_were_not_named_are_refused():
    with pytest.raises(SystemExit, match=r"students .* were named, the report holds"):
        recompute_contents.check_names("students", ["kept", "kept"], [])
    recompute_contents.check_names("students", ["kept", "kept"], ["kept"])


@pytest.mark.slow
def test_decayed_runs_of_several_lengths_are_points_of_one_curve(finished, tmp_path):
    """Each seed of each side has runs of 300, 600 and 1,100 steps that end in a decay."""
    sides = {"baseline": [], "candidate": []}
    for side, kind in (("baseline", "dense"), ("candidate", "switch")):
        for seed, length in itertools.product((0, 1), (300, 600, 1100)):
            run = tmp_path / f"{kind}{seed}-{length}"
            (run / "evaluation").mkdir(parents=True)
            about = json.loads((finished / f"{kind}{seed}/recipe.json").read_text())
            about["recipe"] |= {"steps": length, "optimizer": {"decay_from": 225 / length}}
            (run / "recipe.json").write_text(json.dumps(about))
            name = f"evaluation/step={length}.parquet"
            shutil.copy(finished / f"{kind}{seed}" / name, run / name)
            sides[side].append(run)
    named = {side: tuple(runs) for side, runs in sides.items()}
    Report(**named, out=tmp_path / "out").execute()
    found = json.loads((tmp_path / "out/report.json").read_text())
    assert found["curves"]["Switch"]["steps"] == [300, 600, 1100]
    assert found["points"] == "final losses of runs of several lengths"
    assert found["candidate"]["seeds"] == [0, 1]
    assert [one["steps"] for one in found["lengths"]] == [300, 600, 1100]
    assert found["lengths"][-1]["mean_gain"] == found["summary"]["mean_gain"]
    assert found["lengths"][-1]["runs"] == found["runs"]
    assert 'data-wide="lengths"' in (tmp_path / "out/index.html").read_text()
    assert not any("learning rate falls" in one for one in found["cautions"])
    whole = json.loads((finished / "out/report.json").read_text())["languages"]
    for code, row in found["languages"].items():
        assert row["gain_nats"] == pytest.approx(whole[code]["gain_nats"])
    words = [w for side, runs in sides.items() for w in (f"--{side}", *map(str, runs))]
    recompute_report.main([str(tmp_path / "out"), *words])
    out = tmp_path / "refused"
    with pytest.raises(ArtifactError, match="name runs of the same lengths on both sides"):
        Report(**named | {"candidate": named["candidate"][1:3]}, out=out).execute()
    with pytest.raises(ArtifactError, match="Seed 0 of mT5 has no run of 300 steps"):
        Report(**named | {"baseline": named["baseline"][1:]}, out=out).execute()
    about = json.loads((named["baseline"][0] / "recipe.json").read_text())
    about["recipe"]["optimizer"] = {"decay_from": 1}  # as of a trunk
    (named["baseline"][0] / "recipe.json").write_text(json.dumps(about))
    with pytest.raises(ArtifactError, match="without their trunk"):
        Report(**named, allow_differences=True, out=out).execute()


def test_a_page_of_a_single_token_is_counted_as_unscored(tmp_path):
    """Of two held-out pages one has no token to score: no interval, and no crash."""
    runs = [write_run(tmp_path / f"{n}", experts=n) for n in (None, 8)]
    for path in (path for run in runs for path in (run / "evaluation").iterdir()):
        rows = [row for row in pq.read_table(path).to_pylist() if not row_is_cut(row)]
        nothing = {"loss_nats": 0.0, "target_tokens": 0, "text_bytes": 0}
        rows = [row | nothing if row["url"].endswith("/sw/1") else row for row in rows]
        pq.write_table(pa.Table.from_pylist(rows), path)
    sides = {"baseline": runs[:1], "candidate": runs[1:]}
    Report(**{side: tuple(of) for side, of in sides.items()}, out=tmp_path / "out").execute()
    found = json.loads((tmp_path / "out/report.json").read_text())
    swahili, english = (found["languages"][code] for code in ("sw", "en"))
    assert (swahili["held_out_pages"], swahili["held_out_pages_unscored"]) == (1, 1)
    assert swahili["gain_nats_low"] is swahili["p_value_adjusted"] is None
    assert (english["held_out_pages"], english["held_out_pages_unscored"]) == (12, 0)
    assert "too short to hide a token count in no gain: 1 of them." in found["cautions"][-1]
    named = [f"--{side}={of[0]}" for side, of in sides.items()]
    recompute_report.main([str(tmp_path / "out"), *named])


def row_is_cut(row: dict) -> bool:
    return row["language"] == "sw" and row["url"][-2:] not in ("/0", "/1")


def test_held_out_lines_and_experts_are_in_every_rendering(finished):
    found = json.loads((finished / "out/report.json").read_text())
    assert (found["held_out"]["shared_lines"], found["held_out"]["lines"]) == (1, 2)
    assert found["held_out"]["languages"]["sw"]["examples"] == [HOSTILE.lower()]
    layers = found["experts"]["layers"]
    assert [layer["stack"] for layer in layers] == ["encoder", "decoder"]
    assert found["experts"]["run"] == "Switch, seed 0"
    english = layers[0]["languages"]["en"]["load_share"]
    assert english == pytest.approx([9 / 16] + [1 / 16] * 7)
    markdown = (finished / "out/report.md").read_text()
    assert "1 also stand on training pages" in markdown
    assert "| encoder, layer 2 | 8 | 12." in markdown


def test_students_keep_what_they_keep(finished, tmp_path):
    found = json.loads((finished / "out/report.json").read_text())["students"]
    assert [(one["name"], one["seeds"]) for one in found] == [("kept", [5, 6])]
    assert found[0]["compression"] == pytest.approx(0.8, abs=1e-6)
    assert found[0]["overall"]["gain_retained"] == pytest.approx(0.3, abs=0.05)
    assert found[0]["median_over_languages"] == pytest.approx(0.3, abs=0.1)
    markdown = (finished / "out/report.md").read_text()
    assert "| kept | 80% | " in markdown
    assert "| the paper, table 7 | 82% | 37% |  | – |" in markdown
    arguments = Report(
        baseline=(finished / "dense0",), candidate=(finished / "switch0",), out=tmp_path
    )
    with pytest.raises(ArtifactError, match="named as a student and has experts"):
        replace(arguments, student=(finished / "switch1",)).execute()
    other = write_run(tmp_path / "other", experts=None, batch=64, distillation={})
    with pytest.raises(ArtifactError, match="batch: there 32, here 64"):
        replace(arguments, student=(other,), out=tmp_path / "out").execute()
