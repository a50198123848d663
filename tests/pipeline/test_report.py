"""`mswitch report` on two synthetic runs: 101 languages, twelve evaluations, some not reached."""

import itertools
import json
import math
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import vl_convert
from chromium import CHROMIUM, Browser

from data import languages
from data.languages import all_languages
from pipeline import artifacts, report
from pipeline.arguments import Report
from pipeline.artifacts import ArtifactError

STEPS = [0, *range(100, 1101, 100)]
PAGES = 12
ROOT = Path(__file__).parents[2]
HOSTILE = "</script><img src=x onerror=alert(1)><!--"


def write_run(
    directory: Path,
    *,
    experts: int | None,
    seed: int = 0,
    tokens_a_token: int = 1,
    gain: float | None = None,
    parameters: int = 1_234_567,
    **changes: object,
) -> Path:
    """Writes a run whose languages gain from experts by a fixed, language-specific amount.

    A student gains the part `gain` of that.
    A vocabulary that cuts each token into `tokens_a_token` gives the same bits to the same bytes.
    """
    switch = None if experts is None else {"experts": experts}
    recipe = {
        "name": "synthetic",
        "steps": STEPS[-1],
        "batch": 32,
        "seed": seed,
        "model": {"embed": 64, "switch": switch},
    }
    about = {
        "recipe": recipe | changes,
        "parameters": parameters,
        "flops_per_sequence": 98_765_432,
        "devices": ["cpu", "cpu"],
        "inputs": {"tokens": "sha"},
    }
    (directory / "evaluation").mkdir(parents=True)
    artifacts.write_json(directory / "recipe.json", about)
    rng = np.random.default_rng([seed, experts or 0])
    for step in STEPS:
        rows = _evaluation(step, float(experts is not None) if gain is None else gain, rng)
        at, column = rows.schema.get_field_index("target_tokens"), rows["target_tokens"]
        finer = pa.array(column.to_numpy() * tokens_a_token)
        pq.write_table(
            rows.set_column(at, "target_tokens", finer),
            directory / f"evaluation/step={step}.parquet",
        )
    seconds = 0.2 if experts is None else 0.25
    lines = [
        {"step": step, "loss_nats": 3.0, "seconds": seconds, "tokens_per_second": 1e4}
        | ({} if experts is None else {"dropped_share": 0.02})
        for step in range(1, 41)
    ]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    seen = {one.code: {"tokens_seen": 1000 + 10 * n} for n, one in enumerate(all_languages())}
    artifacts.write_json(directory / "mixture.json", {"languages": seen})
    return directory


def write_routing(run: Path, experts: int) -> None:
    """Writes where tokens of each language went: half of them to one expert of their own."""
    rows = []
    for stack in ("encoder", "decoder"):
        for number, language in enumerate(all_languages()):
            load = np.full(experts, 100)
            load[number % experts] += 100 * experts
            choices = int(load.sum())
            rows.append(
                {
                    "stack": stack,
                    "layer": 2,
                    "language": language.code,
                    "tokens": choices,
                    "choices": choices,
                    "dropped": number,
                    "entropy_nats": 0.5 * choices,
                    "load": load.tolist(),
                }
            )
    path = run / f"evaluation/routing-step={STEPS[-1]}.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)


def _evaluation(step: int, gains: float, rng: np.random.Generator) -> pa.Table:
    rows = []
    for number, language in enumerate(all_languages()):
        of_language = np.random.default_rng(number)
        tokens = of_language.integers(40, 400, PAGES)
        level = 2.2 + 1.6 * of_language.random() + 0.25 * of_language.normal(size=PAGES)
        gain = gains * (0.12 + 0.11 * of_language.normal())
        loss = level - gain * (step / STEPS[-1]) + 5.5 * math.exp(-step / 220)
        loss = loss + 0.03 * rng.normal(size=PAGES)
        rows += [
            {
                "language": language.code,
                "url": f"https://example.org/{language.code}/{page}",
                "loss_nats": float(loss[page] * tokens[page]),
                "target_tokens": int(tokens[page]),
                "text_bytes": int(tokens[page] * (3 + number % 4)),
                "windows": 1,
            }
            for page in range(PAGES)
        ]
    return pa.Table.from_pylist(rows).take(rng.permutation(len(rows)))


