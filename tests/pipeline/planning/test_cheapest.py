"""The choice of slice, mesh, remat and microbatches equals that of looking at every plan."""

import dataclasses
import functools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.configuration_checks import ConfigurationError
from pipeline.planning import compiled_candidates
from pipeline.planning.candidates import Candidate, Slice, chains, least_flops
from pipeline.planning.cheapest import Goal, Planned, bound, choice, search
from pipeline.planning.own_process import Aborted
from pipeline.planning.prices import prices
from pipeline.recipe.named import get
from pipeline.recipe.overrides import override

SLICES = [
    Slice("v5p:2x2x2", 8, 8, memory=2**36, peak=4e14),
    Slice("v5p:2x2x4", 16, 16, memory=2**36, peak=4e14),
    Slice("h100:8", 8, 8, memory=2**36, peak=9e14),
]


# Not at import, which every worker pays: 9 CPU-seconds.
@functools.cache
def ways() -> list[tuple[Candidate, ...]]:
    return [chain for one in SLICES for chain in chains(get("t5-base"), one)]


@functools.cache
def bounds() -> dict[Candidate, Planned]:
    return {one: bound(one) for chain in ways() for one in chain}


def figures(seed: int) -> dict[Candidate, Planned]:
    """Returns drawn plans: above their bound, slower and smaller with more microbatches."""
    draws, plans = np.random.default_rng(seed), {}
    for chain in ways():
        slower, first = draws.uniform(1.01, 4), draws.integers(0, len(chain) + 1)
        for number, one in enumerate(chain):
            seconds = bounds()[one].seconds * (slower + number * draws.uniform(0, 0.1))
            slower += number * 0.1
            plans[one] = bounds()[one]._replace(seconds=seconds, fits=bool(number >= first))
    return plans


def best_by_brute_force(plans: list[Planned], goal: Goal) -> Planned | None:
    """Returns the best plan by looking at all, written out."""
    best = None
    for plan in plans:
        price = goal.prices[plan.slice.partition(":")[0]]
        money = plan.seconds * plan.steps / 3600 * plan.chips * price
        days = plan.seconds * plan.steps / 86_400
        if not plan.fits or days > goal.days or money > goal.budget:
            continue
        score = (money, days) if math.isinf(goal.budget) else (days, money)
        if best is None or score < best[0]:
            best = score, plan
    return None if best is None else best[1]


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), by_budget=st.booleans(), limit=st.floats(0.9, 4))
def test_the_search_finds_what_brute_force_finds(seed, by_budget, limit):
    """The limit is in units of the fastest plan's days, or of the cheapest plan's money."""
    plans = figures(seed)
    goal = Goal({"v5p": 4.2, "h100": 2.5})
    fits = [plan for plan in plans.values() if plan.fits]
    if by_budget:
        goal = dataclasses.replace(goal, budget=limit * min(map(goal.money, fits)))
    else:
        goal = dataclasses.replace(goal, days=limit * min(plan.days for plan in fits))
    compiled, left = search(ways(), plans.__getitem__, goal, most=1000)
    assert choice(compiled, goal) == best_by_brute_force(list(plans.values()), goal)
    assert left == 0
    assert len(compiled) < len(plans)


def test_microbatches_that_fit_no_mesh_are_chosen_anew():
    """A part of one row is on no eight devices; the search looks at 1 to 16 parts."""
    given = override(get("t5-base"), [f"accumulate={get('t5-base').rows}"])
    assert next(chains(given, SLICES[0])) == next(chains(get("t5-base"), SLICES[0]))


def test_meshes_that_slices_do_not_divide_are_left_out():
    spanned = override(get("switch-demo"), ["mesh.expert_slices=2"])  # of one slice
    assert list(chains(spanned, SLICES[0])) == []


# Plans of a two-layer mT5-Small on a v5e:2x2, compiled; policies added since are left out.
GRID = json.loads(Path(__file__).with_name("cheapest_grid.json").read_text())
COMPILED = {plan["settings"]: Planned(**plan) for plan in GRID["plans"]}


