"""Gains by script, beside the mean over all and the rows of their languages."""

import dataclasses

import numpy as np
import pytest
from small_reports import made_of, make, side

from eval import comparison
from eval.language_loss import HeldOutPages, PageLosses
from eval.rendering.html import to_html
from eval.rendering.markdown import to_markdown
from eval.rendering.report_json import to_json
from eval.script_gain import script_gains

SIDES = side("mT5", (3.0,) * 4, 1), side("Switch", (2.0, 2.5, 3.2, 1.0), 2)


def test_a_script_has_the_counts_and_the_mean_of_its_languages():
    rows = comparison.language_gains(*SIDES, {})
    latin, single = make().scripts
    assert (latin.scripts, latin.languages, latin.languages_improved) == (("Latn",), 2, 2)
    assert latin.mean_gain == pytest.approx((rows["sw"].gain + rows["en"].gain) / 2)
    assert latin.mean_gain_bits_per_byte == pytest.approx(
        (rows["sw"].gain_bits_per_byte + rows["en"].gain_bits_per_byte) / 2
    )
    ru = rows["ru"]  # a script of one language has that language's interval
    assert (single.scripts, single.languages_worse) == (("Cyrl",), 1)
    assert (single.mean_gain, single.mean_gain_low, single.mean_gain_high) == pytest.approx(
        (ru.gain, ru.low, ru.high)
    )


def test_a_language_of_one_page_is_in_no_mean_of_its_script():
    def alone(one):
        last = one.pages[0][-1]
        code = last.held_out.language
        keep = (code != "sw") | (np.cumsum(code == "sw") == 1)
        held_out = HeldOutPages(code[keep], last.held_out.url[keep])
        counts = (
            getattr(last, name)[keep] for name in ("loss_nats", "target_tokens", "text_bytes")
        )
        pages = ((PageLosses(held_out, *counts),),)
        return dataclasses.replace(one, steps=one.steps[-1:], pages=pages)

    sides = [alone(one) for one in SIDES]
    made = made_of(*sides)
    latin, rows = made.scripts[0], made.gains
    assert (latin.languages, latin.mean_gain_languages, rows["sw"].held_out_pages) == (2, 1, 1)
    assert latin.mean_gain == pytest.approx(rows["en"].gain)
    assert latin.mean_gain_bits_per_byte == pytest.approx(rows["en"].gain_bits_per_byte)
    assert "over 1 |" in to_markdown(made)
    assert ", over 1</td>" in to_html(made)


def test_scripts_together_have_the_counts_of_the_summary():
    made = make()
    for name in ("languages", "languages_improved", "languages_worse_significantly"):
        assert sum(getattr(one, name) for one in made.scripts) == getattr(made.summary, name)


def test_scripts_of_one_language_share_the_last_row():
    made = make()
    twice = {f"{code} {n}": gain for code, gain in made.gains.items() for n in (1, 2)}
    scripts = {"ru 1": "Cyrl", "ru 2": "Grek"}
    rows = {c: dataclasses.replace(g, script=scripts.get(c, g.script)) for c, g in twice.items()}
    latin, single = script_gains(rows, *SIDES, made.unit)
    assert (latin.scripts, latin.languages) == (("Latn",), 4)
    assert (single.scripts, single.languages) == (("Cyrl", "Grek"), 2)


@pytest.mark.parametrize("script", [lambda code: "Latn", lambda code: code])
def test_a_single_row_is_left_to_the_summary(script):
    gains = make().gains.items()
    rows = {code: dataclasses.replace(gain, script=script(code)) for code, gain in gains}
    assert script_gains(rows, *SIDES, make().unit) == []


def test_scripts_stand_in_markdown_and_json():
    latin = make().scripts[0]
    assert f"| Latn | 2 | 2 | 0 | {latin.languages_improved_significantly} | " in to_markdown(
        make()
    )
    assert to_json(make())["scripts"][0]["mean_gain"] == latin.mean_gain