def write_corpus(directory: Path) -> Path:
    """Writes what `mswitch clean` writes, with hostile pages, rejected and held out."""
    reasons = ["too_few_long_lines", "language_unreliable", "duplicate_page", "bad_words"]
    languages = {
        language.code: {
            "kept": 1900 - 8 * number,
            "held_out": 12,
            "rejected": {reason: (number * (at + 2)) % 97 for at, reason in enumerate(reasons)},
            "characters": 10**6,
            "removed_lines_by_rule": {"duplicate_line": number},
            "confidence": {"0.00": 3 * number, "0.50": 3, "0.95": 1897 - 11 * number},
            "cld3": {"disagrees": number % 7, "said": {"vi": number % 7}} if number % 7 else {},
        }
        for number, language in enumerate(all_languages())
    }
    for language in all_languages():
        pages = [
            {
                "text": f"{HOSTILE}\nعربى 中文",
                "url": HOSTILE,
                "language": language.code,
                "reason": one,
            }
            for one in reasons
        ]
        path = directory / "rejected" / language.code / "rejected-00000-of-00001.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(pages), path)
    for split, text in (("train", f"Soma. \n{HOSTILE}"), ("validation", f"{HOSTILE}\n\nAndika.")):
        path = directory / f"pages/sw/{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist([{"text": text, "url": HOSTILE}]), path)
    body = {
        "languages": languages,
        "rules": {"name": "demo", "differences_from_mc4": ["No line-length rule.", HOSTILE]},
        "broken_records": {"not_utf8": {"count": 3, "samples": [HOSTILE]}},
        "input": {"files": 2, "records": 10},
    }
    artifacts.finish(directory, "clean", {}, {}, body)
    return directory


def write_tokens(directory: Path) -> Path:
    directory.mkdir()
    languages = {
        language.code: {
            "train": {
                "pages": 100,
                "tokens": int(2_000_000 * 0.93**number),
                "text_bytes": int(2_000_000 * 0.93**number * (2.5 + number % 5)),
                "unknown_tokens": number,
                "byte_tokens": 7 * number,
            },
            "validation": {"pages": 12, "tokens": 2000, "text_bytes": 9000},
        }
        for number, language in enumerate(all_languages())
    }
    artifacts.finish(directory, "tokenize", {}, {}, {"languages": languages})
    return directory


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("report")
    sparse = tuple(
        write_run(root / f"switch{n}", experts=8, seed=n, parameters=6_172_835) for n in (0, 1)
    )
    students = tuple(
        write_run(
            root / f"student{n}", experts=None, seed=n + 5, gain=0.3, name="kept", distillation={}
        )
        for n in (0, 1)
    )
    write_routing(sparse[0], experts=8)
    report.run(
        Report(
            baseline=tuple(write_run(root / f"dense{n}", experts=None, seed=n) for n in (0, 1)),
            candidate=sparse,
            student=students,
            corpus=write_corpus(root / "corpus"),
            tokens=write_tokens(root / "tokens"),
            out=root / "out",
        )
    )
    return root


