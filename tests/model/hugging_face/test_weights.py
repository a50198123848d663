"""Transformers' numbers, frozen by `parity/hugging_face.py --freeze`; the way there and back."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from small_networks import EIGHT, mesh_of, sized

from model.batch import Batch, Call
from model.config import ConfigurationError, SwitchConfig
from model.hugging_face.config import export_config, import_config
from model.hugging_face.weights import (
    COPIES,
    INDEX,
    WEIGHTS,
    exported_arrays,
    exported_shapes,
    gathered_part,
    import_state,
    weight_files,
    weight_index,
    weight_names,
)
from model.loss.cross_entropy import Computation, Labels, cross_entropy
from model.sharding.layouts import by_path
from model.transformer import Transformer, transformer_shapes


@pytest.mark.parametrize("at", [(), (1,), (1, 3)])
def test_a_part_of_a_split_stack_has_the_bits_of_the_whole(at):
    whole = np.random.default_rng(0).standard_normal((2, 4, 4, 6)).astype(np.float32)
    whole[1, 3, 0] = [-0.0, 0.0, np.nan, np.inf, -np.inf, 1e-45]
    layout = NamedSharding(mesh_of(EIGHT), PartitionSpec(None, "expert", "data", "model"))
    for array in (jax.device_put(whole, layout), whole):
        found = gathered_part(array, at).view(np.uint32)
        np.testing.assert_array_equal(found, whole[at].view(np.uint32))


def test_one_file_where_all_arrays_fit_and_several_with_an_index_otherwise():
    shapes = {"a": (4, 4), "b": (8,), "c": (40, 2), "d": (1,)}
    assert weight_files(shapes, most_bytes=1000) == {WEIGHTS: ["a", "b", "c", "d"]}
    files = weight_files(shapes, most_bytes=100)
    assert list(files.values()) == [["a", "b"], ["c"], ["d"]]  # c alone is larger than a file
    assert next(iter(files)) == "model-00001-of-00003.safetensors"
    index = weight_index(files, shapes)
    assert index["metadata"] == {"total_size": 4 * (16 + 8 + 80 + 1)}
    assert index["weight_map"] == {name: file for file in files for name in files[file]}
    assert INDEX.startswith(WEIGHTS)


CASES = Path(__file__).parents[3] / "parity/material/hugging_face_cases.py"
_SPEC = importlib.util.spec_from_file_location("hugging_face_cases", CASES)
assert _SPEC is not None
assert _SPEC.loader is not None
cases = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(cases)
FROZEN = json.loads(Path(__file__).with_name("reference.json").read_text())["cases"]
LENGTHS = cases.SOURCE, cases.TARGET


def config_of(case):
    return import_config(cases.config(case), *LENGTHS)


def their_state(config):
    sizes = {name: leaf.shape for name, leaf in by_path(transformer_shapes(config)).items()}
    state = {}
    for name in weight_names(config):
        shape = sizes[name.ours][len(name.at) :]
        if name.outputs is not None:
            shape = (name.outputs, int(np.prod(shape)) // name.outputs)
        state[name.theirs] = cases.weight(name.theirs, shape)
    return state


def imported(config, state):
    return jax.tree.map(jnp.asarray, import_state(config, state))


def exported_state(model):
    return dict(exported_arrays(model, exported_shapes(model.config)))


@pytest.mark.parametrize("case", FROZEN)
def test_logits_and_gradients_are_transformers(case):
    """Right-padded, longer than the farthest position; Switch with 5 to 50 % dropped."""
    config, rows = config_of(case), cases.rows()
    arrays, rest = eqx.partition(imported(config, their_state(config)), eqx.is_array)
    batch = Batch(*(jnp.asarray(part) for part in rows), jnp.zeros(len(rows.inputs), jnp.int32))
    call = Call(mesh_of())

    def loss(arrays):
        network = eqx.combine(arrays, rest)
        output = network(batch, call)
        labels = Labels(batch.targets, batch.is_target, jnp.ones(()))
        factors = network.logit_factors(output.decoded)
        nats, _ = cross_entropy(Computation(call.mesh, 2**29), factors, labels)
        return nats, (output, network.head(output.decoded))

    (_, (output, logits)), slopes = jax.jit(jax.value_and_grad(loss, has_aux=True))(arrays)
    stacks = (output.encoder_routing, rows.inputs), (output.decoder_routing, rows.targets)
    for routing, ids in stacks:
        assert routing is None or 0.05 < 1 - np.asarray(routing.kept)[:, ids != 0].mean() < 0.5
    logits = np.asarray(logits)[:, :9:4, ::64].ravel()
    np.testing.assert_allclose(logits, np.array(FROZEN[case]["logits"]), atol=1e-4)
    gradients = exported_state(eqx.combine(slopes, rest))
    for name, along in FROZEN[case]["gradients"].items():
        slope = np.sum(gradients[name] * cases.weight(f"along {name}", gradients[name].shape))
        assert slope == pytest.approx(along, rel=1e-4, abs=1e-3), name


@pytest.mark.parametrize("case", cases.CASES)
def test_there_and_back_the_bits_stay(case):
    config = config_of(case)
    state = their_state(config)
    again = exported_state(import_state(config, state))
    assert again.keys() - set(COPIES) == state.keys()
    assert all(np.array_equal(again[name], state[name]) for name in state)
    exported = export_config(config, *LENGTHS)
    assert import_config(exported, *LENGTHS) == config
    # Their Switch with untied logits trains three embeddings; that type ties them.
    kind = "mswitch" if case == "switch-c" else cases.config(case)["model_type"]
    assert exported["model_type"] == kind


def test_a_slope_of_position_biases_becomes_part_of_their_table():
    config = config_of("mt5")
    sloped = replace(config, distance_slope=0.5)
    drawn = Transformer.init(sloped, key=jax.random.key(0))
    assert export_config(sloped, *LENGTHS) == export_config(config, *LENGTHS)
    found = imported(config, exported_state(drawn))
    for theirs, ours in ((found.encoder, drawn.encoder), (found.decoder, drawn.decoder)):
        expected = ours.position_bias(9, 9)
        np.testing.assert_array_equal(theirs.position_bias(9, 9), expected)
        assert np.abs(expected - ours.position_bias.table[0][:, None, None]).max() > 3  # 0.5 * 8


def test_released_checkpoints_have_a_form():
    """Names in google/switch-base-8's file, as Transformers lists them."""
    layers = dict.fromkeys(("num_layers", "num_decoder_layers"), 12)
    sparse = dict.fromkeys(("num_sparse_encoder_layers", "num_sparse_decoder_layers"), 6)
    config = import_config(cases.config("switch") | layers | sparse | {"num_experts": 8}, 512, 114)
    names = {name.theirs for name in weight_names(config)}
    assert names >= {
        "encoder.block.0.layer.1.mlp.wi.weight",
        "encoder.block.1.layer.1.mlp.router.classifier.weight",
        "decoder.block.11.layer.2.mlp.experts.expert_7.wo.weight",
        "decoder.block.3.layer.1.EncDecAttention.o.weight",
    }
    assert "decoder.block.0.layer.2.mlp.router.classifier.weight" not in names


