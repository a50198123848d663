"""Meshes are chosen as documented; an error names the obstacle and a change that works."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from model.config import ConfigurationError, MeshShape
from model.memory import activation_bytes, checkpoint_bytes
from pipeline.recipe import fits
from pipeline.recipe.fits import check_divides, check_sizes, mesh_to_open_on, with_mesh
from pipeline.recipe.named import get, names
from pipeline.recipe.overrides import override
from pipeline.recipe.recipe import with_rows

FITS = ["model.vocabulary_rows=384", "mesh.data=2", "mesh.expert=4", "rows=64"]


def recipe(*settings):
    return override(get("switch-demo"), [*FITS, *settings])


POOLED = "mesh.data=1 mesh.expert=8 " + " ".join(
    f"model.switch.{stack}_pooled_groups=8" for stack in ("encoder", "decoder")
)
OVER_BATCH = "model.switch.balance_loss_over=batch"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("", ""),
        # Every size that does not divide is named.
        (
            "mesh.data=3 model.switch.experts=6",
            r"batch \(64\) must be a multiple of 12.*experts \(6\) must be a multiple of 4",
        ),
        ("mesh.slices=2 mesh.data=1 mesh.expert=8", "set mesh.data to a multiple of 2"),
        ("mesh.expert_slices=2 mesh.data=1 mesh.expert=8", "it must divide both"),
        ("mesh.slices=3", "set mesh.data to a multiple of 3"),
        ("mesh.slices=3 mesh.data=4 mesh.expert=2", "set mesh.data to a multiple of 3"),
        ("mesh.slices=2 mesh.expert_slices=2 mesh.data=8 mesh.expert=1", "it must divide both"),
        ("accumulate=3", "rows cannot be computed in accumulate=3"),
        ("accumulate=16", "encoder tokens of a device"),  # not whole groups
        (POOLED, ""),
        (f"{POOLED} rows=128 accumulate=2", "encoder_pooled_groups=8 .* Set accumulate=1"),
        (f"{POOLED} rows=1024 accumulate=2", ""),  # whole on each device
        (OVER_BATCH, ""),
        (f"{OVER_BATCH} accumulate=2", "needs the loads of all parts"),
        (
            "model.switch.shared_mlp=9 mesh.data=1 mesh.model=2",
            r"shared_mlp \(9\) must be a multiple of 2",
        ),
    ],
)
def test_sizes_divide_over_the_mesh_or_are_named(settings, message):
    made = recipe(*settings.split())
    if message:
        with pytest.raises(ConfigurationError, match=f"(?s){message}"):
            check_divides(made)
    else:
        check_divides(made)


@pytest.mark.parametrize(
    ("asked", "devices", "message"),
    [
        (get("switch-c"), 512, "decoder tokens of a device"),  # too few groups
        (override(get("mt5-base"), ["mesh.slices=3"]), 8, "mesh.slices=3 was asked of 8 devices"),
    ],
)
def test_devices_that_no_mesh_takes_are_an_error(asked, devices, message):
    with pytest.raises(ConfigurationError, match=message):
        with_mesh(asked, devices)


@pytest.fixture
def with_memory(monkeypatch):
    """Returns a function that gives this machine one device with so many GiB of memory."""

    def give(gibibytes: float) -> None:
        devices = fits.jax.devices()[:1]
        monkeypatch.setattr(fits, "memory_bytes", lambda _: int(gibibytes * fits.GIB))
        monkeypatch.setattr(fits.jax, "local_devices", lambda: devices)

    return give


PLANS = json.loads((Path(__file__).parents[3] / "benchmarks/results/scale.json").read_text())
DENSE = [command for command in PLANS if re.search(r"--recipe m?t5-(?!demo)", command)]


@pytest.mark.parametrize("command", DENSE)
def test_least_activations_are_those_of_the_plan(command):
    """What the compiler reports for the published sizes, within 3 %."""
    _, _, _, name, _, _, *settings = command.split()
    planned = override(get(name), [setting for setting in settings if "=" in setting])
    shape = MeshShape(**PLANS[command]["mesh"])
    rows = planned.rows // planned.accumulate // shape.data // shape.expert
    lengths = rows * planned.inputs, rows * planned.lengths.targets
    kept = activation_bytes(planned.model, planned.remat, *lengths, parts=shape.model) / fits.GIB
    assert kept == pytest.approx(PLANS[command]["activations kept for the backward pass"], rel=0.03)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("mt5-large", [], r"activations, loss\), .*; --set accumulate=\d+ remat=full needs"),
        ("mt5-xxl", [], r"; 96\.3 GiB without any text: take a smaller recipe\.$"),
        ("mswitch-base", ["model.switch.experts=8", "rows=8192", OVER_BATCH], "; --set .*rows="),
    ],
)
def test_a_refusal_for_memory_advises_only_what_can_help(with_memory, name, settings, said):
    with_memory(24)
    large = override(get(name), settings)
    with pytest.raises(ConfigurationError, match=said) as error:
        check_sizes(large)
    assert ("accumulate" in str(error.value)) == ("accumulate" in said)
    if advised := re.search(r"--set (.*) needs", str(error.value)):
        fits.check_memory(override(large, advised[1].split()))


def test_a_teacher_needs_memory_beside_its_student(with_memory):
    with_memory(24)
    student = override(get("mt5-small"), ["rows=8"])
    fits.check_memory(student, get("mt5-base").model)
    with pytest.raises(ConfigurationError, match=r"loss, a teacher\), .* take a smaller teacher"):
        fits.check_memory(student, get("mt5-xxl").model)


def test_what_is_advised_beside_a_teacher_fills_its_groups(with_memory):
    with_memory(15.75)
    teacher = get("mswitch-base").model
    student = override(get("mt5-base"), ["mesh.data=8"])
    with pytest.raises(ConfigurationError, match=r"a teacher\)") as error:
        fits.check_memory(student, teacher)
    advised = override(student, re.findall(r"--set (.*) needs", str(error.value))[0].split())
    assert advised.remat == "full"  # without it a step needs far more than the least
    check_divides(fits.taught_by(advised, teacher))
    fits.check_memory(advised, teacher)


def test_memory_is_shared_by_devices():
    """Parameters and moments in parts; a checkpoint holds each once."""
    large = get("mswitch-base")
    sizes = {
        shape: fits.least_memory(dataclasses.replace(large, mesh=shape, rows=1024, remat="full"))
        for shape in (MeshShape(), MeshShape(data=4, expert=8), MeshShape(data=4, expert=16))
    }
    one, few, many = sizes.values()
    assert few < one / 19  # the loss gathers the output matrix
    assert many < few
    whole = checkpoint_bytes(large.model, large.optimizer)
    assert 4 * 7.7e9 < whole < 4 * 7.9e9  # float32, and Adafactor's factored moments


@pytest.mark.parametrize(
    ("name", "devices", "mesh"),
    [
        ("switch-base", 4, MeshShape(expert=4)),
        ("switch-base", 32, MeshShape(expert=32)),
        ("t5-xxl", 256, MeshShape(data=256)),
        # 2,048 rows are 128 decoder groups of 16 rows, so 256 devices halve every matrix.
        ("switch-c", 256, MeshShape(expert=128, model=2)),
        ("mt5-base", 16, MeshShape(data=16)),
        ("mt5-base", 256, MeshShape(data=256)),
        # 768 is 256 times 3: parameters in 256 parts, each on two or four devices.
        ("mt5-base", 512, MeshShape(data=512)),
        ("mt5-base", 1024, MeshShape(data=1024)),
    ],
)
def test_experts_first_then_data_and_the_smallest_model_axis(name, devices, mesh):
    assert with_mesh(get(name), devices).mesh == mesh


# A batch of switch-multilingual is one routing group: it runs on one device.
ON_SEVERAL = [name for name in names() if name != "switch-multilingual"]


@pytest.mark.parametrize("name", ON_SEVERAL)
def test_every_recipe_has_a_mesh_of_eight_devices(name):
    recipe = with_mesh(with_rows(get(name), 2048), 8)
    check_divides(recipe)
    assert recipe.mesh.data * recipe.mesh.expert * recipe.mesh.model == 8


@pytest.mark.parametrize(
    "devices", [1, 2, 3, 5, 6, 7, 8, 12, pytest.param(64, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", ["mt5-demo", "switch-demo", "switch-multilingual", "switch-base"])
def test_a_run_opens_on_any_number_of_devices(name, devices):
    """Even one trained with microbatches, over slices, on a mesh that is not available."""
    shape = MeshShape(data=2, expert=16, slices=2)
    run = dataclasses.replace(get(name), accumulate=2, mesh=shape)
    mesh = mesh_to_open_on(run, devices)
    assert 1 <= mesh.data * mesh.expert * mesh.model <= devices
    check_divides(dataclasses.replace(run, accumulate=1, mesh=mesh))


def test_a_run_opens_on_the_mesh_that_it_was_trained_on_or_on_as_many_devices_as_it_can():
    recipe = get("switch-base")
    run = dataclasses.replace(recipe, mesh=MeshShape(data=4, expert=2, slices=2))
    assert mesh_to_open_on(run, 8) == MeshShape(data=4, expert=2)
    assert mesh_to_open_on(run, 5) == with_mesh(recipe, 4).mesh
    divided = dataclasses.replace(recipe, rows=2560, mesh=MeshShape(data=5, expert=8, slices=5))
    check_divides(divided)  # each slice has all of the width of 768, which 5 does not divide
    whole = dataclasses.replace(divided, mesh=mesh_to_open_on(divided, 40))
    check_divides(whole)
    assert whole.mesh.slices == 1
    assert 1 < whole.mesh.data * whole.mesh.expert * whole.mesh.model < 40
