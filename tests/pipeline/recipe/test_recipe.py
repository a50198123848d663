"""Where settings of a recipe may differ."""

from pipeline.recipe.recipe import Differs, may_differ


def test_settings_differ_where_their_fields_allow_it():
    free = {"mesh", "accumulate", "remat", "logits_mib", "keep_every"}
    intervals = {"evaluate_every", "checkpoint_every", "log_every"}
    assert may_differ(Differs.UNCLAIMED) == free
    assert may_differ(Differs.CHANGED) == {"steps"} | intervals
    assert may_differ(Differs.BRANCH) == {"name", "steps"} | intervals | free
    assert may_differ(Differs.SIDES) == {"name", "seed"} | intervals | free
