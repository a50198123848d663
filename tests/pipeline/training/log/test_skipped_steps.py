import json

import numpy as np
import pytest
from step_metrics import LANGUAGES, SITES, step_metrics

from pipeline.errors import ArtifactError
from pipeline.recipe import named
from pipeline.training.log.skipped_steps import MOST_SKIPPED, SkippedSteps


def skip(out, count, **settings):
    """Records `count` skipped steps; returns what was printed."""
    printed = []
    recipe = named.get("switch-demo")
    log = SkippedSteps(recipe, out, SITES, LANGUAGES, printed.append)
    log.record(0, [step_metrics(skipped=True, **settings)] * count)
    return printed


def lines(out):
    return [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]


def test_a_broken_run_stops_with_its_reason(tmp_path):
    """The message names the language of the nonfinite row and the layer of the backward pass."""
    with pytest.raises(ArtifactError) as error:
        skip(tmp_path, 20, squares=(np.nan, np.nan, 1.0), rows=(5.0, np.nan))
    assert f"skipped its last {MOST_SKIPPED} updates" in str(error.value)
    assert "stopped being finite in encoder layer 1 (feed_forward.up)" in str(error.value)
    assert "its 1 rows were in yo." in str(error.value)
    assert "start again with another --out" in str(
        error.value
    )  # this directory refuses other settings
    skipped = lines(tmp_path)
    assert [one["step"] for one in skipped] == list(range(1, MOST_SKIPPED + 1))
    assert skipped[0]["languages"] == ["yo"]


def test_exploded_gradients_name_their_layer_and_all_languages(tmp_path):
    printed = skip(tmp_path, 2, squares=(1.0, 1e12, 1.0))
    (first, _) = lines(tmp_path)
    assert "the gradient norm was 1e+06" in first["where"]
    assert "encoder layer 1" in first["where"]
    assert first["languages"] == ["sw", "yo"]
    assert printed[0].startswith("pretrain: Update 1 was skipped: ")


def test_only_skips_in_a_row_stop_a_run(tmp_path):
    log = SkippedSteps(named.get("switch-demo"), tmp_path, SITES, LANGUAGES, lambda _: None)
    most = [step_metrics(skipped=True)] * (MOST_SKIPPED - 1)
    log.record(0, [*most, step_metrics(), *most])
    with pytest.raises(ArtifactError, match="skipped its last 10 updates"):
        log.record(2 * MOST_SKIPPED - 1, [step_metrics(skipped=True)])
    assert [line["step"] for line in lines(tmp_path)] == [*range(1, 10), *range(11, 21)]
