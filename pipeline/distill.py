"""`mswitch distill`: a finished run teaches a dense recipe; what comes out is a run as any other.

The student's recipe is the dense one with `distillation` set, and nothing else: the loop, its
examples, evaluations and checkpoints are pretraining's (`training_run.py`), so that a student may
be held beside its baseline. The teacher reads every batch that the student does. Where the student
begins with the teacher's weights, these become its checkpoint 0, and it resumes as any run does.
Source: Fedus et al. 2022, section 4.2; docs/decisions/distillation.md says what it leaves open.
"""

import functools
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import equinox as eqx
import jax

from data.stores.json_files import read_json
from model.distillation import Distillation, DistillationConfig
from model.sharding import make_mesh
from model.stack import Call
from model.student import ExpertUse, expert_use, with_teachers_weights
from model.train_step import TrainState
from model.transformer import Transformer
from pipeline.arguments import Distill
from pipeline.artifacts.differences import json_differences
from pipeline.errors import ArtifactError
from pipeline.recipe import named
from pipeline.recipe.recipe import override
from pipeline.training import teacher as teachers
from pipeline.training.first_weights import write_first_checkpoint
from pipeline.training.loop import Training, device_batches
from pipeline.training.run import carry_out, is_finished, make_training, prepare

USE_BATCHES = 16  # of training examples, in which experts' loads are counted; 64 rows were enough


def run(arguments: Distill) -> None:
    """Trains the student to its recipe's last step, or finds that done."""
    recipe = replace(named.get(arguments.recipe), distillation=DistillationConfig())
    recipe = override(recipe, arguments.overrides)
    assert recipe.distillation is not None  # an override sets fields of it
    teacher = teachers.find(arguments.teacher)
    prepared = prepare(
        arguments, recipe, [functools.partial(teachers.check_teaches, teacher, recipe)]
    )
    prepared.inputs["teacher"] = teacher.identity
    if is_finished(prepared):
        return
    network, facts = teacher.weights(make_mesh(recipe.mesh))
    check_same_teacher(arguments.out, facts)
    training = make_training(prepared, Distillation(recipe.distillation, network))
    if recipe.distillation.initialization != "random":
        begin(training, network)
    carry_out(prepared, training, {"teacher": facts})


def check_same_teacher(out: Path, facts: Mapping[str, Any]) -> None:
    """Checks that a student that goes on does so with the weights that taught it so far.

    Raises:
        ArtifactError: the run's recipe.json names others.
    """
    path = out / "recipe.json"
    there = read_json(path).get("teacher") if path.exists() else None
    if there is not None and (lines := json_differences(there, dict(facts))):
        raise ArtifactError(
            f"{out} was taught by another teacher so far ({'; '.join(lines)}); restore that one, "
            "or name another --out."
        )


def begin(training: Training, teacher: Transformer) -> None:
    """Writes checkpoint 0 with the teacher's weights, unless there is a checkpoint.

    Raises:
        ArtifactError: it cannot be written.
    """

    def first() -> TrainState:
        state = training.trainer.init()
        return state._replace(arrays=first_weights(training, teacher, state.arrays))

    write_first_checkpoint(training.out, first)


def first_weights(training: Training, teacher: Transformer, drawn: Transformer) -> Transformer:
    """Returns the student's first arrays, where the run stores them.

    Args:
        training: the student's.
        teacher: its network.
        drawn: the student's arrays as its seed draws them.
    """
    trainer, config = training.trainer, training.recipe.distillation
    assert config is not None  # of a student
    mean = config.initialization == "experts-mean" and teacher.config.switch is not None
    use = use_of_experts(training, teacher) if mean else None
    arrays, rest = eqx.partition(teacher, eqx.is_array)

    def take(drawn, arrays, use: ExpertUse | None):
        student = with_teachers_weights(trainer.model(drawn), eqx.combine(arrays, rest), use)
        return eqx.filter(student, eqx.is_array)

    return jax.jit(take, out_shardings=trainer.shardings.arrays)(drawn, arrays, use)


def use_of_experts(training: Training, teacher: Transformer) -> ExpertUse:
    """Returns how the teacher's experts are used by the run's first batches."""
    arrays, rest = eqx.partition(teacher, eqx.is_array)
    call = Call(training.trainer.mesh)
    count = jax.jit(lambda arrays, batch: expert_use(eqx.combine(arrays, rest), batch, call))
    uses = [count(arrays, batch) for batch in islice(device_batches(training, 0), USE_BATCHES)]
    return jax.tree.map(lambda *parts: sum(parts[1:], parts[0]), *uses)
