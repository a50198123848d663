"""The routing rows of an evaluation add up to its page rows."""

import jax
import numpy as np
import pandas as pd
import pytest
from held_out_windows import windows

from data.examples.span_corruption import lengths_for_inputs
from model.config import MeshShape, ModelConfig, OptimizerConfig, SwitchConfig
from model.sharding.mesh import make_mesh
from model.trainer import make_trainer
from pipeline.training.evaluation.evaluation_file import write_evaluation
from pipeline.training.evaluation.held_out import HeldOut

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


def test_one_row_per_switch_layer_and_language(files):
    _, routing = files
    layers = list(zip(routing["stack"], routing.layer, routing.language, strict=True))
    assert layers == [(stack, 1, code) for stack in ("encoder", "decoder") for code in ("sw", "yo")]


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


def test_routed_tokens_are_the_pages_tokens(files):
    pages, routing = files
    decoder = routing[routing["stack"] == "decoder"].set_index("language")
    targets = pages.groupby("language").target_tokens.sum()
    assert decoder.tokens.to_dict() == targets.to_dict()
    assert (routing.choices == 2 * routing.tokens).all()
    assert [sum(load) for load in routing.load] == routing.choices.tolist()


def test_dropped_choices_are_counted(files):
    _, routing = files
    share = routing.dropped.sum() / routing.choices.sum()
    assert 0.25 < share < 0.6  # 0.7 slots per choice
    assert (routing.entropy_nats <= routing.tokens * np.log(EXPERTS) + 1e-3).all()
