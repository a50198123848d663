from dataclasses import replace

import pytest

from pipeline.hardware.peaks import peak_flops
from pipeline.recipe import named
from pipeline.recipe.recipe import step_flops


def test_peaks_of_known_devices_only():
    assert peak_flops("NVIDIA H100 80GB HBM3") == pytest.approx(989.4e12)
    assert peak_flops("NVIDIA H100 PCIe") == pytest.approx(756e12)
    assert peak_flops("TPU v5 lite") == pytest.approx(197e12)
    assert peak_flops("TPU v5p") == pytest.approx(459e12)
    assert peak_flops("cpu") is None


def test_the_flops_of_t5_bases_step_by_hand():
    """Two per multiply-add, and a backward pass is two forward ones."""
    inputs, targets, width = 512, 114, 768
    projections = width**2 * (6 * inputs + 6 * targets)
    scores = 2 * width * (inputs**2 + targets**2 + inputs * targets)
    feed_forward = 2 * width * 3072 * (inputs + targets)
    products = 12 * (projections + scores + feed_forward) + targets * width * 32_128
    assert 2 * products == 141_981_401_088
    recipe = named.get("t5-base")
    assert (recipe.lengths.inputs, recipe.lengths.targets) == (inputs, targets)
    assert step_flops(replace(recipe, rows=7)) == 7 * 3 * 2 * products
