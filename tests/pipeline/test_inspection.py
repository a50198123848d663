"""What `inspect` prints, and in which order."""

import io

from pipeline.inspection import print_settings
from pipeline.recipe import named
from pipeline.recipe.overrides import override
from pipeline.recipe.recipe import recipe_to_json
from pipeline.terminal import Terminal


def printed(settings: dict, width: int = 80) -> list[str]:
    shown = io.StringIO()
    print_settings(settings, Terminal(file=shown, width=width, force_terminal=True))
    return shown.getvalue().splitlines()


def test_settings_that_differ_from_the_named_recipe_are_marked():
    recipe = override(named.get("mt5-demo"), ["steps=7", "optimizer.scale=2.5"])
    head, *lines = printed(recipe_to_json(recipe))
    assert head == "settings; * marks those that differ from mt5-demo"
    before = named.get("mt5-demo")
    assert [line for line in lines if line.startswith("*")] == [
        f"* steps: 7 (recipe: {before.steps})",
        f"* optimizer.scale: 2.5 (recipe: {before.optimizer.scale})",
    ]
    assert len(lines) > 25
    assert all(len(line) <= 80 for line in (head, *lines))


def test_settings_of_no_known_recipe_have_no_marks():
    assert printed({"name": "mine", "steps": 3}) == ["settings", "  name: mine", "  steps: 3"]
    assert printed({"size": 1400}) == ["settings", "  size: 1400"]
