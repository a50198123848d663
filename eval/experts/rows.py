"""Expert use in `report.json`, and as rows of a CSV file."""

from typing import Any

from eval.experts.sharing import ExpertSharing, LayerSharing


def experts_to_json(sharing: ExpertSharing) -> dict[str, Any]:
    """Returns the `experts` of `report.json`."""
    return {
        "run": sharing.run,
        "step": sharing.step,
        "layers": [_layer(layer, sharing.languages) for layer in sharing.layers],
    }


def _layer(layer: LayerSharing, languages: tuple[str, ...]) -> dict[str, Any]:
    return {
        "stack": layer.stack,
        "layer": layer.layer,
        "experts": layer.experts,
        "load_share": layer.load_of_all.round(5).tolist(),
        "dropped_share": layer.dropped_of_all,
        "entropy_nats": layer.entropy_of_all,
        "languages": {
            code: {
                "tokens": int(layer.tokens[at]),
                "load_share": layer.load_share[at].round(5).tolist(),
                "dropped_share": float(layer.dropped_share[at]),
                "entropy_nats": float(layer.entropy_nats[at]),
                "distance_from_all_languages": float(layer.distance[at]),
            }
            for at, code in enumerate(languages)
        },
    }


def experts_to_rows(sharing: ExpertSharing) -> list[dict[str, Any]]:
    """Returns one row per switch layer and language, with a column per expert."""
    return [
        {"run": sharing.run, "step": sharing.step, "stack": layer.stack, "layer": layer.layer}
        | {"code": code, "tokens": int(layer.tokens[at])}
        | {f"share_of_expert_{number}": share for number, share in enumerate(shares)}
        for layer in sharing.layers
        for at, (code, shares) in enumerate(
            zip(sharing.languages, layer.load_share.round(5).tolist(), strict=True)
        )
    ]
