"""A served student beside Transformers: docs/serving.md typed as it is written, and compared.

    python parity/hugging_face_served.py [runs/demo]

The demo's mT5, of the form that a student has, is trimmed to ten languages, exported and converted
by the document's `convert.py`, in float32 and int8. Twenty held-out texts of each language
with a gap are answered by CTranslate2 and by Transformers. In float32 log-probabilities must agree
to 1e-4, greedy text but for ties under 1e-4, and 95 % of what four beams find. The document's
`serve.py` must answer over HTTP what CTranslate2 answers. No piece has two names, also where rows
of padding are left. Printed are int8's share of equal texts, and tokens per second of one thread
for CTranslate2, Transformers and the Switch in Transformers. Exits with 1 if something differs.
"""

import contextlib
import itertools
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ctranslate2
import numpy as np
import torch
import transformers

from data.tokens.tokenizer import MODEL_FILE, Tokenizer, load
from pipeline.commands.export_hf import ExportHf
from pipeline.commands.prune import Prune
from pipeline.fields import CacheOptions
from pipeline.tokens.opened_blocks import open_blocks

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "runs/demo"
LANGUAGES = ("sw", "fr", "cs", "ru", "ar", "hi", "th", "ja", "ko", "en")
INPUTS, WRITTEN = 20, 24
WORDS = 16  # pieces of an input, around its gap
TIE, BEAMS, SAME_BEAMS = 1e-4, 4, 0.95
PORT = 8765


class Served(NamedTuple):
    """A converted student and the same in Transformers.

    Attributes:
        folder: directory with `exported/`, `served/` and the document's programs.
        network: Transformers' network.
        tokenizer: the trimmed vocabulary.
    """

    folder: Path
    network: Any
    tokenizer: Tokenizer


def programs() -> list[str]:
    """Returns the programs that the document prints: convert.py and serve.py."""
    text = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def made(demo: Path, folder: Path) -> Served:
    """Trims, exports and converts the dense run, by the document's lines."""
    dense, small = demo / "mt5", folder / "small"
    Prune(run=dense, languages=LANGUAGES, trim=1, tokens=str(demo / "tokens"), out=small).execute()
    for run, name in ((small, "exported"), (dense, "padded/exported")):
        ExportHf(run=run, out=folder / name).execute()
        converted((folder / name).parent, "float32")
        (folder / name).with_name("served").rename((folder / name).with_name("float32"))
    converted(folder, "int8")
    network = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder / "exported").eval()
    return Served(folder, network, load(small / MODEL_FILE))


def converted(folder: Path, quantization: str) -> None:
    """Writes `served/` by the document's program, in another precision if one is named."""
    with contextlib.chdir(folder):
        exec(programs()[0].replace('"int8"', f'"{quantization}"'), {})


def inputs(demo: Path, tokenizer: Tokenizer) -> list[list[int]]:
    """Returns ids of texts with a gap, twenty of each language."""
    blocks = open_blocks(str(demo / "tokens"), CacheOptions())
    whole, rows = load(demo / "tokens" / MODEL_FILE), []
    for code in LANGUAGES:
        pages = blocks.pages(code, "validation")
        parts = [page.tokens[at : at + WORDS] for page in pages for at in range(0, 9999, WORDS)]
        texts = [whole.decode(part) for part in parts if len(part) == WORDS][:INPUTS]
        for text in texts:
            ids = tokenizer.encode(text).tolist()
            half = len(ids) // 2
            rows.append([*ids[:half], tokenizer.first_sentinel, *ids[half + 2 :], 1])
    return rows


def names_of(tokenizer: Tokenizer, rows: list[list[int]]) -> list[list[str]]:
    """Returns the pieces of ids."""
    return [[tokenizer.processor.IdToPiece(token) for token in row] for row in rows]


def written(served: Served, rows: list[list[int]], **options: Any) -> list[list[int]]:
    """Returns what Transformers writes, without padding at its begin and what follows EOS."""
    length = max(map(len, rows))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    out = served.network.generate(
        ids, attention_mask=(ids != 0).long(), max_new_tokens=WRITTEN, do_sample=False, **options
    )
    return [list(itertools.takewhile(lambda token: token != 1, row[1:])) for row in out.tolist()]


@torch.no_grad()
def log_probabilities(served: Served, row: list[int], target: list[int]) -> torch.Tensor:
    """Returns Transformers' log-probabilities of all pieces at each position of a target."""
    logits = served.network(
        input_ids=torch.tensor([row]), decoder_input_ids=torch.tensor([[0, *target]])
    ).logits
    return logits[0].log_softmax(-1)


def translated(
    model: ctranslate2.Translator, served: Served, rows: list[list[int]], **options: Any
):
    """Returns the ids that CTranslate2 writes."""
    to_id = served.tokenizer.processor.PieceToId
    results = model.translate_batch(
        names_of(served.tokenizer, rows), max_decoding_length=WRITTEN, max_batch_size=32, **options
    )
    return [[to_id(piece) for piece in result.hypotheses[0]] for result in results]


def is_tie(served: Served, row: list[int], expected: list[int], found: list[int]) -> bool:
    """Returns whether two texts part where two pieces are as likely, to 1e-4."""
    both = zip([*expected, 1], [*found, 1], strict=False)
    at, (first, second) = next((n, pair) for n, pair in enumerate(both) if len(set(pair)) > 1)
    likely = log_probabilities(served, row, expected)[at]
    return abs(float(likely[first] - likely[second])) < TIE


