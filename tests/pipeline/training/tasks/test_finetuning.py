"""What runs of one command share, and let go."""

import gc
import math
import weakref
from types import SimpleNamespace

import jax
import pytest
from small_networks import config, mesh_of

from model.config import DistillationConfig, OptimizerConfig
from model.loss.training_loss import Distillation
from model.trainer import make_trainer
from model.transformer import Transformer
from pipeline.recipe import named
from pipeline.recipe.finetuning import recipe_of_finetuning, with_groups
from pipeline.training.tasks.finetuning import Programs, free_programs
from pipeline.training.tasks.predictor import Predictor


@pytest.fixture
def no_collection():
    """No garbage is collected but when it is asked for."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_no_teacher_stays_beside_the_next(no_collection):
    network = Transformer.init(config("switch"), key=jax.random.key(0))
    trainer = make_trainer(
        config("dense"),
        OptimizerConfig(hold_steps=100),
        steps=10,
        seed=0,
        mesh=mesh_of(),
        distillation=Distillation(DistillationConfig(), network),
    )
    task = SimpleNamespace(labels=["a"])
    sizes = {"rows": 8, "inputs": 16, "targets": 8, "logits_bytes": 2**20}
    predictor = Predictor(trainer, SimpleNamespace(size=100), task, **sizes)
    held = [Programs(None, trainer, {"task": predictor}, {})]
    arrays = [weakref.ref(one) for one in jax.tree.leaves(trainer.teacher_arrays)]
    del network, trainer, predictor
    free_programs(held)
    assert held == []
    assert len(arrays) > 0
    assert [one for one in arrays if one() is not None] == []


def test_each_stack_keeps_its_rows_per_routing_group():
    run = named.get("mswitch-base")
    recipe = with_groups(recipe_of_finetuning(run, ["sib200"], [], 16, 0.0), run)
    switch, of_run = recipe.model.switch, run.model.switch
    assert switch is not None
    assert of_run is not None
    for tokens, length, of_run_tokens, of_run_length in (
        (switch.encoder_group_tokens, recipe.lengths.inputs,
         of_run.encoder_group_tokens, run.lengths.inputs),
        (switch.decoder_group_tokens, recipe.lengths.targets,
         of_run.decoder_group_tokens, run.lengths.targets),
    ):  # fmt: skip
        assert tokens // length == math.gcd(recipe.rows, of_run_tokens // of_run_length)
    assert switch.decoder_group_tokens // 16 > switch.encoder_group_tokens // recipe.lengths.inputs
