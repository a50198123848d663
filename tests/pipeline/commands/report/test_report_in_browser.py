"""The report in headless Chromium: by keyboard, on a phone, in dark mode."""

import csv
import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
import synthetic_runs
from chromium import Browser
from synthetic_runs import STEPS, write_corpus, write_routing, write_run, write_tokens
from synthetic_tasks import CODES, write_both_sides

from data.languages import all_languages
from pipeline.commands.report import Report

FIRST = "document.querySelector('#language-table tbody tr:not([hidden]) th').textContent.trim()"
OPEN = "[...document.querySelectorAll('{}')].filter((one) => !one.closest('details:not([open])'))"
CHARTS = OPEN.format(".chart")

pytestmark = pytest.mark.slow

# Words of charts that do not lie within them.
CUT = """[...document.querySelectorAll('.chart svg')].flatMap((drawn) => {
  const whole = drawn.getBoundingClientRect();
  return [...drawn.querySelectorAll('text')].filter((one) => {
    const box = one.getBoundingClientRect();
    return box.width && (box.right > whole.right + 1 || box.left < whole.left - 1);
  }).map((one) => one.textContent);
})"""


def _focus_is(button: str) -> str:
    return f"document.activeElement.textContent.startsWith('{button}')"


def _is_quiet(browser: Browser, page: Path) -> None:
    """Checks that the console is empty and that only the page itself was requested."""
    assert browser.complaints() == []
    assert browser.requests() == [page.as_uri()]
    assert browser.evaluate("performance.getEntriesByType('resource').length") == 0


@pytest.mark.parametrize("width, dark", [(1280, False), (1280, True), (390, False)])
def test_opens_whole_at_every_width(browser, finished, width, dark):
    page = finished / "out/index.html"
    browser.open(page, width=width, dark=dark)
    drawn = browser.evaluate(f"{CHARTS}.map((one) => one.querySelectorAll('svg path').length)")
    assert len(drawn) == (11 if width < 760 else 12)  # a phone's second heat map is folded up
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
    assert browser.evaluate(CUT) == []
    hints = browser.evaluate(
        f"{OPEN.format('.scroll')}.map((one) => "
        "[one.scrollWidth > one.clientWidth + 1, !one.nextSibling.querySelector('.hint').hidden,"
        " one.dataset.more])"
    )
    assert [beyond for beyond, _, _ in hints] == [shown for _, shown, _ in hints]
    assert {more for beyond, _, more in hints if beyond} <= {"right"}  # a shadow at that side
    _is_quiet(browser, page)


@pytest.fixture(scope="module")
def four_models(finished, tmp_path_factory) -> Path:
    """A report with two models beside its sides, one of two seeds, and two tasks."""
    root = tmp_path_factory.mktemp("models")
    # Copies, because write_both_sides finishes them and other tests read `finished`.
    dense, switch = (
        Path(shutil.copytree(finished / name, root / name)) for name in ("dense0", "switch0")
    )
    baseline_tasks, candidate_tasks = write_both_sides(root / "tuned", (dense, switch))
    wide = [
        write_run(root / f"wide{seed}", experts=None, seed=seed, gain=0.5, parameters=3_456_789)
        for seed in (0, 1)
    ]
    Report(
        baseline=(dense, finished / "dense1"),
        candidate=(switch, finished / "switch1"),
        also=(
            *(f"a wider mT5={one}" for one in wide),
            f"small={write_run(root / 'small', experts=None, gain=-0.2)}",
        ),
        baseline_tasks=baseline_tasks,
        candidate_tasks=candidate_tasks,
        tokens=str(finished / "tokens"),
        corpus=str(finished / "corpus"),
        out=root / "out",
    ).execute()
    return root / "out/index.html"


@pytest.mark.parametrize("width, dark", [(1280, False), (1280, True), (390, False), (390, True)])
def test_four_models_are_drawn_and_told_apart(browser, four_models, width, dark):
    browser.open(four_models, width=width, dark=dark)
    document = "document.documentElement"
    assert browser.evaluate(f"{document}.scrollWidth - {document}.clientWidth") == 0
    assert browser.evaluate(CUT) == []
    marks = "document.querySelectorAll(`#models [aria-roledescription='point']`)"
    assert browser.evaluate(f"{marks}.length") == 101 * 3  # of each model but the baseline
    fills = f"[...new Set([...{marks}].map((one) => getComputedStyle(one).fill))].length"
    assert browser.evaluate(fills) == 3
    shapes = f"[...new Set([...{marks}].map((one) => one.getAttribute('d')))].length"
    assert browser.evaluate(shapes) == 3
    ends = browser.evaluate("document.getElementById('curve-text').textContent")
    assert all(f"{name} " in ends for name in ("mT5", "Switch", "a wider mT5", "small"))
    heads = "document.querySelector('#models .sortable').tHead.rows[0].cells.length"
    assert browser.evaluate(heads) == 1 + 2 * 4
    link = "atob(document.querySelector('#models .csv').href.split(',')[1])"
    rows = list(csv.DictReader(browser.evaluate(link).splitlines()))
    assert len(rows) == 4 * 107
    assert {row["gain"] for row in rows if row["model"] == "mT5"} == {""}
    _is_quiet(browser, four_models)