def compare(served: Served, rows: list[list[int]]) -> bool:
    """Prints what differs in float32 and int8; returns whether float32 is the same."""
    folder = served.folder
    full, small = (
        ctranslate2.Translator(str(folder / name), intra_threads=1)
        for name in ("float32", "served")
    )
    expected = written(served, rows, num_beams=1)
    names = names_of(served.tokenizer, rows), names_of(served.tokenizer, expected)
    scores = full.score_batch(*names)
    apart = 0.0
    for row, target, score in zip(rows, expected, scores, strict=True):
        likely = log_probabilities(served, row, target)
        theirs = likely[torch.arange(len(target) + 1), torch.tensor([*target, 1])].numpy()
        apart = max(apart, np.abs(theirs - np.array(score.log_probs)).max())
    found = translated(full, served, rows, beam_size=1)
    different = [both for both in zip(rows, expected, found, strict=True) if both[1] != both[2]]
    ties = sum(is_tie(served, *each) for each in different)
    beams = {"num_beams": BEAMS, "length_penalty": 0.0}
    wide = written(served, rows, **beams)
    found_wide = translated(full, served, rows, beam_size=BEAMS, length_penalty=0)
    same_wide = sum(one == other for one, other in zip(wide, found_wide, strict=True))
    in_int8 = translated(small, served, rows, beam_size=1)
    same_int8 = sum(one == other for one, other in zip(expected, in_int8, strict=True))
    count, kinds = len(rows), len({tuple(ids) for ids in expected})
    print(
        f"{count} inputs in {len(LANGUAGES)} languages, {kinds} different texts. float32: "
        f"log-probabilities differ by at most {apart:.1e}; greedy {count - len(different)} the "
        f"same and {ties} ties; {BEAMS} beams {same_wide} the same. int8: greedy {same_int8} the "
        "same",
        flush=True,
    )
    return apart < TIE and ties == len(different) and same_wide >= SAME_BEAMS * count


def one_name_each(folder: Path) -> bool:
    """Returns whether no name stands for two rows, with and without rows of padding."""
    lists = [
        json.loads((path / "float32/shared_vocabulary.json").read_text())
        for path in (folder, folder / "padded")
    ]
    print(f"rows and names: {', '.join(f'{len(names)} {len(set(names))}' for names in lists)}")
    return all(len(names) == len(set(names)) for names in lists)


def print_speed(served: Served, switch: Path, rows: list[list[int]]) -> None:
    """Prints tokens per second of one thread, all texts as long as they may be, one at a time."""
    ExportHf(run=switch, out=served.folder / "switch").execute()
    sparse = transformers.AutoModelForSeq2SeqLM.from_pretrained(
        served.folder / "switch", trust_remote_code=True
    ).eval()
    length, few = {"min_new_tokens": WRITTEN, "num_beams": 1}, rows[:: len(LANGUAGES)]

    def with_ctranslate2(name: str) -> Callable[[], object]:
        model = ctranslate2.Translator(str(served.folder / name), intra_threads=1)
        least = {"beam_size": 1, "min_decoding_length": WRITTEN}
        return lambda: [translated(model, served, [row], **least) for row in few]

    ways = {
        "CTranslate2, int8": with_ctranslate2("served"),
        "CTranslate2, float32": with_ctranslate2("float32"),
        "Transformers": lambda: [written(served, [row], **length) for row in few],
        "the Switch in Transformers": lambda: [
            written(served._replace(network=sparse), [row], **length) for row in few
        ],
    }
    for name, way in ways.items():
        way()
        began = time.process_time()
        way()
        speed = len(few) * WRITTEN / (time.process_time() - began)
        print(f"{name}: {speed:,.0f} tokens per second of processor time", flush=True)


def is_served(served: Served) -> bool:
    """Returns whether the document's server answers as CTranslate2 does."""
    (served.folder / "serve.py").write_text(programs()[1])
    texts = ["All human <extra_id_0> are born free and equal in <extra_id_1>.", "Watu wote"]
    words = [sys.executable, "-m", "uvicorn", "serve:app", "--port", str(PORT)]
    server = subprocess.Popen(words, cwd=served.folder, stderr=subprocess.DEVNULL)
    try:
        answers = posted(json.dumps(texts).encode())
    finally:
        server.terminate()
        server.wait()
    tokenizer = transformers.AutoTokenizer.from_pretrained(served.folder / "exported")
    model = ctranslate2.Translator(str(served.folder / "served"))
    pieces = [tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids) for text in texts]
    results = model.translate_batch(pieces, beam_size=1, max_decoding_length=64)
    expected = [
        tokenizer.decode(tokenizer.convert_tokens_to_ids(result.hypotheses[0]))
        for result in results
    ]
    print(f"over HTTP: {answers}")
    return answers == expected


def posted(body: bytes) -> list[str]:
    """Returns the server's answers; waits until it listens."""
    for _ in range(600):
        try:
            request = urllib.request.Request(
                f"http://127.0.0.1:{PORT}", body, {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.URLError:
            time.sleep(0.1)
    raise TimeoutError(f"No server listens on port {PORT}.")


def main(demo: Path) -> None:
    """Compares one student; exits with 1 if it is served otherwise."""
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    print(
        f"CTranslate2 {ctranslate2.__version__}, Transformers {transformers.__version__}, "
        f"PyTorch {torch.__version__}"
    )
    with tempfile.TemporaryDirectory() as folder:
        served = made(demo, Path(folder))
        rows = inputs(demo, served.tokenizer)
        same = [compare(served, rows), one_name_each(served.folder), is_served(served)]
        print_speed(served, demo / "switch", rows)
    sys.exit(not all(same))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else DEMO)
