"""Compares networks with Hugging Face Transformers' on PyTorch: logits, gradients, greedy decoding.

mT5, T5 1.0 and Switch (with every second and with every feed-forward sparse) with random weights in
float32, right-padded, sources longer than the farthest relative position, and for Switch with 5 to
50 % of tokens dropped by capacity in both stacks. Logits and the gradient of every array must agree
to 1e-4, greedy decoding token by token. Exits with 1 otherwise. `--freeze` writes Transformers'
numbers for `make test`.

Transformers counts capacity per sequence and lets padding take slots. Here a group is a sequence
and padding is last, so the real tokens' slots are the same. Jitter and losses are not compared: its
jitter leaks into the experts in float32, and its balance loss joins all layers' logits.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers
from material import hugging_face_cases as cases

from model.batch import Batch, Call
from model.config import MeshShape
from model.hugging_face.config import import_config
from model.hugging_face.modeling_mswitch import MSwitchConfig, MSwitchForConditionalGeneration
from model.hugging_face.weights import COPIES, exported_arrays, exported_shapes, import_state
from model.loss.cross_entropy import Computation, Labels, cross_entropy
from model.sharding.mesh import make_mesh
from model.transformer import Transformer

FROZEN = Path(__file__).parents[1] / "tests/model/hugging_face/reference.json"
FROZEN_CASES = ("mt5", "t5", "switch", "gated-switch")
TOLERANCE = 1e-4
CONFIGS = {
    "mt5": (transformers.MT5Config, transformers.MT5ForConditionalGeneration),
    "t5": (transformers.T5Config, transformers.T5ForConditionalGeneration),
    "switch_transformers": (
        transformers.SwitchTransformersConfig,
        transformers.SwitchTransformersForConditionalGeneration,
    ),
    "mswitch": (MSwitchConfig, MSwitchForConditionalGeneration),
}


def their_model(case: str, change: Mapping[str, Any] = {}) -> Any:
    """Transformers' network with the case's weights, and some settings changed."""
    settings = cases.config(case) | dict(change)
    config_class, model_class = CONFIGS[settings["model_type"]]
    settings = {key: value for key, value in settings.items() if key != "model_type"}
    model = model_class(config_class(**settings)).eval()
    if case in (
        "mt5",
        "switch-c",
        "gated-switch",
    ):  # logits by a matrix of their own, one embedding
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.lm_head.weight))
        for stack in (model.encoder, model.decoder):
            stack.embed_tokens.weight = model.shared.weight
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(cases.weight(name, tuple(parameter.shape))))
    return model


def their_numbers(model: Any, rows: cases.Rows) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Logits, and gradients of the summed cross-entropy of real targets."""
    inputs, targets = (torch.from_numpy(part.astype(np.int64)) for part in rows)
    labels = torch.where(targets == 0, -100, targets)
    decoder_inputs = torch.nn.functional.pad(targets[:, :-1], (1, 0))
    logits = model(
        input_ids=inputs, attention_mask=(inputs != 0).long(), decoder_input_ids=decoder_inputs
    ).logits
    flat = logits.flatten(0, 1), labels.flatten()
    torch.nn.functional.cross_entropy(*flat, reduction="sum").backward()
    gradients = {  # an expert that no token chose has none
        name: torch.zeros_like(p).numpy() if p.grad is None else p.grad.numpy()
        for name, p in model.named_parameters()
    }
    return logits.detach().numpy(), gradients


def our_numbers(model: Transformer, rows: cases.Rows):
    """Ours: logits, gradients, and the shares of tokens dropped by encoder and decoder."""
    batch = Batch(*(jnp.asarray(part) for part in rows), jnp.zeros(len(rows.inputs), jnp.int32))
    arrays, rest = eqx.partition(model, eqx.is_array)
    call = Call(make_mesh(MeshShape(), jax.devices()[:1]))

    def loss(arrays):
        network = eqx.combine(arrays, rest)
        output = network(batch, call)
        labels = Labels(batch.targets, batch.is_target, jnp.ones(()))
        factors = network.logit_factors(output.decoded)
        nats, _ = cross_entropy(Computation(call.mesh, 2**29), factors, labels)
        return nats, (output, network.head(output.decoded))

    (_, (output, logits)), slopes = jax.jit(jax.value_and_grad(loss, has_aux=True))(arrays)
    dropped = [
        float(1 - routing.kept[:, real].mean())
        for routing, real in (
            (output.encoder_routing, np.asarray(rows.inputs) != 0),
            (output.decoder_routing, np.asarray(rows.targets) != 0),
        )
        if routing is not None
    ]
    gradients = exported_arrays(eqx.combine(slopes, rest), exported_shapes(model.config))
    return np.asarray(logits), dict(gradients), dropped


def compare(case: str) -> bool:
    """Prints the greatest differences of one case; returns whether all are small."""
    theirs, rows = their_model(case), cases.rows()
    state = {name: p.detach().numpy() for name, p in theirs.named_parameters()}
    config = import_config(cases.config(case), cases.SOURCE, cases.TARGET)
    ours = import_state(config, state)
    logits, gradients = their_numbers(theirs, rows)
    our_logits, our_gradients, dropped = our_numbers(jax.tree.map(jnp.asarray, ours), rows)
    real = rows.targets != 0
    logit = np.abs(logits - our_logits)[real].max()
    assert gradients.keys() == our_gradients.keys() - set(COPIES)
    gradient = max(np.abs(gradients[name] - our_gradients[name]).max() for name in gradients)
    assert all(0.05 < share < 0.5 for share in dropped), dropped
    shares = ", ".join(f"{share:.1%}" for share in dropped)
    print(
        f"{case}: logits differ by at most {logit:.1e} (of {np.abs(logits[real]).max():.1f}), "
        f"gradients by {gradient:.1e} (of {max(np.abs(g).max() for g in gradients.values()):.2f})"
        + (f", dropped {shares}" if dropped else "")
    )
    return bool(max(logit, gradient) < TOLERANCE)


def freeze() -> None:
    """Writes Transformers' numbers: some logits, and each gradient along a random direction."""
    lines = []
    for case in FROZEN_CASES:
        logits, gradients = their_numbers(their_model(case), cases.rows())
        numbers = {
            "logits": np.round(logits[:, :9:4, ::64].astype(float), 5).ravel().tolist(),
            "gradients": {
                name: float(f"{np.sum(g * cases.weight(f'along {name}', g.shape)):.6g}")
                for name, g in gradients.items()
            },
        }
        lines.append(f'"{case}": {json.dumps(numbers)}')
    source = f"transformers {transformers.__version__}, torch {torch.__version__}"
    written_by = "parity/hugging_face.py --freeze"
    head = f'"source": "{source}",\n"written_by": "{written_by}"'
    FROZEN.write_text(f'{{{head},\n"cases": {{\n{",".join(lines)}\n}}}}\n'.replace(',"', ',\n"'))
    print(f"written: {FROZEN}")


def main() -> None:
    """Compares every case; exits with 1 if one differs."""
    if "--freeze" in sys.argv:
        freeze()
        return
    print(f"Transformers {transformers.__version__}, PyTorch {torch.__version__}, float32")
    equal = [compare(case) for case in cases.CASES]
    sys.exit(not all(equal))


if __name__ == "__main__":
    main()
