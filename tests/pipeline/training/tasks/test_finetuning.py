"""What runs of one command share, and let go."""

import gc
import weakref
from types import SimpleNamespace

import jax
import pytest
from small_networks import config, mesh_of

from model.config import DistillationConfig, OptimizerConfig
from model.loss.training_loss import Distillation
from model.trainer import make_trainer
from model.transformer import Transformer
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