def test_json_recomputed_from_the_evaluation_files(finished):
    """Nothing of eval/ is used: rows are added up one by one."""
    found = json.loads((finished / "out/report.json").read_text())

    sums: Counter[tuple[str, int, str, str]] = Counter()
    for kind, run, step in itertools.product(("dense", "switch"), (0, 1), STEPS):
        path = finished / f"{kind}{run}/evaluation/step={step}.parquet"
        for row in pq.read_table(path).to_pylist():
            for name in ("loss_nats", "target_tokens"):
                sums[kind, step, row["language"], name] += row[name]

    def loss(kind: str, step: int, code: str) -> float:
        return sums[kind, step, code, "loss_nats"] / sums[kind, step, code, "target_tokens"]

    improved = reached = 0
    for language in all_languages():
        entry = found["languages"][language.code]
        target, final = (loss(kind, STEPS[-1], language.code) for kind in ("dense", "switch"))
        assert entry["loss_nats_baseline"] == pytest.approx(target)
        assert entry["gain_nats"] == pytest.approx(target - final)
        assert entry["gain_nats_low"] <= entry["gain_nats"] <= entry["gain_nats_high"]
        curve = [loss("switch", step, language.code) for step in STEPS]
        at = next((n for n, value in enumerate(curve) if value <= target), None)
        if at is None:
            assert (entry["step_speedup"], entry["step_speedup_bound"]) == (None, 1.0)
        else:
            share = (curve[at - 1] - target) / (curve[at - 1] - curve[at])
            step = STEPS[at - 1] + share * (STEPS[at] - STEPS[at - 1])
            assert entry["step_speedup"] == pytest.approx(STEPS[-1] / step)
        if not language.is_script_variant:
            improved += target > final
            reached += at is not None
    summary = found["summary"]
    assert (summary["languages"], summary["script_variants"]) == (101, 6)
    assert summary["languages_improved"] == improved
    assert summary["languages_not_reached"] == 101 - reached > 0
    assert summary["time_speedup"] == pytest.approx(summary["median_step_speedup"] * 0.2 / 0.25)


def test_html_is_one_file_that_escapes_the_web(finished):
    page = (finished / "out/index.html").read_text()
    assert HOSTILE not in page
    own = page.replace(vl_convert.javascript_bundle(), "")  # which names some tags itself
    assert "<img" not in own
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;" in page
    assert not re.search(r"<link|<script src|<iframe|@import|url\(|(src|href)=.?http", own)
    assert own.count("<script>") == 2  # Altair's bundle, once, and the page's own
    assert len(page) < 3_000_000
    written = {path.name for path in (finished / "out").iterdir()}
    assert written == {"index.html", "manifest.json", "report.json", "report.md"}


def test_a_report_is_written_anew_and_nothing_else_is_written_over(finished, tmp_path, capsys):
    run = finished / "dense0"
    same = Report(baseline=(run,), candidate=(run,), out=tmp_path / "out")
    report.run(same)
    report.run(same)
    said = capsys.readouterr().out
    assert (
        "mT5 (candidate) is better than mT5 (baseline) in 0 of 101 languages and worse in 0" in said
    )
    report.run(Report(baseline=(run,), candidate=(finished / "switch0",), out=tmp_path / "out"))
    assert "Switch is better than mT5" in (tmp_path / "out/report.md").read_text()
    (tmp_path / "chapter.txt").write_text("precious")
    with pytest.raises(ArtifactError, match="not a report output"):
        report.run(Report(baseline=(run,), candidate=(run,), out=tmp_path))


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"batch": 64}, "batch: there 32, here 64"),
        ({"model": {"embed": 128, "switch": {"experts": 8}}}, "model.embed: there 64, here 128"),
        ({"steps": 2000}, "trains for 2000 steps and was last evaluated at step 1100"),
    ],
)
def test_unfair_comparisons_are_refused(finished, tmp_path, changes, says):
    other = write_run(tmp_path / "other", experts=8, **changes)
    with pytest.raises(ArtifactError, match=says):
        report.run(Report(baseline=(finished / "dense0",), candidate=(other,), out=tmp_path / "o"))


def test_differences_are_reported_where_they_are_allowed(finished, tmp_path, capsys):
    runs = tuple(
        write_run(tmp_path / f"switch{n}", experts=8, seed=n, batch=64 * (n + 1), warm_up=10)
        for n in (0, 1)
    )
    asked = Report(
        baseline=(finished / "dense0", finished / "dense1"), candidate=runs, out=tmp_path / "out"
    )
    with pytest.raises(ArtifactError, match=r"batch: there 32, here 64.*--allow-differences"):
        report.run(asked)
    report.run(replace(asked, allow_differences=True))
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


