"""Steps of Hugging Face Transformers on PyTorch: one step per line read, its seconds as the answer.

Runs in an environment of its own (parity/requirements_hugging_face.txt); from our side it receives
only sizes, as JSON. Update by PyTorch's fused AdamW.
"""

import json
import sys
import time

import torch
from transformers import (
    SwitchTransformersConfig,
    SwitchTransformersForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)


def model(sizes: dict[str, int]) -> torch.nn.Module:
    shared = {
        "vocab_size": sizes["vocabulary"],
        "d_model": sizes["embed"],
        "d_kv": sizes["head"],
        "d_ff": sizes["mlp"],
        "num_heads": sizes["heads"],
        "num_layers": sizes["layers"],
        "num_decoder_layers": sizes["layers"],
        "dropout_rate": 0.0,
        "decoder_start_token_id": 0,
        "use_cache": False,
    }
    if not sizes["experts"]:
        return T5ForConditionalGeneration(T5Config(**shared, feed_forward_proj="relu"))
    config = SwitchTransformersConfig(
        **shared,
        num_experts=sizes["experts"],
        expert_capacity=sizes["capacity"],
        num_sparse_encoder_layers=sizes["layers"] // 2,
        num_sparse_decoder_layers=sizes["layers"] // 2,
    )
    return SwitchTransformersForConditionalGeneration(config)


def main() -> None:
    sizes = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = model(sizes).train()
    for name, parameter in network.named_parameters():
        if "router" in name:  # theirs starts 50 times as wide, which makes it drop tokens
            torch.nn.init.normal_(parameter, std=0.02)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    router = {"output_router_logits": True} if sizes["experts"] else {}
    print(json.dumps({"parameters": sum(p.numel() for p in network.parameters())}), flush=True)
    for _ in sys.stdin:
        shape = (sizes["rows"], sizes["length"])
        inputs, labels = (torch.randint(3, sizes["vocabulary"], shape) for _ in range(2))
        cpu, wall = time.process_time(), time.perf_counter()
        network(input_ids=inputs, labels=labels, **router).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds = {
            "cpu": time.process_time() - cpu,
            "wall": time.perf_counter() - wall,
        }
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main()