def test_mt5_may_tie_and_never_scales():
    config = config_of("mt5")
    state = their_state(config)
    del state["lm_head.weight"]
    model = import_state(config, state)
    np.testing.assert_array_equal(model.logits, state["shared.weight"].T)


@pytest.mark.parametrize(
    ("case", "change", "message"),
    [
        ("mt5", {"model_type": "umt5"}, "type 'umt5'"),
        ("mt5", {"num_decoder_layers": 3}, "num_decoder_layers is 3 and must be 2"),
        ("t5", {"feed_forward_proj": "gated-silu"}, "activation is gated-silu"),
        ("t5", {"vocab_size": 250}, "multiple of 128"),
        ("switch", {"num_sparse_encoder_layers": 0}, "0 encoder and 1 decoder"),
        ("switch", {"dense_act_fn": "gelu"}, "activation is gelu"),
        ("gated-switch", {"dense_act_fn": "silu"}, "activation is silu for mswitch"),
    ],
)
def test_configs_without_a_form_here(case, change, message):
    with pytest.raises(ConfigurationError, match=message):
        import_config(cases.config(case) | change, 512, 114)


@pytest.mark.parametrize("targets", [14, 200])
def test_no_stack_of_a_dropless_network_drops_there(targets):
    """An expert of theirs takes so many tokens of a sequence, in both stacks."""
    config = config_of("switch")
    dropless = replace(config, switch=replace(config.switch, dispatch="dropless"))
    assert export_config(dropless, 64, targets)["expert_capacity"] == max(64, targets)


def test_a_capacity_above_the_inputs_comes_back():
    """It is one per expert and sequence, which may be longer than a row of the run."""
    config = import_config(cases.config("switch") | {"expert_capacity": 999}, 64, 14)
    assert export_config(config, 64, 14)["expert_capacity"] == 999


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("relu", {"every": 4}, "One in 4"),
        ("relu", {"choices": 2}, "has 2 experts"),
        ("gated-gelu", {"bias_rate": 0.1}, "has biases"),
        ("gated-gelu", {"quantile_rate": 1.0}, "has biases"),
        ("gated-gelu", {"shared_mlp": 8}, "has a shared expert"),
    ],
)
def test_what_their_format_cannot_hold(kind, change, message):
    switch = SwitchConfig(experts=2, every=1, encoder_group_tokens=8, decoder_group_tokens=8)
    network = sized(layers=4, feed_forward=kind, switch=replace(switch, **change))
    with pytest.raises(ConfigurationError, match=message):
        export_config(network, 512, 114)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda state: state.pop("decoder.final_layer_norm.weight"), "1 are missing"),
        (lambda state: state.update(extra=np.zeros(1)), "1 are unknown"),
        (lambda state: state.update({"shared.weight": np.zeros((3, 2))}), "by its config be"),
        (lambda state: state.update({"lm_head.weight": np.zeros(2)}), "lm_head.weight differs"),
    ],
)
def test_weights_of_another_model(spoil, message):
    config = config_of("t5")
    state = their_state(config)
    spoil(state)
    with pytest.raises(ConfigurationError, match=message):
        import_state(config, state)
