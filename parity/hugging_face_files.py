"""Transformers' directories through `import-hf` and `export-hf`; greedy decoding against theirs.

For mT5, T5 1.0, Switch and, with exported code, Switch with gated experts or untied logits: what
`save_pretrained` wrote is imported, exported again, and loaded by `from_pretrained`. Every array
must have the bits that it had. No warning may be given but of mT5, whose logits Transformers 5
always calls tied. In five steps of training the stacks keep one embedding; `generate` must give the
tokens that our decoding with a cache gives; the exported tokenizer must give the ids of our
vocabulary on texts with gaps and, where ../shared/data/corpus is beside the checkout, on 99.5 % of
10,000 real lines in 101 languages (`data/tokens/tokenizer.py` lists what differs). Of mswitch-base,
29 GiB in float32, names and shapes are compared. Exits with 1 otherwise.

Switch has enough capacity that its encoder drops nothing: our decoding never drops tokens, and
theirs drops them only in the encoder.
"""

import contextlib
import gzip
import itertools
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import TestCase

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers
from hugging_face import their_model
from material import hugging_face_cases as cases

from data.tokens.tokenizer import EOS, MODEL_FILE, Tokenizer, load
from model.config import Sampling
from model.decoding.generation import cached_decoder, generate
from model.hugging_face import modeling_mswitch
from model.hugging_face.config import export_config
from model.hugging_face.weights import exported_shapes
from pipeline.commands.export_hf import ExportHf
from pipeline.commands.import_hf import ImportHf
from pipeline.recipe import named
from pipeline.recipe.recipe import with_rows
from pipeline.runs.gaps import encode_with_gaps
from pipeline.runs.opened_run import load_run, restore
from pipeline.tokens.vocabulary import train

CORPUS = Path(__file__).parents[1].parent / "shared/data/corpus"
WRITTEN = 24
CASES = ("mt5", "t5", "switch", "gated-switch", "switch-c")
SMALLEST_SHARE = 0.995
LINES = 10_000
MT5_ROWS = 250_112
SENTENCE = "alle Menschen sind frei und gleich an Würde und Rechten geboren "


def vocabulary_model() -> bytes:
    """A small vocabulary, of real text where there is some, as large as the cases' embedding."""
    text = [SENTENCE * 3] * 20 + [line[:4000] for _, line in lines()]
    size = 8000 if CORPUS.is_dir() else 256 + 3 + 100 + 30
    return train(iter(text), size, 0.99)


def lines() -> list[tuple[str, str]]:
    """Returns codes and real lines, as many of each language where it has so many."""
    files = {folder.name: sorted(folder.glob("*.gz")) for folder in CORPUS.glob("*")}
    codes = [code for code in sorted(files) if code != "und" and not code.endswith("-Latn")]
    each = [lines_of(files[code]) for code in codes]
    rounds = itertools.zip_longest(*each)
    found = ((code, line) for row in rounds for code, line in zip(codes, row, strict=True) if line)
    return list(itertools.islice(found, LINES))


def lines_of(files: list[Path]) -> Iterator[str]:
    """Yields the lines of a language's texts, of at most twenty texts per file."""
    for path in files:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for text in itertools.islice(file, 20):
                yield from filter(str.strip, json.loads(text)["text"].split("\n"))


def theirs_on_disk(case: str, directory: Path, model: bytes) -> Any:
    """Saves Transformers' network of a case, with a vocabulary beside it, and returns it."""
    tokenizer = Tokenizer(model)
    wide = {"vocab_size": tokenizer.rows} | ({"expert_capacity": 999} if "switch" in case else {})
    network = their_model(case, wide)
    if case in ("t5", "switch"):  # tied: at full scale each token would only repeat itself
        with torch.no_grad():
            network.shared.weight.mul_(0.05)
    network.save_pretrained(directory)
    (directory / "spiece.model").write_bytes(model)
    return network


def same_bits(one: Any, two: Any) -> bool:
    """Returns whether two networks of theirs have the same arrays."""
    first, second = (
        dict(network.named_parameters(remove_duplicate=False)) for network in (one, two)
    )
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def written(network: Any, inputs: np.ndarray) -> np.ndarray:
    """Greedy tokens of theirs, without the first, which is padding."""
    ids = torch.from_numpy(inputs.astype(np.int64))
    out = network.generate(
        input_ids=ids,
        attention_mask=(ids != 0).long(),
        max_new_tokens=WRITTEN,
        do_sample=False,
        num_beams=1,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=EOS,
    )[:, 1:]
    return np.pad(out.numpy(), ((0, 0), (0, WRITTEN - out.shape[1])))


