"""The recipe that fine-tunes a run: its network, with the published settings of fine-tuning."""

import math
from collections.abc import Sequence
from dataclasses import replace

from model.config import OptimizerConfig
from pipeline.recipe.overrides import override
from pipeline.recipe.recipe import FinetuningConfig, Recipe

EXPERT_DROPOUT = 0.4  # Switch, section 2.4
# 1 / sqrt(10^6) = 0.001 at every step before the millionth: mT5's constant rate.
CONSTANT = OptimizerConfig(hold_steps=1_000_000)


def recipe_of_finetuning(
    run: Recipe, tasks: Sequence[str], languages: Sequence[str], targets: int, share: float
) -> Recipe:
    """Returns the recipe that fine-tunes a run.

    1,000 steps, evaluated and saved every 200 as in both papers; a task of more or fewer examples
    sets `steps`.

    Args:
        run: recipe of the pretrained run.
        tasks: names of the tasks.
        languages: languages of the training examples; none for all.
        targets: decoder tokens that the tasks' targets need.
        share: share of rows that are pretraining's.
    """
    config = FinetuningConfig(
        tasks=tuple(tasks),
        languages=tuple(languages),
        targets=max(targets, run.lengths.targets) if share else targets,
        pretraining_share=share,
    )
    recipe = replace(
        run,
        name=f"{run.name}-{'-'.join(tasks)}",
        steps=1_000,
        evaluate_every=200,
        checkpoint_every=200,
        log_every=20,
        keep_every=0,
        optimizer=CONSTANT,
        mixture="proportional",
        mixture_from=(),
        accumulate=1,
        distillation=None,
        finetuning=config,
    )
    switch = run.model.switch
    if switch is None:
        return recipe
    switch = replace(switch, expert_dropout=EXPERT_DROPOUT)
    return replace(recipe, model=replace(recipe.model, switch=switch))


def with_groups(recipe: Recipe, run: Recipe) -> Recipe:
    """Returns the recipe with routing groups of as many rows as the run had, or fewer.

    Groups are counted in tokens, and the rows of a task are of other lengths than pretraining's.
    """
    switch = recipe.model.switch
    if switch is None or run.model.switch is None:
        return recipe
    of_run = run.model.switch
    rows, decoder_rows = (
        math.gcd(recipe.rows, max(tokens // length, 1))
        for tokens, length in (
            (of_run.encoder_group_tokens, run.lengths.inputs),
            (of_run.decoder_group_tokens, run.lengths.targets),
        )
    )
    switch = replace(
        switch,
        encoder_group_tokens=rows * recipe.lengths.inputs,
        decoder_group_tokens=decoder_rows * recipe.lengths.targets,
        encoder_pooled_groups=math.gcd(of_run.encoder_pooled_groups, recipe.rows // rows),
        decoder_pooled_groups=math.gcd(of_run.decoder_pooled_groups, recipe.rows // decoder_rows),
    )
    return replace(recipe, model=replace(recipe.model, switch=switch))


def with_settings(recipe: Recipe, run: Recipe, settings: Sequence[str]) -> Recipe:
    """Returns the recipe that fine-tunes a run, with `field=value` settings.

    They apply twice: routing groups follow from the lengths, unless they are set themselves.
    """
    return override(with_groups(override(recipe, settings), run), settings)