@pytest.mark.parametrize("limit", [0.99, 1.0, 1.1, 2.0])
@pytest.mark.parametrize("by_budget", [False, True])
def test_the_choice_among_compiled_plans_is_that_of_brute_force(limit, by_budget):
    recipe, v5e = override(get(GRID["recipe"]), GRID["set"]), Slice(**GRID["slices"][0])
    stored = [[one for one in chain if one.settings in COMPILED] for chain in chains(recipe, v5e)]
    stored = [chain for chain in stored if chain]
    assert sum(map(len, stored)) == len(COMPILED)
    goal = Goal({"v5e": 1.2})
    least = min(COMPILED.values(), key=goal.rank)
    goal = dataclasses.replace(
        goal,
        days=math.inf if by_budget else limit * least.days,
        budget=limit * goal.money(least) if by_budget else math.inf,
    )
    compiled, left = search(stored, lambda one: COMPILED[one.settings], goal, most=100)
    assert choice(compiled, goal) == best_by_brute_force(list(COMPILED.values()), goal)
    assert left == 0
    assert len(compiled) < len(COMPILED)
    assert all(bound(one).seconds < COMPILED[one.settings].seconds for way in stored for one in way)


def test_what_the_limit_leaves_out_is_counted():
    plans = {one: plan._replace(seconds=1e6) for one, plan in bounds().items()}
    compiled, left = search(ways(), plans.__getitem__, Goal({"v5p": 4.2, "h100": 2.5}), most=1)
    assert len(compiled) == 1
    assert left == len(ways())  # the first chain might go on


PLAN = st.builds(
    Planned,
    slice=st.sampled_from(["v5e:2x2", "h100:8"]),
    settings=st.just(""),
    chips=st.sampled_from([4, 8]),
    fits=st.booleans(),
    seconds=st.floats(0.1, 10),
    steps=st.just(1000),
)


@given(
    plans=st.lists(PLAN, max_size=8),
    days=st.floats(0, 0.2) | st.just(math.inf),
    budget=st.floats(0, 50) | st.just(math.inf),
)
def test_no_plan_that_reaches_the_goal_is_better_than_the_choice(plans, days, budget):
    goal = Goal({"v5e": 1.0, "h100": 3.0}, days, budget)
    best = choice(plans, goal)
    reach = [
        plan for plan in plans if plan.fits and plan.days <= days and goal.money(plan) <= budget
    ]
    if best is None:
        assert not reach
    else:
        assert best in reach
        assert goal.rank(best) == min(map(goal.rank, reach))


def test_full_remat_computes_all_but_a_blocks_last_product_again():
    recipe = get("t5-base")
    again = least_flops(dataclasses.replace(recipe, remat="full")) / least_flops(recipe)
    assert 1.2 < again < 4 / 3


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ((), {}),
        (("4.2",), {"v5p": 4.2, "h100": 4.2}),
        (("v5p=4.2", "h100=2.5"), {"v5p": 4.2, "h100": 2.5}),
        (("3", "h100=2.5"), {"v5p": 3, "h100": 2.5}),
        (("h100=2.5", "3"), {"v5p": 3, "h100": 2.5}),
    ],
)
def test_prices_are_per_generation(texts, found):
    assert prices(texts, ["v5p", "h100"]) == found


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("v5p=4.2",), "no price of h100"),
        (("much",), "'much'"),
        (("-1",), "'-1'"),
        (("2.5", "v5x=9"), "names v5x, and planned is v5p, h100"),
    ],
)
def test_a_missing_or_wrong_price_is_an_error_of_one_sentence(texts, message):
    with pytest.raises(ConfigurationError, match=message):
        prices(texts, ["v5p", "h100"])


@pytest.mark.parametrize(
    ("failure", "remark"),
    [(Aborted(), "the compiler aborts"), (ConfigurationError("No room."), "refused: No room.")],
)
def test_one_candidate_that_is_refused_does_not_end_the_search(monkeypatch, failure, remark):
    def compiled(*_):
        raise failure

    monkeypatch.setattr(compiled_candidates, "in_own_process", compiled)
    plan = compiled_candidates.planned_or_refused(ways()[0][0])
    assert (plan.fits, plan.seconds, plan.remark) == (False, math.inf, remark)


def test_without_prices_no_money_is_named():
    plan = Planned("v5p:2x2x4", "remat=full", 16, True, 2.0, 1000)
    for known, money in ({}, False), ({"v5p": 4.2}, True):
        goal = Goal(known)
        (chosen,) = compiled_candidates.conclusion(plan, goal, 0)
        assert ("money" in chosen) == money
        assert compiled_candidates.line_of(plan, goal).split()[4] == ("37" if money else "-")
