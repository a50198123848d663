"""`mswitch report` on two synthetic runs: 101 languages, twelve evaluations, some not reached."""

import base64
import hashlib
import html
import itertools
import json
import math
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import vl_convert

from data.languages import all_languages
from pipeline import artifacts, report
from pipeline.arguments import Report
from pipeline.artifacts import ArtifactError

STEPS = [0, *range(100, 1101, 100)]
PAGES = 12
HOSTILE = "</script><img src=x onerror=alert(1)><!--"
CHROMIUM = shutil.which("chromium")


def write_run(directory: Path, *, experts: int | None, seed: int = 0, **changes: object) -> Path:
    """Writes a run whose languages gain from experts by a fixed, language-specific amount."""
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
        "parameters": 1_234_567,
        "flops_per_sequence": 98_765_432,
        "devices": ["cpu", "cpu"],
        "inputs": {"tokens": "sha"},
    }
    (directory / "evaluation").mkdir(parents=True)
    artifacts.write_json(directory / "recipe.json", about)
    rng = np.random.default_rng([seed, experts or 0])
    for step in STEPS:
        pq.write_table(
            _evaluation(step, experts, rng), directory / f"evaluation/step={step}.parquet"
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


def _evaluation(step: int, experts: int | None, rng: np.random.Generator) -> pa.Table:
    rows = []
    for number, language in enumerate(all_languages()):
        of_language = np.random.default_rng(number)
        tokens = of_language.integers(40, 400, PAGES)
        level = 2.2 + 1.6 * of_language.random() + 0.25 * of_language.normal(size=PAGES)
        gain = 0 if experts is None else 0.12 + 0.11 * of_language.normal()
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
    """Writes what `mswitch clean` writes, with hostile rejected pages."""
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
    report.run(
        Report(
            baseline=tuple(write_run(root / f"dense{n}", experts=None, seed=n) for n in (0, 1)),
            candidate=tuple(write_run(root / f"switch{n}", experts=8, seed=n) for n in (0, 1)),
            corpus=str(write_corpus(root / "corpus")),
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


PROBE = Path(__file__).with_name("report_probe.js").read_text()


def _in_browser(page: Path, profile: Path, *options: str) -> tuple[dict, str]:
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-dev-shm-usage", f"--user-data-dir={profile}", "--virtual-time-budget=10000",
        "--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND", *options,
        "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    return json.loads(html.unescape(title.group(1))), done.stderr


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: the page is not opened")
@pytest.mark.parametrize("options", [("--window-size=1280,900",), ("--window-size=400,900",)])
def test_in_a_real_browser(finished, tmp_path, options):
    # The probe is added with its digest, as the page's own policy would forbid it otherwise.
    page = (finished / "out/index.html").read_text()
    digest = base64.b64encode(hashlib.sha256(PROBE.encode()).digest()).decode()
    page = page.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    probed = tmp_path / "index.html"
    probed.write_text(page.removesuffix("</body>\n</html>") + f"<script>{PROBE}</script></body>")
    found, log = _in_browser(probed, tmp_path / "profile", *options)
    assert len(found["charts"]) == 6
    assert min(found["charts"]) > 10
    assert found["best"] != found["alphabetical"]
    assert found["alphabetical"].startswith("Afrikaans")
    assert found["sorted"] == 1
    assert (found["search"], found["shown"]) == ("Swahili sw", "1 row")
    assert found["least_certain"] == all_languages()[-1].name
    assert found["overflow"] == 0
    assert found["strange"] == []
    assert found["ink"] == "rgb(0, 114, 178)"
    assert "CONSOLE" not in log, log
    assert "ERR_NAME_NOT_RESOLVED" not in log, log


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: the page is not opened")
def test_the_policy_keeps_strange_scripts_from_running(finished, tmp_path):
    page = (finished / "out/index.html").read_text()
    evil = "<img src=x onerror=\"document.title='{}'\"><script>document.title='{}'</script>"
    (tmp_path / "evil.html").write_text(page.replace("<main>", f"<main>{evil}"))
    with pytest.raises(json.JSONDecodeError):  # the title is still the report's own
        _in_browser(tmp_path / "evil.html", tmp_path / "profile")
