"""A recipe's trainer: the same functions for every command that runs, plans or measures it."""

from jax.sharding import Mesh

from model.loss.training_loss import Distillation
from model.trainer import Trainer, make_trainer
from pipeline.recipe.recipe import Recipe


def trainer_on(recipe: Recipe, mesh: Mesh, distillation: Distillation | None = None) -> Trainer:
    """Returns a recipe's functions on a mesh; `distillation` is a student's teacher."""
    return make_trainer(
        recipe.model,
        recipe.optimizer,
        steps=recipe.steps,
        seed=recipe.seed,
        mesh=mesh,
        accumulate=recipe.accumulate,
        remat=recipe.remat,
        logits_bytes=recipe.logits_bytes,
        distillation=distillation,
        dropout=recipe.dropout,
    )