def written_by_ours(run: Path, inputs: np.ndarray) -> np.ndarray:
    """Greedy tokens of ours."""
    _, trainer = load_run(run)
    arrays, _ = restore(run, trainer, None)
    model, greedy = trainer.model(arrays), Sampling()
    return np.asarray(
        jax.jit(
            lambda inputs: generate(
                cached_decoder(
                    model,
                    inputs,
                    length=WRITTEN,
                    ids=model.config.vocabulary_rows,
                    mesh=trainer.mesh,
                ),
                jax.random.key(0),
                greedy,
            )
        )(jnp.asarray(inputs))
    )


def stays_one_embedding(network: Any) -> bool:
    """Trains five steps; returns whether both stacks still have the shared embedding."""
    optimizer = torch.optim.AdamW(network.train().parameters(), lr=0.01)
    before = network.shared.weight.detach().clone()
    for seed in range(5):
        inputs, targets = (torch.from_numpy(part.astype(np.int64)) for part in cases.rows(seed))
        network(input_ids=inputs, labels=targets).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    stacks = network.encoder.embed_tokens.weight, network.decoder.embed_tokens.weight
    changed = not torch.equal(network.shared.weight, before)
    return changed and all(torch.equal(network.shared.weight, weight) for weight in stacks)


def compare_tokenizers(directory: Path, run: Path) -> tuple[int, list[str], int]:
    """Returns the number of lines, the codes of those whose ids differ, and equal gapped ones."""
    theirs, ours = (
        transformers.AutoTokenizer.from_pretrained(directory, trust_remote_code=True),
        load(run / MODEL_FILE),
    )
    assert len(theirs) == ours.size
    gapped = [
        "Tous les <extra_id_0> naissent libres et <extra_id_1> en droits.",
        "<extra_id_0> 𓀀 ﬁn  de <extra_id_1>",
    ]
    gaps = 0
    for sentence in gapped:
        ids = theirs(sentence).input_ids
        padded = encode_with_gaps(sentence, ours, 512).tolist()
        gaps += ids == padded[: len(ids)] and not any(padded[len(ids) :])
    real = lines()
    different = [
        code for code, line in real if theirs(line).input_ids != [*ours.encode(line).tolist(), EOS]
    ]
    return len(real), different, gaps


def compare(case: str, folder: Path, model: bytes) -> bool:
    """Imports and exports one case; returns whether nothing changed."""
    first, run, second = folder / f"{case}-theirs", folder / f"{case}-run", folder / case
    theirs = theirs_on_disk(case, first, model)
    ImportHf(directory=first, out=run, inputs=cases.SOURCE).execute()
    ExportHf(run=run, out=second).execute()
    silent = TestCase().assertNoLogs("transformers", "WARNING")
    with silent if case != "mt5" else contextlib.nullcontext():
        back = transformers.AutoModelForSeq2SeqLM.from_pretrained(second, trust_remote_code=True)
        transformers.AutoTokenizer.from_pretrained(second, trust_remote_code=True)
    bits, inputs = same_bits(theirs, back), cases.rows().inputs
    expected, found = written(theirs, inputs), written_by_ours(run, inputs)
    read, different, gaps = compare_tokenizers(second, run)
    print(
        f"{case}: arrays {'bit-identical' if bits else 'DIFFER'} after import and export; greedy "
        f"tokens {(expected == found).sum()} of {found.size} the same "
        f"({len(np.unique(found))} different ones); ids of {gaps} of 2 sentences with gaps and of "
        f"{read - len(different)} of {read} lines the same, others in {' '.join(different)}"
    )
    print(f"{case}: one embedding after five steps: {(tied := stays_one_embedding(back))}")
    enough = gaps == 2 and len(different) <= (1 - SMALLEST_SHARE) * read and tied
    return bits and np.array_equal(expected, found) and enough


def same_shapes(name: str) -> bool:
    """Returns whether a published recipe's export has the arrays of its class, on no device."""
    recipe = with_rows(named.get(name), MT5_ROWS)
    settings = export_config(recipe.model, recipe.inputs, recipe.lengths.targets)
    for field in ("architectures", "model_type", "auto_map"):
        del settings[field]
    with torch.device("meta"):
        config = modeling_mswitch.MSwitchConfig(**settings)
        theirs = modeling_mswitch.MSwitchForConditionalGeneration(config).state_dict()
    ours = exported_shapes(recipe.model)
    same = {key: tuple(array.shape) for key, array in theirs.items()} == ours
    print(f"{name}: {len(ours)} arrays {'of the same' if same else 'of OTHER'} names and shapes")
    return same


def main() -> None:
    """Compares mT5, T5, Switch and gated Switch; exits with 1 if one differs."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    print(f"Transformers {transformers.__version__}, PyTorch {torch.__version__}, float32")
    model = vocabulary_model()
    with tempfile.TemporaryDirectory() as folder:
        equal = [compare(case, Path(folder), model) for case in CASES]
    equal.append(same_shapes("mswitch-base"))
    sys.exit(not all(equal))


if __name__ == "__main__":
    main()
