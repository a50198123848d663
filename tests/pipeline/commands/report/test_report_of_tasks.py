"""`mswitch report --baseline-tasks --candidate-tasks`: scores on tasks, in every rendering."""

import base64
import csv
import json
import re
from dataclasses import replace

import pytest
import recompute_report
import recompute_tasks
from markdown_reader import MARKDOWN
from small_reports import make
from synthetic_runs import STEPS, write_run
from synthetic_tasks import CODES, STEP, write_both_sides, write_finetuned, write_sentences
from vl_convert import vegalite_to_vega

from eval.report.html import specs
from pipeline.artifacts import digest_of_manifest
from pipeline.commands.report import Report
from pipeline.errors import ArtifactError
from pipeline.reporting.tasks import task_comparisons
from pipeline.runs.tasks import read_finetuned

pytestmark = pytest.mark.slow

MODES = ["all languages", "English only", "each language alone"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report with tasks and a parallel text, and its arguments."""
    root = tmp_path_factory.mktemp("tasks")
    for name, experts in (("dense", None), ("switch", 8)):
        run = write_run(root / name, experts=experts)
        write_sentences(
            run,
            STEPS[-1],
            seed=experts or 0,
            level=60.0 - (experts or 0),
            cut=[] if experts else [3],
        )
    baseline, candidate = write_both_sides(root / "tuned", (root / "dense", root / "switch"))
    arguments = Report(
        baseline=(root / "dense",),
        candidate=(root / "switch",),
        baseline_tasks=baseline,
        candidate_tasks=candidate,
        out=root / "out",
    )
    arguments.execute()
    return arguments


def test_every_number_is_recomputed_from_predictions(made, capsys):
    words = []
    for option in ("baseline", "candidate", "baseline_tasks", "candidate_tasks"):
        words += [f"--{option.replace('_', '-')}", *map(str, getattr(made, option))]
    capsys.readouterr()
    recompute_report.main([str(made.out), *words])
    printed = capsys.readouterr().out
    assert "topics: scores and gains of 3 modes equal to 1e-9" in printed
    assert "qa: scores and gains of 1 modes equal to 1e-9" in printed
    assert "verses: nats per sentence equal to 1e-9" in printed
    assert "topics: shares of experts equal" in printed
    found = json.loads((made.out / "report.json").read_text())
    found["tasks"][1]["modes"][2]["scores"][3]["languages"]["sw"]["gain"]["high"] += 1e-6
    with pytest.raises(SystemExit, match="accuracy by generation sw gain high"):
        recompute_tasks.compare_tasks(found, made.baseline_tasks, made.candidate_tasks)


def test_a_task_shows_which_experts_it_uses(made):
    qa, topics = json.loads((made.out / "report.json").read_text())["tasks"]
    assert topics["experts"]["run"] == "seed 0, trained on all languages"
    assert topics["experts"]["step"] == STEP
    assert [one["stack"] for one in topics["experts"]["layers"]] == ["encoder", "decoder"]
    swahili = topics["experts"]["layers"][0]["languages"]["sw"]
    assert swahili["load_share"] == [round(n / 170, 5) for n in (10, 10, 100, 10, 10, 10, 10, 10)]
    assert set(qa["experts"]["layers"][0]["languages"]) == {"en", "sw", "zh"}
    page = (made.out / "index.html").read_text()
    assert 'data-experts="task-1-experts" data-layer="1"' in page
    (address,) = re.findall(r'download="topics-experts.csv" href="data:[^,]*,([^"]*)"', page)
    rows = list(csv.DictReader(base64.b64decode(address).decode().splitlines()))
    assert len(rows) == 2 * len(CODES)
    assert float(rows[2]["share_of_expert_2"]) == swahili["load_share"][2]
    assert "Which experts topics uses. One candidate run (seed 0" in (
        (made.out / "report.md").read_text()
    )


def test_another_share_of_an_expert_is_found(made):
    found = json.loads((made.out / "report.json").read_text())
    found["tasks"][1]["experts"]["layers"][1]["languages"]["sw"]["load_share"][2] -= 1e-5
    with pytest.raises(SystemExit, match="topics decoder 2 sw expert 2"):
        recompute_tasks.compare_experts(found["tasks"][1], made.candidate_tasks)
    with pytest.raises(SystemExit, match="missing or in excess"):
        recompute_tasks.compare_experts(found["tasks"][1], made.baseline_tasks)


def test_modes_and_seeds_follow_from_the_recipes(made):
    qa, topics = json.loads((made.out / "report.json").read_text())["tasks"]
    assert [mode["name"] for mode in qa["modes"]] == MODES[:1]
    assert [mode["name"] for mode in topics["modes"]] == MODES
    for mode in topics["modes"]:
        assert (mode["baseline_seeds"], mode["candidate_seeds"]) == ([0, 1], [0, 1])
        assert [(one["metric"], one["without_overlaps"]) for one in mode["scores"]] == [
            ("accuracy by likelihood", False),
            ("accuracy by generation", False),
            ("accuracy by likelihood", True),
            ("accuracy by generation", True),
        ]
        for one in mode["scores"]:
            assert set(one["languages"]) == set(CODES)
            assert one["languages_better"] + one["languages_worse"] <= 3 == one["languages_counted"]
    assert topics["modes"][1]["examples"] == 120
    assert topics["modes"][1]["overlapping"] == 18  # every seventh
    left = topics["modes"][1]["scores"][2]["languages"]["en"]
    assert left["gain"]["examples"] == 25


def test_fewer_nats_per_sentence_are_a_gain(made):
    (text,) = json.loads((made.out / "report.json").read_text())["sentences"]
    assert (text["name"], text["sentences"], text["cut"]) == ("verses", 30, 3)
    mean = text["scores"]["mean"]
    assert mean["gain"]["value"] == pytest.approx(
        mean["baseline"]["value"] - mean["candidate"]["value"]
    )
    assert 6 < mean["gain"]["value"] < 10
    assert text["scores"]["languages_better_significantly"] == 2


def test_markdown_and_page_show_modes_side_by_side(made):
    text = (made.out / "report.md").read_text()
    assert "| all languages | accuracy by likelihood | " in text
    head = "| Language | Code | mT5, all languages | Switch, all languages | Gain, all languages | "
    assert f"{head}mT5, English only" in text
    assert "18 of 120 examples share text with the pretraining corpus" in text
    assert "Always the largest class has " in text
    assert "| Swahili | sw | " in text
    assert [one.type for one in MARKDOWN.parse(text)].count("table_open") >= 9
    page = (made.out / "index.html").read_text()
    for word in ('id="tasks"', 'href="#tasks"', "By language: accuracy by likelihood", "tasks.csv"):
        assert word in page
    found = json.loads((made.out / "report.json").read_text())["tasks"][1]["modes"][0]["scores"][0]
    assert f">{found['languages']['sw']['baseline']['value']:.1f}<small" in page


def test_the_picture_has_a_mark_per_language_and_mode(made):
    starts = [[digest_of_manifest(*runs)] for runs in (made.baseline, made.candidate)]
    found = task_comparisons(
        [*map(read_finetuned, made.baseline_tasks)],
        [*map(read_finetuned, made.candidate_tasks)],
        tuple(starts),
    )
    drawn = specs(make(tasks=found))
    for name in ("task-0-wide", "task-0-tall", "task-1-wide", "task-1-tall"):
        vegalite_to_vega(drawn[name])
    rows = drawn["task-1-tall"]["data"]["values"]
    assert all(row["low"] <= row["from"] <= row["gain"] <= row["to"] <= row["high"] for row in rows)
    counted = [code for code in CODES if not code.endswith("-Latn")]
    assert {(row["code"], row["mode"]) for row in rows} == {
        (code, mode) for code in counted for mode in MODES
    }


def test_development_data_of_labels_have_no_score_of_text(tmp_path):
    """No text is generated for them, so every prediction is empty."""
    dense, switch = (
        write_finetuned(tmp_path / name, experts=experts, split="development", questions=True)
        for name, experts in (("dense", None), ("switch", 8))
    )
    qa, topics = task_comparisons(
        [read_finetuned(dense)], [read_finetuned(switch)], (["dense"], ["switch"])
    )
    assert topics.split == "development"
    assert topics.labels == ["accuracy by likelihood", "accuracy by likelihood, without overlaps"]
    assert qa.labels == ["F1", "exact match"]  # without labels, text chooses the step


def test_both_sides_are_needed_and_each_run_once(made, tmp_path):
    asked = replace(made, out=tmp_path / "out")
    runs = made.candidate_tasks
    for changed, message in (
        ((), "gains on tasks need runs of both sides"),
        ((*runs, runs[0]), "--candidate-tasks names .* twice"),
        (made.candidate, "A fine-tuned run was expected"),
        (made.baseline_tasks, "--baseline-tasks and --candidate-tasks both name"),
    ):
        with pytest.raises(ArtifactError, match=message):
            replace(asked, candidate_tasks=changed).execute()
    assert not asked.out.exists()
