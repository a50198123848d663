import pytest

from model.config import ConfigurationError, MeshShape
from model.memory import bytes_per_device, checkpoint_bytes
from pipeline.recipe import fits, named
from pipeline.recipe.fits import check_divides, check_sizes
from pipeline.recipe.overrides import override

FITS = ["model.vocabulary_rows=384", "mesh.data=2", "mesh.expert=4", "rows=64"]


def recipe(*settings):
    return override(named.get("switch-demo"), [*FITS, *settings])


def test_sizes_that_divide_fit():
    check_sizes(recipe())


def test_every_size_that_does_not_divide_is_named():
    with pytest.raises(ConfigurationError) as error:
        check_divides(recipe("mesh.data=3", "model.switch.experts=6"))
    assert "rows of a batch (64) must be a multiple of 12" in str(error.value)
    assert "experts (6) must be a multiple of 4" in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("mesh.slices=2 mesh.data=1 mesh.expert=8", "set mesh.data to a multiple of 2"),
        ("mesh.expert_slices=2 mesh.data=1 mesh.expert=8", "it must divide both"),
        ("mesh.slices=3", "set mesh.data to a multiple of 3"),
        ("mesh.slices=3 mesh.data=4 mesh.expert=2", "set mesh.data to a multiple of 3"),
        ("mesh.slices=2 mesh.expert_slices=2 mesh.data=8 mesh.expert=1", "it must divide both"),
    ],
)
def test_slices_are_equal_parts_of_the_mesh(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        check_divides(recipe(*settings.split()))


def test_what_cannot_fit_into_memory_is_refused(monkeypatch):
    monkeypatch.setattr(fits, "memory_bytes", lambda _: 10**6)
    with pytest.raises(ConfigurationError, match=r"GiB on 8 devices of cpu .* which has 0.0 GiB"):
        check_sizes(recipe())


def test_microbatches_must_be_whole_groups():
    with pytest.raises(ConfigurationError, match="encoder tokens of a device"):
        check_divides(recipe("accumulate=16"))


POOLED = (
    "model.switch.encoder_pooled_groups=8",
    "model.switch.decoder_pooled_groups=8",
)


def test_a_pool_on_several_devices_takes_the_batch_at_once():
    mesh = "mesh.data=1", "mesh.expert=8"
    check_divides(recipe(*mesh, *POOLED))
    with pytest.raises(ConfigurationError, match=r"encoder_pooled_groups=8 .* Set accumulate=1"):
        check_divides(recipe(*mesh, "rows=128", "accumulate=2", *POOLED))
    check_divides(recipe(*mesh, "rows=1024", "accumulate=2", *POOLED))  # whole on each device


def test_microbatches_must_be_equal():
    with pytest.raises(ConfigurationError, match="rows cannot be computed in accumulate=3"):
        check_divides(recipe("accumulate=3"))


def test_memory_is_shared_by_devices():
    """Parameters and moments in parts; a checkpoint holds each once."""
    large = named.get("mswitch-base")
    sizes = {
        shape: bytes_per_device(
            large.model, large.optimizer, shape, rows=1024, targets=229, logits_bytes=2**29
        )
        for shape in (MeshShape(), MeshShape(data=4, expert=8), MeshShape(data=4, expert=16))
    }
    one, few, many = sizes.values()
    assert few < one / 20  # the loss gathers the output matrix
    assert many < few
    whole = checkpoint_bytes(large.model, large.optimizer)
    assert 4 * 7.7e9 < whole < 4 * 7.9e9  # float32, and Adafactor's factored moments


def test_a_balance_loss_over_the_batch_is_of_a_batch_at_once():
    check_divides(recipe("model.switch.balance_loss_over=batch"))
    with pytest.raises(ConfigurationError, match="needs the loads of all parts"):
        check_divides(recipe("model.switch.balance_loss_over=batch", "accumulate=2"))


def test_a_shared_expert_is_split_as_other_widths():
    with pytest.raises(ConfigurationError, match=r"shared_mlp \(9\) must be a multiple of 2"):
        check_divides(recipe("model.switch.shared_mlp=9", "mesh.data=1", "mesh.model=2"))
