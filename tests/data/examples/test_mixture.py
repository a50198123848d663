""" """

import csv
import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import DataError
from data.examples.mixture import (
    BLOCK,
    TextSizes,
    make_schedule,
    parse,
    temperature_weights,
    unimax_weights,
    weights_file,
)
from data.languages import all_languages

# umT5 (Chung et al. 2023), table 8: characters in billions and shares in percent, all rounded.
UMT5 = list(
    csv.DictReader(
        (Path(__file__).parent / "umt5_table_8.tsv").read_text().splitlines(),
        delimiter="\t",
    )
)
RAW, ROWS, CHARACTERS_A_TOKEN = {1024: 1137, 512: 568}, 1024, 4
BUDGETS = {
    "unimax_1": CHARACTERS_A_TOKEN * RAW[1024] * ROWS * 1e6,
    "unimax_1_8": CHARACTERS_A_TOKEN * RAW[512] * ROWS * 250e3,
}


def sizes(pages: dict[str, int]) -> TextSizes:
    return TextSizes(pages, {code: 1000 * count for code, count in pages.items()})


def half_a_unit(text: str) -> float:
    """Returns the largest error of the rounded number `text`."""
    return 0.5 * 10.0 ** -len(text.partition(".")[2])


def test_temperature_reproduces_mt5():
    """mT5 table 6: alpha = 0.3 over pages. English is 0.09 off by the table's own rounding."""
    weights = temperature_weights(
        {row.code: round(row.pages_millions * 1e6) for row in all_languages()}, 0.3
    )
    for row in all_languages():
        assert 100 * weights[row.code] == pytest.approx(row.mt5_percent, abs=0.1), row.code


@pytest.mark.parametrize("column", BUDGETS)
def test_unimax_reproduces_umt5(column):
    """To 0.01 point, plus the effect of the table's rounding of a language's characters."""
    characters = {row["code"]: float(row["characters_billions"]) * 1e9 for row in UMT5}
    weights = unimax_weights(characters, 1.0, BUDGETS[column])
    for row in UMT5:
        code = row["code"]
        rounding = 100 * half_a_unit(row["characters_billions"]) * 1e9 / BUDGETS[column]
        expected = pytest.approx(float(row[column]), abs=0.01 + rounding)
        assert 100 * weights[code] == expected, code


def test_most_unimax_shares_are_exact():
    characters = {row["code"]: float(row["characters_billions"]) * 1e9 for row in UMT5}
    for column, budget in BUDGETS.items():
        weights = unimax_weights(characters, 1.0, budget)
        exact = sum(f"{100 * weights[row['code']]:.2f}" == row[column] for row in UMT5)
        assert exact >= 75, column


@pytest.mark.parametrize(("column", "alpha"), [("temperature_0.3", 0.3), ("temperature_1", 1.0)])
def test_temperature_over_characters_reproduces_umt5(column, alpha):
    weights = temperature_weights(
        {row["code"]: round(float(row["characters_billions"]) * 1e9) for row in UMT5}, alpha
    )
    for row in UMT5:
        assert 100 * weights[row["code"]] == pytest.approx(float(row[column]), abs=0.014)


def test_unimax_by_hand():
    # 100 for three: "a" has 10, read twice gives 20; the other two share the remaining 80.
    assert unimax_weights({"c": 500, "a": 10, "b": 300}, 2.0, 100.0) == pytest.approx(
        {"c": 0.4, "a": 0.2, "b": 0.4}
    )


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 10**12), min_size=1),
    st.floats(0.5, 20),
    st.floats(1e3, 1e14),
)
def test_unimax_never_exceeds_its_epochs_nor_favours_the_small(characters, epochs, budget):
    weights = unimax_weights(characters, epochs, budget)
    spent = min(budget, sum(characters.values()) * epochs)
    for code, weight in weights.items():
        assert weight * spent <= characters[code] * epochs * (1 + 1e-9)
    by_size = sorted(weights, key=lambda code: characters[code])
    shares = [weights[code] for code in by_size]
    assert all(a <= b * (1 + 1e-9) for a, b in itertools.pairwise(shares))