def test_another_vocabulary_is_compared_by_bits_per_byte(finished, tmp_path):
    """Cutting tokens finer changes no bit of a byte, so the report is the same in that unit."""
    finer = write_run(tmp_path / "finer", experts=8, seed=0, tokens_a_token=3)
    asked = Report(baseline=(finished / "dense0",), candidate=(finer,), out=tmp_path / "out")
    with pytest.raises(ArtifactError, match=r"other targets.*--allow-differences.*bits per byte"):
        report.run(asked)
    report.run(replace(asked, allow_differences=True))
    report.run(replace(asked, candidate=(finished / "switch0",), out=tmp_path / "one"))
    found, one = (json.loads((tmp_path / f"{n}/report.json").read_text()) for n in ("out", "one"))
    assert (found["unit"], one["unit"]) == ("bits per byte", "nats per token")
    for code, row in found["languages"].items():
        assert row["gain_nats"] is None
        gain = one["languages"][code]["gain_bits_per_byte"]
        assert row["gain_bits_per_byte"] == pytest.approx(gain)
        assert row["gain_bits_per_byte_low"] <= gain <= row["gain_bits_per_byte_high"]
        assert row["step_speedup"] == pytest.approx(one["languages"][code]["step_speedup"])
    mixed = (finished / "switch0", finer)
    with pytest.raises(ArtifactError, match="runs of one side need one vocabulary"):
        report.run(replace(asked, candidate=mixed, allow_differences=True))


