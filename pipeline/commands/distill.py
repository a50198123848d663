"""`mswitch distill`: a finished run teaches a dense recipe; the output is a run as any other.

The student's recipe is the dense recipe with `distillation` set. Loop, examples, evaluations and
checkpoints are those of pretraining (`training/run.py`), so that a student is comparable with its
baseline. The teacher reads the student's batches. If the first weights are the teacher's, they
become checkpoint 0, and the student resumes as any run. Source: Fedus et al. 2022, section 4.2;
docs/decisions/distillation.md decides what the paper leaves open.
"""

import functools
from itertools import islice

import equinox as eqx
import jax

from model.batch import Call
from model.conversions.student import TeacherExpertUse, expert_use, with_teachers_weights
from model.loss.training_loss import Distillation
from model.sharding.mesh import make_mesh
from model.step import TrainState
from model.transformer import Transformer
from pipeline.arguments import Distill
from pipeline.artifacts import Claim
from pipeline.first_checks import requested_recipe
from pipeline.hardware.hosts import joined_hosts
from pipeline.runs.directory import checkpoint_read
from pipeline.stage import Intent
from pipeline.tokens.opened_blocks import cached_nowhere
from pipeline.training.begin import PreparedRun, claimed_run, prepare
from pipeline.training.loop import Training, device_batches
from pipeline.training.origins import write_first_checkpoint
from pipeline.training.run import carry_out, intent_of, make_training
from pipeline.training.teacher import Teacher, check_same_teacher, check_teaches, find

USE_BATCHES = 16  # training batches to count the experts' loads in; 64 rows were enough


def intents(arguments: Distill) -> list[Intent]:
    """Returns the command's intent; the teacher's weights are not read for it."""
    with joined_hosts(arguments.hosts, "distill"), cached_nowhere(arguments) as uncached:
        prepared, _ = checked_request(uncached)
    weights = checkpoint_read("teacher", arguments.teacher, None)
    return [intent_of(prepared, arguments.tokens, [weights])]


def checked_request(arguments: Distill) -> tuple[PreparedRun, Teacher]:
    """Returns the student's run that the arguments name, and its teacher.

    Raises:
        ArtifactError: if the run cannot start.
    """
    recipe = requested_recipe(arguments)
    teacher = find(arguments.teacher)
    checks = [functools.partial(check_teaches, teacher)]
    prepared = prepare(
        recipe,
        arguments.tokens,
        arguments.out,
        checks=checks,
        profile=arguments.profile,
        track=arguments.track,
        cache=arguments.cache,
    )
    return prepared.with_input("teacher", teacher.identity), teacher


def run(arguments: Distill) -> None:
    """Trains the student to its recipe's last step; does nothing if the run is finished.

    Raises:
        Preempted: if SIGTERM stopped the run; its state is saved.
    """
    with joined_hosts(arguments.hosts, "distill"):
        train_student(arguments)


def train_student(arguments: Distill) -> None:
    """Trains the student on the joined hosts."""
    prepared, teacher = checked_request(arguments)
    recipe = prepared.recipe
    assert recipe.distillation is not None  # set for every student
    with claimed_run(prepared) as there:
        if there is Claim.FINISHED:
            return
        network, record = teacher.weights(make_mesh(recipe.mesh))
        check_same_teacher(arguments.out, record)
        training = make_training(prepared, Distillation(recipe.distillation, network))
        if recipe.distillation.initialization != "random":
            write_teachers_weights(training, network)
        carry_out(prepared, training, {"teacher": record}, lambda _: None)


def write_teachers_weights(training: Training, teacher: Transformer) -> None:
    """Writes checkpoint 0 with the teacher's weights, unless the run has a checkpoint.

    Raises:
        ArtifactError: if checkpoint 0 cannot be written.
    """

    def first() -> TrainState:
        state = training.trainer.init()
        return state._replace(arrays=first_weights(training, teacher, state.arrays))

    write_first_checkpoint(training.out, first)


def first_weights(training: Training, teacher: Transformer, drawn: Transformer) -> Transformer:
    """Returns the student's first arrays, with the shardings of its run.

    Args:
        training: the student's loop inputs.
        teacher: the teacher's network.
        drawn: the student's random arrays, drawn from its seed.
    """
    trainer, config = training.trainer, training.recipe.distillation
    assert config is not None  # set for every student
    mean = config.initialization == "experts-mean" and teacher.config.switch is not None
    use = use_of_experts(training, teacher) if mean else None
    arrays, rest = eqx.partition(teacher, eqx.is_array)

    def take(drawn, arrays, use: TeacherExpertUse | None):
        student = with_teachers_weights(trainer.model(drawn), eqx.combine(arrays, rest), use)
        return eqx.filter(student, eqx.is_array)

    return jax.jit(take, out_shardings=trainer.shardings.arrays)(drawn, arrays, use)


def use_of_experts(training: Training, teacher: Transformer) -> TeacherExpertUse:
    """Returns the teacher's expert loads over the run's first batches."""
    arrays, rest = eqx.partition(teacher, eqx.is_array)
    call = Call(training.trainer.mesh)
    count = jax.jit(lambda arrays, batch: expert_use(eqx.combine(arrays, rest), batch, call))
    uses = [count(arrays, batch) for batch in islice(device_batches(training, 0), USE_BATCHES)]
    return jax.tree.map(lambda *parts: sum(parts[1:], parts[0]), *uses)