@pytest.mark.parametrize(
    ("mixture", "expected"),
    [
        ("proportional", {"sw": 0.25, "yo": 0.75}),
        ("temperature:1", {"sw": 0.25, "yo": 0.75}),
        ("uniform", {"sw": 0.5, "yo": 0.5}),
        ("unimax:1:1500", {"sw": 0.5, "yo": 0.5}),
        ("unimax:1:3000", {"sw": 1 / 3, "yo": 2 / 3}),
    ],
)
def test_settings(mixture, expected):
    assert parse(mixture, sizes({"sw": 1, "yo": 3})) == pytest.approx(expected)


def test_unimax_reads_no_language_more_often_than_its_epochs():
    with pytest.raises(DataError, match=r"1 epochs of the text are 4,000; give a smaller budget"):
        parse("unimax:1:4001", sizes({"sw": 1, "yo": 3}))
    assert parse("unimax:2:4001", sizes({"sw": 1, "yo": 3})).keys() == {"sw", "yo"}


@pytest.mark.parametrize("content", [json.dumps({"swa": 3, "yo": 1}), "swa\t3\nyo\t1\n"])
def test_weights_given_by_the_user(tmp_path, content):
    path = tmp_path / "weights"
    path.write_text(content)
    weights = parse(f"weights:{path}", sizes({"en": 9, "sw": 1, "yo": 3}))
    assert weights == {"sw": 0.75, "yo": 0.25}
    assert weights_file(f"weights:{path}") == path
    assert weights_file("temperature:0.3") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"sw": 1, "yo": 0}', "no positive weight to yo"),
        ('{"sw": 1, "en": 1}', "en, of which there is no training page"),
        ('{"sw": 1, "tlh": 1}', "'tlh' is not one of mC4's"),
        ('{"sw": "much"}', "gives sw the weight 'much', which"),
        ('{"sw": 1, "yo": NaN}', "yo the weight 'nan', which is not a finite number"),
        ('{"sw": 1, "yo": Infinity}', "yo the weight 'inf', which is not a finite number"),
        ("sw\t1\nyo\t1e999\n", "gives yo the weight '1e999', which is not a finite number"),
        ("sw\t1\nsw\t3\n", r"gives sw \(sw, sw\) more than one weight; leave one"),
        ('{"sw": 1, "yo": 1, "swa": 3}', r"gives sw \(sw, swa\) more than one weight"),
        ('{"he": 1, "iw": 2, "sw": 1}', r"gives iw \(he, iw\) more than one weight"),
        ('{"sw": 1, "sw": 2}', r"gives sw \(sw, sw\) more than one weight"),
        ("{", "should hold JSON"),
        ("sw 1\n", "a tab and a weight"),
        ("{}", "no positive weight to any language"),
    ],
)
def test_unusable_weights_files(tmp_path, content, message):
    path = tmp_path / "weights"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        parse(f"weights:{path}", sizes({"sw": 1, "yo": 3}))


@pytest.mark.parametrize(
    "mixture",
    [
        "uniform?",
        "temperature:warm",
        "",
        "uniform:1",
        "unimax:1",
        "weights:",
        "temperature:nan",
        "temperature:inf",
        "unimax:nan:5",
        "unimax:1:inf",
    ],
)
def test_unknown_mixtures(mixture):
    with pytest.raises(DataError, match="there are temperature:ALPHA"):
        parse(mixture, sizes({"sw": 1}))


@pytest.mark.parametrize("exponent", ["-0.1", "-400"])
def test_an_exponent_that_turns_the_order_round_is_refused(exponent):
    with pytest.raises(DataError, match="choose an exponent of at least 0"):
        parse(f"temperature:{exponent}", sizes({"sw": 10**7, "yo": 1}))


@pytest.mark.parametrize("exponent", ["300", "50"])
def test_weights_beyond_the_numbers_of_a_computer_are_one_sentence(exponent):
    with pytest.raises(DataError, match="beyond the numbers of a computer; choose an exponent"):
        parse(f"temperature:{exponent}", sizes({"sw": 10**7, "yo": 1}))


def test_a_table_may_have_a_byte_order_mark_and_blank_lines(tmp_path):
    path = tmp_path / "weights.tsv"
    path.write_bytes(b"\xef\xbb\xbfsw\t1\r\n\r\nyo\t3\r\n\r\n")
    assert parse(f"weights:{path}", sizes({"sw": 1, "yo": 3})) == {"sw": 0.25, "yo": 0.75}


