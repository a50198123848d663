"""The routing rows of an evaluation add up to its page rows.

Which gaps an evaluation fills, and how they are read out of windows.
"""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest
from held_out_windows import windows

from data.examples.span_corruption import Example, lengths_for_inputs
from data.tokens.tokenizer import MODEL_FILE, load
from model.config import MeshShape, ModelConfig, OptimizerConfig, SwitchConfig
from model.loss.scoring import LEAST_TOKENS
from model.sharding.mesh import abstract_mesh, make_mesh
from model.trainer import make_trainer
from pipeline.fields import CacheOptions
from pipeline.recipe import named
from pipeline.recipe.overrides import override
from pipeline.recipe.trainer import trainer_on
from pipeline.runs.finished import FilledGap, latest_gaps, read_gaps, write_evaluation
from pipeline.tokens.opened_blocks import open_blocks
from pipeline.training.evaluation import (
    GapFiller,
    HeldOut,
    first_gap,
    largest_array,
    rows_without_capacity,
    write_gaps,
)

ROWS, EXPERTS = 4, 4
LENGTHS = lengths_for_inputs(32)
SWITCH = SwitchConfig(
    experts=EXPERTS,
    every=1,
    encoder_group_tokens=LENGTHS.inputs,
    decoder_group_tokens=LENGTHS.targets,
    choices=2,
    capacity_factor_evaluation=0.7,
    minimum_capacity=1,
)
CONFIG = ModelConfig(vocabulary_rows=1024, embed=8, heads=2, head=4, mlp=8, layers=1, switch=SWITCH)

# The blocks have no vocabulary. Neither special ids nor sentinels are text.
PIECE_BYTES = np.where((np.arange(1024) < 3) | (np.arange(1024) > 900), 0, np.arange(1024) % 7)


@pytest.fixture(scope="module")
def held_out(make_blocks, tmp_path_factory):
    blocks = make_blocks(tmp_path_factory.mktemp("tokens"), {"sw": 900, "yo": 1500})
    found = HeldOut(blocks, LENGTHS, ROWS)
    found.piece_bytes = PIECE_BYTES
    return found


