"""Compares a step of fine-tuning with Hugging Face Transformers' on PyTorch.

mT5, T5 1.0, Switch and Switch with gated experts: from the same weights and batch, without dropout,
the loss, the gradient norm and every array after the update must agree to 1e-4. Exits with 1
otherwise. Both use Adafactor with mT5's constant rate of 1e-3 times the array's root mean square.

Two things of theirs are changed to Mesh TensorFlow's, which are ours: log Z squared is added to the
loss, and second moments are factored where both dimensions are at least 128 (Transformers': in
every matrix). Where they are not factored, a first update is the rate times the gradient's sign, so
the few values with a gradient of the size of its rounding are not compared, but counted.
"""

import sys
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers
from hugging_face import their_model
from material import hugging_face_cases as cases

from model.batch import Batch
from model.config import MeshShape, ModelConfig, OptimizerConfig
from model.hugging_face.config import import_config
from model.hugging_face.weights import exported_arrays, exported_shapes, import_state
from model.loss.training_loss import Z_LOSS_WEIGHT
from model.sharding.mesh import make_mesh
from model.trainer import Trainer, make_trainer

TOLERANCE = 1e-4
CASES = ("mt5", "t5", "switch", "gated-switch")
WIDE = {"d_model": 128, "num_heads": 16, "d_ff": 192}  # every matrix of weights is factored
RATE = 1e-3
CONSTANT = OptimizerConfig(hold_steps=int(RATE**-2))
FACTORED = 128  # smallest dimension
ROUNDING, MOST_UNSURE = 1e-6, 20  # of gradients up to 0.1; values per network


class Adafactor(transformers.Adafactor):
    """Transformers' Adafactor, which factors what Mesh TensorFlow's factors."""

    @staticmethod
    def _get_options(param_group: Any, param_shape: Any) -> tuple[bool, bool]:
        return len(param_shape) >= 2 and min(param_shape) >= FACTORED, False


def adafactor(network: Any) -> Adafactor:
    """Returns the optimizer of their network with our settings."""
    return Adafactor(
        network.parameters(),
        lr=RATE,
        eps=(1e-30, 1e-3),
        clip_threshold=1.0,
        decay_rate=-0.8,
        scale_parameter=True,
        relative_step=False,
        warmup_init=False,
    )


def their_step(network: Any, rows: cases.Rows) -> tuple[float, float]:
    """Updates their network; returns loss and gradient norm."""
    inputs, targets = (torch.from_numpy(part.astype(np.int64)) for part in rows)
    output = network(
        input_ids=inputs,
        attention_mask=(inputs != 0).long(),
        labels=torch.where(targets == 0, -100, targets),
    )
    log_z = output.logits.logsumexp(-1)[targets != 0]
    (output.loss + Z_LOSS_WEIGHT * log_z.square().mean()).backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in network.parameters()])
    adafactor(network).step()
    return output.loss.item(), norm.item()


def without_noise(config: ModelConfig) -> ModelConfig:
    """Returns the network without jitter and router losses, which are not compared."""
    if config.switch is None:
        return config
    quiet = replace(config.switch, jitter=0.0, balance_loss_weight=0.0, z_loss_weight=0.0)
    return replace(config, switch=quiet)


def trainer_of(config: ModelConfig, dropout: float = 0.0) -> Trainer:
    """Returns the functions of fine-tuning on one device."""
    mesh = make_mesh(MeshShape(), jax.devices()[:1])
    return make_trainer(config, CONSTANT, steps=1_000, seed=0, mesh=mesh, dropout=dropout)


def compare(case: str) -> bool:
    """Prints the greatest differences of one case; returns whether all are small."""
    network, rows = their_model(case, WIDE), cases.rows()
    before = {name: p.detach().numpy().copy() for name, p in network.named_parameters()}
    config = import_config(cases.config(case) | WIDE, cases.SOURCE, cases.TARGET)
    trainer = trainer_of(without_noise(config))
    arrays = jax.tree.map(jnp.asarray, import_state(trainer.static.config, before))
    state = trainer.init()._replace(arrays=jax.device_put(arrays, trainer.shardings.arrays))
    loss, norm = their_step(network, rows)
    batch = Batch(*(jnp.asarray(part) for part in rows), jnp.zeros(len(rows.inputs), jnp.int32))
    state, metrics = trainer.step(state, batch)
    after = dict(exported_arrays(trainer.model(state.arrays), exported_shapes(config)))
    apart_by_array, unsure, largest = [], 0, 0.0
    for name, parameter in network.named_parameters():
        theirs = parameter.detach().numpy()
        sure = has_sure_sign(parameter)
        apart_by_array.append(np.abs(theirs - after[name])[sure].max())
        unsure += int((~sure).sum())
        largest = max(largest, np.abs(theirs - before[name]).max())
    our_loss = metrics.losses.loss_nats / metrics.losses.target_tokens
    apart = {
        "loss": abs(loss - float(our_loss)),
        "gradient norm": abs(norm / float(metrics.gradient_norm) - 1),
        "arrays": max(apart_by_array),
    }
    found = ", ".join(f"{name} {difference:.1e}" for name, difference in apart.items())
    print(
        f"{case}: {found} apart; largest update {largest:.1e}, loss {loss:.2f}; "
        f"{unsure} values not compared",
        flush=True,
    )
    return max(apart.values()) < TOLERANCE and unsure <= MOST_UNSURE


def has_sure_sign(parameter: Any) -> np.ndarray:
    """Returns False for values whose first update has the sign of a rounding error."""
    shape = tuple(parameter.shape)
    if parameter.grad is None or (len(shape) == 2 and min(shape) >= FACTORED):
        return np.ones(shape, bool)
    slope = np.abs(parameter.grad.numpy())
    return (slope > ROUNDING) | (slope == 0)


def main() -> None:
    """Compares every case; exits with 1 if one differs."""
    transformers.logging.set_verbosity_error()
    print(f"Transformers {transformers.__version__}, PyTorch {torch.__version__}, float32")
    equal = [compare(case) for case in CASES]
    sys.exit(not all(equal))


if __name__ == "__main__":
    main()