def test_tasks_show_gains_and_experts(browser, four_models):
    browser.open(four_models, width=1280)
    found = "[...document.querySelectorAll(`#tasks {} [aria-roledescription='{}']`)].length"
    counted = [code for code in CODES if not code.endswith("-Latn")]
    gains = found.format("[data-tall='task-1-tall']", "point")
    assert browser.evaluate(gains) == 3 * len(counted)  # three ways of training
    heat = found.format("[data-experts='task-1-experts'][data-layer='0']", "rect mark")
    assert browser.evaluate(heat) == len(CODES) * 8
    _is_quiet(browser, four_models)


def test_every_table_and_picture_can_be_saved(browser, finished):
    page = finished / "out/index.html"
    browser.open(page, width=1280)
    saved = browser.evaluate("""(() => {
      const saved = {};
      save = (name, type, text) => (saved[name] = [type, text]);
      for (const layer of document.querySelectorAll('details')) layer.open = true;
      document.querySelectorAll('.save').forEach((one) => one.click());
      return saved;
    })()""")
    counts = "['.scroll', '.chart'].map((one) => document.querySelectorAll(one).length)"
    tables, charts = browser.evaluate(counts)
    kinds = [name.rsplit(".")[-1] for name in saved]
    linked = browser.evaluate("document.querySelectorAll('table[data-linked]').length")
    assert (kinds.count("csv"), kinds.count("svg")) == (tables - linked, charts)
    rows = list(csv.reader(saved["runs.csv"][1].splitlines()))
    assert ["Parameters", "1234567", "6172835"] in rows
    assert {len(row) for row in rows} == {3}
    kind, drawn = saved["gains.svg"]
    assert kind == "image/svg+xml"
    assert "var(" not in drawn
    assert ElementTree.fromstring(drawn).tag == "{http://www.w3.org/2000/svg}svg"
    _is_quiet(browser, page)


def test_a_language_has_an_address(browser, finished):
    page = finished / "out/index.html"
    browser.open(page, width=1280)
    browser.evaluate("document.getElementById('search').value = 'zulu'; filterLanguages()")
    browser.evaluate("document.querySelector('#language-sw a').click()")
    chosen = "document.getElementById('curve-language').value"
    browser.wait(f"{chosen} === 'sw'")
    row = "document.querySelector('tr:target')"
    assert browser.evaluate(f"{row}.id") == "language-sw"
    assert not browser.evaluate(f"{row}.hidden")
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
    chosen = {"script": "Latn", "family": "Romance", "verdict": "better"}
    for name, value in chosen.items():
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
    caption = browser.evaluate("document.getElementById('curve-text').textContent")
    losses = (swahili[f"loss_nats_{side}"] for side in ("baseline", "candidate"))
    assert "Final losses: mT5 {:.3f}, Switch {:.3f}.".format(*losses) in caption
    ratio = max(swahili["step_speedup"], 1 / swahili["step_speedup"])
    assert f"at step {STEPS[-1] / ratio:.0f} of" in caption
    assert browser.evaluate(lines) == 2 + 4  # two means, two runs per side
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
    first = "document.querySelector('#language-probability + details table tbody th')"
    assert browser.evaluate(f"{first}.firstChild.textContent").strip() == all_languages()[-1].name
    _is_quiet(browser, page)


def test_one_language_and_one_run_per_side_are_enough(browser, tmp_path, monkeypatch):
    """Such as English only; also a language that never reaches its target."""
    for gain in (1.0, -1.0):
        root = tmp_path / f"gain{gain}"
        monkeypatch.setattr(synthetic_runs, "all_languages", lambda: all_languages()[:1])
        runs = [
            write_run(root / "d", experts=None, name="t5-large"),
            write_run(root / "s", experts=8, gain=gain),
        ]
        write_routing(runs[1], experts=8)
        Report(
            baseline=(runs[0],),
            candidate=(runs[1],),
            corpus=str(write_corpus(root / "corpus")),
            tokens=str(write_tokens(root / "tokens", root / "corpus")),
            out=root / "out",
        ).execute()
        browser.open(root / "out/index.html", width=1280)
        caption = browser.evaluate("document.getElementById('curve-text').textContent")
        assert ("T5 reaches Switch’s" in caption) == (gain < 0)
        verdict = browser.evaluate("document.querySelector('h1').textContent")
        equal = "At equal FLOPs per token, parameters and width"
        assert verdict.startswith(f"{equal}: Whether Switch is better than T5")
        assert verdict.endswith(" cannot be told from one seed per side.")
        lead = browser.evaluate("document.querySelector('.lead').textContent")
        assert f"Switch is better than T5 in {int(gain > 0)} of 1 languages" in lead
        _is_quiet(browser, root / "out/index.html")


def test_the_policy_keeps_strange_scripts_from_running(browser, finished, tmp_path):
    page = (finished / "out/index.html").read_text()
    evil = "<img src=x onerror=\"document.title='evil'\"><script>document.title='evil'</script>"
    evil += '<base href="https://evil.test/">'
    (tmp_path / "evil.html").write_text(page.replace("<main>", f"<main>{evil}"))
    browser.open(tmp_path / "evil.html", width=1280)
    assert browser.evaluate("document.title") == "Switch against mT5, language by language"
    assert browser.evaluate("document.baseURI").startswith("file:")
    complaints = browser.complaints()
    for directive in ("script-src", "base-uri"):
        assert any(directive in one for one in complaints), directive
    assert "form-action 'none'" in page