@pytest.mark.parametrize("mixture", ["temperature:0.3", "unimax:1:10", "uniform"])
def test_a_language_without_text_is_named(mixture):
    with pytest.raises(DataError, match=r"\(yo\)"):
        parse(mixture, sizes({"sw": 1, "yo": 0}))


@pytest.mark.parametrize("content", [b"sw\t\xff\n", b'{"a":' * 200_000, b"sw\t" + b"1" * 200_000])
def test_damaged_weights_files(tmp_path, content):
    path = tmp_path / "weights"
    path.write_bytes(content)
    with pytest.raises(DataError, match=str(path)):
        parse(f"weights:{path}", sizes({"sw": 1}))


def test_missing_weights_file():
    with pytest.raises(DataError, match="not a file"):
        parse("weights:/nowhere/weights.json", sizes({"sw": 1}))


def test_weights_are_the_same_on_every_python(tmp_path):
    codes = [language.code for language in all_languages()][:10]
    path = tmp_path / "weights"
    path.write_text("".join(f"{code}\t0.1\n" for code in codes))
    found = parse(f"weights:{path}", sizes(dict.fromkeys(codes, 1)))
    assert set(found.values()) == {0.1}  # added up one by one, ten tenths are less than 1


def test_a_block_has_exactly_its_quotas():
    plan = make_schedule({"a": 0.5, "b": 0.3, "c": 0.2}, seed=7)
    drawn = plan.draw(np.arange(BLOCK)).languages
    counts = Counter(plan.languages[language] for language in drawn)
    assert counts == {"a": 32768, "b": 19661, "c": 13107}
    assert plan.share("a") == 0.5


def test_ordinals_of_a_language_are_each_used_once():
    plan = make_schedule({"a": 0.7, "b": 0.3}, seed=1)
    draws = plan.draw(np.arange(2 * BLOCK))
    for language in range(2):
        ordinals = draws.ordinals[draws.languages == language]
        assert ordinals.tolist() == list(range(len(ordinals)))


def test_each_seed_and_each_block_has_an_order_of_its_own():
    weights = {code: 1.0 for code in "abcdefgh"}
    one, other = (make_schedule(weights, seed).draw(np.arange(2 * BLOCK)) for seed in (1, 2))
    pairs = [
        (one.languages[:BLOCK], other.languages[:BLOCK]),
        (one.languages[:BLOCK], one.languages[BLOCK:]),
    ]
    for first, second in pairs:
        assert np.mean(first == second) == pytest.approx(1 / 8, abs=0.01)


def test_draws_look_random_from_the_first():
    plan = make_schedule({code: 1.0 for code in "abcdefgh"}, seed=0)
    first = plan.draw(np.arange(64)).languages.tolist()
    assert len(set(first)) == 8
    assert first != sorted(first)
    repeats = sum(a == b for a, b in itertools.pairwise(first))
    assert 2 <= repeats <= 18  # an interleave would have none; 8 are expected


@given(st.integers(0, 10**15), st.integers(0, 100))
@settings(max_examples=20)
def test_draws_of_large_indices_need_no_history(index, ahead):
    """Between two near indices each language's ordinals increase by one."""
    plan = make_schedule({"a": 1.0, "b": 2.0}, seed=3)
    draws = plan.draw(index + np.arange(ahead + 1))
    for language in range(2):
        ordinals = draws.ordinals[draws.languages == language].tolist()
        assert ordinals == list(range(ordinals[0], ordinals[0] + len(ordinals)) if ordinals else [])


@given(st.lists(st.integers(0, 4 * BLOCK), min_size=1, max_size=20))
@settings(max_examples=20)
def test_a_draw_does_not_depend_on_the_others(indices):
    plan = make_schedule({"a": 1.0, "b": 2.0}, seed=3)
    together = plan.draw(np.array(indices))
    alone = [plan.draw(np.array([index])) for index in indices]
    assert together.languages.tolist() == [draw.languages[0] for draw in alone]
    assert together.ordinals.tolist() == [draw.ordinals[0] for draw in alone]


@pytest.mark.parametrize("weights", [{}, {"a": 0.0}, {"a": 1.0, "b": 1e-9}])
def test_unusable_weights(weights):
    with pytest.raises(DataError):
        make_schedule(weights, seed=0)