@pytest.fixture(scope="module")
def files(held_out, tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    mesh = make_mesh(MeshShape(), jax.devices()[:1])
    trainer = make_trainer(CONFIG, OptimizerConfig(), steps=1, seed=0, mesh=mesh)
    evaluation = held_out.score(trainer, trainer.init().arrays)
    path = write_evaluation(directory, 7, evaluation)
    return pd.read_parquet(path), pd.read_parquet(path.with_name("routing-step=7.parquet"))


def test_routing_rows_of_each_layer_and_language_add_up_to_page_rows(files):
    pages, routing = files
    layers = list(zip(routing["stack"], routing.layer, routing.language, strict=True))
    assert layers == [(stack, 1, code) for stack in ("encoder", "decoder") for code in ("sw", "yo")]
    decoder = routing[routing["stack"] == "decoder"].set_index("language")
    targets = pages.groupby("language").target_tokens.sum()
    assert decoder.tokens.to_dict() == targets.to_dict()
    assert (routing.choices == 2 * routing.tokens).all()
    assert [sum(load) for load in routing.load] == routing.choices.tolist()
    share = routing.dropped.sum() / routing.choices.sum()
    assert 0.25 < share < 0.6  # 0.7 slots per choice
    assert (routing.entropy_nats <= routing.tokens * np.log(EXPERTS) + 1e-3).all()


def test_bytes_are_those_of_what_is_hidden(files, held_out):
    pages, _ = files
    sentinel = held_out.blocks.manifest.vocabulary.first_sentinel
    expected = {
        one.page.url: sum(int(PIECE_BYTES[part.targets].sum()) for part in parts)
        for one in held_out.pages
        if (parts := windows(one.page, LENGTHS, sentinel))
    }
    assert pages.set_index("url").text_bytes.to_dict() == expected
    assert sum(expected.values()) > 0


def filler(tokens, *settings):
    recipe = override(named.get("switch-demo"), ["evaluate_every=10", "steps=95", *settings])
    blocks = open_blocks(str(tokens), CacheOptions())
    return GapFiller(HeldOut(blocks, recipe.lengths, recipe.rows), recipe)


def test_languages_take_turns_and_then_their_pages(tokens):
    one = filler(tokens)
    pages = one.held_out.pages
    codes = [[pages[page].language for page, _ in one.chosen(step)] for step in (0, 10, 20, 90, 95)]
    assert codes == [["af", "cs"], ["sw", "zu"], ["af", "cs"], ["sw", "zu"], ["af", "cs"]]
    first, again = (one.chosen(step)[0][0] for step in (0, 20))
    of_language = [at for at, page in enumerate(pages) if page.language == "af"]
    assert [first, again] == [of_language[0], of_language[1 % len(of_language)]]
    assert [page for page, _ in one.chosen(20)] == [page for page, _ in filler(tokens).chosen(20)]


def test_the_first_gap_is_read_out_of_both_fillings(tokens):
    tokenizer = load(tokens / MODEL_FILE)
    gap, following = tokenizer.first_sentinel, tokenizer.first_sentinel - 1
    before, hidden, after = (tokenizer.encode(text) for text in ("Watu", "wote", "huru"))
    example = Example(
        np.array([*before, gap, *after, following, *before, 1], np.int32),
        np.array([gap, *hidden, following, *after, 1], np.int32),
    )
    written = np.array([gap, *after, following, *hidden, 0, 0], np.int32)
    found = first_gap("sw", example, written, tokenizer)
    assert found == FilledGap("sw", "Watu ", "huru", "wote", " huru")
    silent = first_gap("sw", example, np.array([1, 0], np.int32), tokenizer)
    assert silent == found._replace(filled="")


@pytest.mark.slow
def test_gaps_are_filled_alike_on_any_number_of_devices(tokens, tmp_path):
    """Greedily, so twice the same; and read back from their file."""
    one = filler(tokens, "model.vocabulary_rows=384", "model.embed=16", "model.mlp=16")
    alone, shared = (
        trainer_on(one.recipe, make_mesh(shape, jax.devices()[: shape.data * shape.expert]))
        for shape in (MeshShape(), MeshShape(data=2, expert=4))
    )
    arrays = alone.init().arrays  # drawn once: that takes longest to compile
    there = jax.device_put(arrays, shared.shardings.arrays)
    found = [one.fill(alone, arrays, 10), one.fill(shared, there, 10)]
    assert found[0] == found[1]
    assert [gap.language for gap in found[0]] == ["sw", "zu"]
    assert all(gap.before and gap.hidden for gap in found[0])
    write_gaps(tmp_path, 10, found[0])
    (tmp_path / "evaluation/step=10.parquet").touch()
    assert latest_gaps(tmp_path) == (10, found[0])
    assert read_gaps(tmp_path, 20) == []


def on(**sizes):
    """A trainer of which only the mesh is read."""
    trained: Any = SimpleNamespace(mesh=abstract_mesh(MeshShape(**sizes)))
    return trained


def test_a_network_of_very_many_experts_fills_none():
    """Dropless dispatch pads to the worst case, which is bounded here."""
    tokens = 2 * lengths_for_inputs(64).inputs
    assert largest_array(named.get("switch-c"), on(expert=512), tokens) > 2**30
    assert largest_array(named.get("switch-demo"), on(), tokens) < 2**24


def test_rows_without_capacity_fit_a_device():
    base, trainer = replace(named.get("mswitch-base"), accumulate=4), on(data=4, expert=8)
    rows = rows_without_capacity(base, trainer, 512)
    assert rows % 32 == 0 < rows < base.rows // 4
    assert largest_array(base, trainer, rows // 32 * 512) <= 2**30 or rows == 32
    dense = replace(base, model=replace(base.model, switch=None))
    assert rows_without_capacity(dense, trainer, 512) == 32 * (LEAST_TOKENS // 512) / 2
    few = replace(dense, rows=32, accumulate=32)  # fewer rows in a microbatch than devices
    assert rows_without_capacity(few, trainer, 512) == 32