def test_numbers_recomputed_by_another_program(finished, tmp_path):
    command = [sys.executable, str(ROOT / ".ci/recompute_report.py"), str(finished / "out")]
    for side, kind in (("baseline", "dense"), ("candidate", "switch")):
        command += [f"--{side}", str(finished / f"{kind}0"), str(finished / f"{kind}1")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "107 rows equal to 1e-6" in done.stdout
    shutil.copytree(finished / "out", tmp_path / "out")
    written = json.loads((tmp_path / "out/report.json").read_text())
    written["languages"]["sw"]["gain_nats"] += 1e-4
    (tmp_path / "out/report.json").write_text(json.dumps(written))
    done = subprocess.run(
        [*command[:2], str(tmp_path / "out"), *command[3:]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "sw gain" in done.stderr


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
    sums = Counter()
    for kind, run in itertools.product(("dense", "switch", "student"), (0, 1)):
        path = finished / f"{kind}{run}/evaluation/step={STEPS[-1]}.parquet"
        for row in pq.read_table(path).to_pylist():
            if "-Latn" not in row["language"]:
                sums[kind] += row["loss_nats"]
    kept = (sums["dense"] - sums["student"]) / (sums["dense"] - sums["switch"])
    assert found[0]["overall"]["gain_retained"] == pytest.approx(kept)
    markdown = (finished / "out/report.md").read_text()
    assert "| kept | 5, 6 | 80% |" in markdown
    assert "| the paper, table 7 | – | 82% | 37% | – | – |" in markdown
    asked = Report(baseline=(finished / "dense0",), candidate=(finished / "switch0",), out=tmp_path)
    with pytest.raises(ArtifactError, match="named as a student and has experts"):
        report.run(replace(asked, student=(finished / "switch1",)))
    other = write_run(tmp_path / "other", experts=None, batch=64)
    with pytest.raises(ArtifactError, match="batch: there 32, here 64"):
        report.run(replace(asked, student=(other,), out=tmp_path / "out"))


def test_runs_without_evaluations_or_with_other_pages_are_refused(finished, tmp_path):
    other = write_run(tmp_path / "other", experts=8)
    path = other / f"evaluation/step={STEPS[-1]}.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    arguments = Report(baseline=(finished / "dense0",), candidate=(other,), out=tmp_path / "out")
    with pytest.raises(ArtifactError, match="different held-out pages"):
        report.run(arguments)
    shutil.rmtree(other / "evaluation")
    with pytest.raises(ArtifactError, match="run `mswitch evaluate"):
        report.run(arguments)
    (other / "recipe.json").unlink()
    with pytest.raises(ArtifactError, match=r"no recipe\.json"):
        report.run(arguments)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: no browser opens the report")
    with Browser() as opened:
        yield opened


FIRST = "document.querySelector('#language-table tbody tr:not([hidden]) th').textContent.trim()"
CHARTS = (
    "[...document.querySelectorAll('.chart')].filter((one) => !one.closest('details:not([open])'))"
)


def _focus_is(button: str) -> str:
    return f"document.activeElement.textContent.startsWith('{button}')"


def _is_quiet(browser: Browser, page: Path) -> None:
    """Nothing was said to the console, nothing was asked of the network but the page itself."""
    assert browser.complaints() == []
    assert browser.requests() == [page.as_uri()]
    assert browser.evaluate("performance.getEntriesByType('resource').length") == 0


@pytest.mark.parametrize("width, dark", [(1280, False), (1280, True), (390, False)])
def test_opens_whole_at_every_width(browser, finished, width, dark):
    page = finished / "out/index.html"
    browser.open(page, width=width, dark=dark)
    drawn = browser.evaluate(f"{CHARTS}.map((one) => one.querySelectorAll('svg path').length)")
    assert len(drawn) == (8 if width < 760 else 9)  # a phone's second heat map is folded up
    assert min(drawn) >= 9  # one student and the five points of the paper are the fewest marks
    document = "document.documentElement"
    assert browser.evaluate(f"{document}.scrollWidth - {document}.clientWidth") == 0
    words = "[...document.querySelectorAll('svg text, td, th, dd, p, li, summary')]"
    strange = "(one) => /undefined|NaN|null|None|\\{\\{/.test(one)"
    strange = f"{words}.map((one) => one.textContent).filter({strange})"
    assert browser.evaluate(strange) == []
    ink = "getComputedStyle(document.querySelector(`#gains [aria-roledescription='point']`)).fill"
    assert browser.evaluate(ink) == ("rgb(86, 180, 233)" if dark else "rgb(0, 114, 178)")
    unnamed = "[...document.querySelectorAll('.chart')].filter((one) => !one.ariaLabel).length"
    assert browser.evaluate(unnamed) == 0
    _is_quiet(browser, page)


def test_sorts_and_filters_by_keyboard_alone(browser, finished):
    page = finished / "out/index.html"
    browser.open(page, width=1280)
    browser.press("Tab")
    assert browser.evaluate(_focus_is("Skip to the table"))
    browser.press("Enter")  # from here Tab goes on in the section of languages
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.id") == "search"
    browser.type("swahili")
    assert browser.evaluate(FIRST) == "Swahili sw"
    assert browser.evaluate("document.getElementById('shown').textContent") == "1 row"
    browser.evaluate("document.getElementById('search').select()")
    browser.type("a")
    for _ in range(20):
        if browser.evaluate(_focus_is("Language")):
            break
        browser.press("Tab")
    browser.press("Enter")
    assert browser.evaluate(FIRST) == "Afrikaans af"
    order = "document.querySelector('#language-table [aria-sort]')"
    assert browser.evaluate(f"{order}.ariaSort") == "ascending"
    browser.press(" ")
    assert browser.evaluate(f"{order}.ariaSort") == "descending"
    assert browser.evaluate(FIRST) == "Yoruba yo"  # the last with an a in it
    assert browser.evaluate("document.querySelectorAll('#language-table [aria-sort]').length") == 1
    _is_quiet(browser, page)


def test_filters_by_script_family_and_verdict_together(browser, finished):
    found = json.loads((finished / "out/report.json").read_text())["languages"].values()
    browser.open(finished / "out/index.html", width=1280)
    wanted = {"script": "Latn", "family": "Romance", "verdict": "better"}
    for name, value in wanted.items():
        browser.evaluate(
            f"(({{}}, one) => {{ one.value = '{value}'; one.dispatchEvent(new Event('input')); }})"
            f"({{}}, document.getElementById('by-{name}'))"
        )
    fitting = [
        one["name"]
        for one in found
        if (one["script"], one["family"]) == ("Latn", "Romance")
        and one["gain_nats"] > 0
        and (one["p_value_adjusted"] or 0.5) < 0.05
    ]
    rows = "[...document.querySelectorAll('#language-table tbody tr:not([hidden]) th')]"
    shown = browser.evaluate(f"{rows}.map((one) => one.firstChild.textContent.trim())")
    assert sorted(shown) == sorted(fitting)
    assert shown


def test_any_language_has_its_curve_and_its_sentence(browser, finished):
    page = finished / "out/index.html"
    found = json.loads((finished / "out/report.json").read_text())
    browser.open(page, width=1280)
    lines = (
        "document.querySelectorAll('#curve-chart path[aria-roledescription=\"line mark\"]').length"
    )
    before = browser.evaluate("document.querySelector('#curve-chart svg').outerHTML")
    browser.evaluate(
        "(one => { one.value = 'sw'; one.dispatchEvent(new Event('change')); })"
        "(document.getElementById('curve-language'))"
    )
    browser.wait(
        f"(document.querySelector('#curve-chart svg')?.outerHTML ?? '').length && "
        f"document.querySelector('#curve-chart svg').outerHTML !== {json.dumps(before)}"
    )
    swahili = found["languages"]["sw"]
    said = browser.evaluate("document.getElementById('curve-text').textContent")
    assert f"mT5 ends at {swahili['loss_nats_baseline']:.3f}" in said
    assert f"Switch at {swahili['loss_nats_candidate']:.3f}" in said
    if swahili["step_speedup"] is not None:
        assert f"at step {STEPS[-1] / swahili['step_speedup']:.0f} of" in said
    assert browser.evaluate(lines) == 2 + 4  # two means, two runs a side
    _is_quiet(browser, page)


def test_experts_and_folded_tables(browser, finished):
    page = finished / "out/index.html"
    browser.open(page, width=390)
    cells = ".querySelectorAll('svg [aria-roledescription=\"rect mark\"]').length"
    heat = "document.querySelectorAll('details.layer')[{}]" + cells
    assert browser.evaluate(heat.format(0)) == 107 * 8
    assert browser.evaluate(heat.format(1)) == 0
    browser.evaluate("document.querySelectorAll('details.layer summary')[1].click()")
    browser.wait(heat.format(1))
    assert browser.evaluate(heat.format(1)) == 107 * 8
    least = "document.querySelector('#confidence + details table tbody th').firstChild.textContent"
    assert browser.evaluate(least).strip() == all_languages()[-1].name
    _is_quiet(browser, page)


def test_one_language_and_one_run_a_side_are_enough(browser, tmp_path, monkeypatch):
    """As for English alone; and a language that never reaches its target."""
    for name, gain in (("better", 1.0), ("worse", -1.0)):
        root = tmp_path / name
        monkeypatch.setitem(globals(), "all_languages", lambda: languages.all_languages()[:1])
        runs = [write_run(root / "d", experts=None), write_run(root / "s", experts=8, gain=gain)]
        write_routing(runs[1], experts=8)
        report.run(
            Report(
                baseline=(runs[0],),
                candidate=(runs[1],),
                corpus=write_corpus(root / "corpus"),
                tokens=write_tokens(root / "tokens"),
                out=root / "out",
            )
        )
        browser.open(root / "out/index.html", width=1280)
        said = browser.evaluate("document.getElementById('curve-text').textContent")
        assert ("never reaches" in said) == (gain < 0)
        _is_quiet(browser, root / "out/index.html")


def test_the_policy_keeps_strange_scripts_from_running(browser, finished, tmp_path):
    page = (finished / "out/index.html").read_text()
    evil = "<img src=x onerror=\"document.title='evil'\"><script>document.title='evil'</script>"
    (tmp_path / "evil.html").write_text(page.replace("<main>", f"<main>{evil}"))
    browser.open(tmp_path / "evil.html", width=1280)
    assert browser.evaluate("document.title") == "Switch against mT5, language by language"
    assert any("Content Security Policy" in one for one in browser.complaints())
