"""Compares beam search with Hugging Face Transformers' `generate` on PyTorch.

mT5, T5 1.0, Switch and Switch with gated experts with random weights, of which the embedding of EOS
is widened until targets end at many lengths. Of 48 inputs, the targets of four beams must be the
same for each length penalty, among them T5's, which `mswitch evaluate --beams` uses, as must those
of one beam and of greedy decoding. Exits with 1 otherwise, or if the targets' lengths vary too
little to decide.

Switch has enough capacity that its encoder drops nothing (`hugging_face_files.py`).
"""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers
from hugging_face import their_model
from material import hugging_face_cases as cases

from model.config import EOS, MeshShape
from model.decoding.beam_search import Beams, beam_search
from model.decoding.generation import cached_decoder
from model.hugging_face.config import import_config
from model.hugging_face.weights import import_state
from model.sharding.mesh import make_mesh
from model.transformer import Transformer

CASES = ("mt5", "t5", "switch", "gated-switch")
LENGTH = 16
SEEDS = 16  # of three inputs each
PENALTIES = ((0.0, 0.0), (1.0, 0.0), (2.0, 0.0), (0.6, 5.0))  # exponent, offset of lengths
LEAST_LENGTHS = 4  # different lengths of the targets of a case


class LengthPenalty(float):
    """An exponent of lengths, of which Transformers' `length ** penalty` is T5's penalty."""

    offset = 0.0

    def __rpow__(self, length: int) -> float:
        return ((self.offset + length) / (self.offset + 1)) ** float(self)


def inputs() -> np.ndarray:
    """Returns right-padded inputs."""
    return np.concatenate([cases.rows(seed).inputs for seed in range(SEEDS)])


def network(case: str) -> Any:
    """Transformers' network of a case, for which EOS is about as likely as all other tokens."""
    enough = {"expert_capacity": 999} if "switch" in case else {}
    model = their_model(case, enough)
    with torch.no_grad():
        if case in ("t5", "switch"):  # tied: at full scale each token would only repeat itself
            model.shared.weight.mul_(0.05)
        model.lm_head.weight[EOS] *= 2.5
    return model


def theirs(model: Any, ids: np.ndarray, beams: int, alpha: float, offset: float) -> np.ndarray:
    """Their targets, without the first token, which is padding."""
    tensor, penalty = torch.from_numpy(ids.astype(np.int64)), LengthPenalty(alpha)
    penalty.offset = offset
    scored = {"length_penalty": penalty, "early_stopping": False} if beams > 1 else {}
    out = model.generate(
        input_ids=tensor,
        attention_mask=(tensor != 0).long(),
        max_new_tokens=LENGTH,
        do_sample=False,
        num_beams=beams,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=EOS,
        **scored,
    )[:, 1:]
    out = np.pad(out.numpy(), ((0, 0), (0, LENGTH - out.shape[1])))
    ended = np.cumsum(out == EOS, axis=1) - (out == EOS) > 0
    return np.where(ended, 0, out)  # theirs fills up with EOS where the id of padding is 0


def ours(model: Transformer, ids: np.ndarray, beams: Beams) -> np.ndarray:
    """Our targets."""
    mesh = make_mesh(MeshShape(), jax.devices()[:1])
    run = jax.jit(
        lambda model, ids: beam_search(
            cached_decoder(model, ids, length=LENGTH, ids=cases.SHAPE["vocab_size"], mesh=mesh),
            beams,
        )
    )
    return np.asarray(run(model, jnp.asarray(ids)))


def compare(case: str) -> bool:
    """Prints how many targets of one case are the same; returns whether all are."""
    model, ids = network(case), inputs()
    state = {name: p.detach().numpy() for name, p in model.named_parameters()}
    config = import_config(cases.config(case), cases.SOURCE, cases.TARGET)
    imported = jax.tree.map(jnp.asarray, import_state(config, state))
    settings = [(1, 1.0, 0.0), *((4, *penalty) for penalty in PENALTIES)]
    same, lengths = 0, []
    for number, alpha, offset in settings:
        expected = theirs(model, ids, number, alpha, offset)
        found = ours(imported, ids, Beams(number=number, alpha=alpha, offset=offset))
        same += int(np.all(expected == found, axis=1).sum())
        ends = np.where((found == EOS).any(axis=1), (found == EOS).argmax(axis=1) + 1, LENGTH)
        lengths.append(np.unique(ends))
    found_lengths = len(np.unique(np.concatenate(lengths)))
    total = len(ids) * len(settings)
    print(f"{case}: targets {same} of {total} the same, of {found_lengths} different lengths")
    return same == total and found_lengths >= LEAST_LENGTHS


def main() -> None:
    """Compares every case; exits with 1 if one differs."""
    transformers.logging.set_verbosity_error()
    print(f"Transformers {transformers.__version__}, PyTorch {torch.__version__}, float32")
    equal = [compare(case) for case in CASES]
    sys.exit(not all(equal))


if __name__ == "__main__":
    main()
