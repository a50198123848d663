"""The commands of the documents, typed as they stand there, in their order, on tiny inputs.

    python .ci/typed_pages.py DIR [PART ...]
    python .ci/typed_pages.py --printed FILE

A part is a page, or a section of it. Its indented commands, and those of its text that begin with
`mswitch` and a name in `INLINE`, are given to a shell in a directory of the part, which has the
files that the page speaks of. Only sizes differ: `Part.instead` has other words for a few of a
page, `Part.added` more options of a command. What is not typed here stands in `NOT_TYPED`.

Of a part that is `followed`, each next command that was printed and is not the page's own is pasted
after them, and what that one prints, until nothing new is printed. `--printed` pastes the next
commands of a log, such as that of `make demo`, in this folder.
"""

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from warcio.warcwriter import WARCWriter

from data import demo

ROOT = Path(__file__).parents[1]
FIXTURE = ROOT / "tests/fixture"
TINY = (
    "rows=32 inputs=64 model.embed=16 model.heads=2 model.head=8 model.mlp=16 model.layers=1 "
    "model.vocabulary_rows=0 steps=4 evaluate_every=4 checkpoint_every=4"
)
TINY_GROUPS = "model.switch.{}=8 model.switch.encoder_group_tokens=64 "
TINY_GROUPS += "model.switch.decoder_group_tokens=14 model.switch.every=1"
INLINE = ("doctor", "inspect", "fill")
NOT_TYPED = {
    r"make (demo|test) ": "`.ci/run` gives both",
    r"make install EXTRAS": "`.ci/run` gives it with other extras",
    r"\.venv/bin/(uv )?pip install": "from the network",
    r"hf upload": "for an account of a hub",
    r"python -m venv serving|serving/bin/|curl": "`parity/hugging_face_served.py` does it",
}


ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
}


class Part(NamedTuple):
    """A page, or a section of it, and what its commands need.

    Attributes:
        page: path of the page.
        prepare: writes the files that the part speaks of into a directory.
        section: its heading; all of the page if "".
        instead: other words for some of the part's.
        added: more options, by command and what else is in its line.
        devices: number of simulated devices.
        followed: whether the next commands that its commands print are typed too.
    """

    page: str
    prepare: Callable[[Path], None]
    section: str = ""
    instead: Mapping[str, str] = {}
    added: Mapping[str, str] = {}
    devices: int = 1
    followed: bool = False


def commands(part: Part) -> list[str]:
    """Returns the commands of a part, as they stand there."""
    text = (ROOT / part.page).read_text(encoding="utf-8")
    text = text.partition(f"\n{part.section}\n")[2] if part.section else text
    text = text.partition("\n## ")[0] if part.section else text
    text = re.sub(r"(?ms)^```.*?^```$", "", text).replace("\\\n", "")
    inline = rf"`(mswitch (?:{'|'.join(INLINE)})[^`]*)`"
    found = re.finditer(
        rf"^    (?=mswitch|make|hf|python|curl|\S+/bin/)(\S.*)$|{inline}", text, re.M
    )
    return [" ".join((one[1] or one[2]).split()) for one in found]


def reason_not_typed(command: str) -> str:
    """Returns why a command is not typed here; "" if it is."""
    return next((why for what, why in NOT_TYPED.items() if re.match(what, command)), "")


def type_part(part: Part, directory: Path) -> None:
    """Types every command of a part; stops at the first that fails."""
    directory.mkdir(parents=True)
    part.prepare(directory)
    flags = f"--xla_force_host_platform_device_count={part.devices}"
    environment = ENVIRONMENT | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    advised: dict[str, str] = {}
    printed: list[str] = []
    given: set[str] = set()
    for command in commands(part):
        if why := reason_not_typed(command):
            print(f"not typed: {command} ({why})")
            continue
        typed = smaller(command, part, advised)
        said = give(typed, directory, environment)
        given.add(shlex.join(shlex.split(typed)))
        printed += next_commands(said)
        advice = re.search(r"next: .* --size (\d+) --sample-characters (\d+)", said)
        advised |= {"SIZE": advice[1], "CHARACTERS": advice[2]} if advice else {}
    if part.followed:
        paste(printed, directory, environment, given, part)


def give(command: str, directory: Path, environment: Mapping[str, str]) -> str:
    """Returns what a command that is given to a shell wrote to standard error; ends if it fails."""
    print("$", command, flush=True)
    done = subprocess.run(
        ["bash", "-ec", command], cwd=directory, env=environment, stderr=subprocess.PIPE, text=True
    )
    print(done.stderr, file=sys.stderr, flush=True)
    if done.returncode:
        sys.exit(f"{command} ended with {done.returncode}")
    return done.stderr


def next_commands(said: str) -> list[str]:
    """Returns the commands that may follow, as they were printed."""
    return re.findall(r"^[\w-]+: (?:next|or): (mswitch .*)$", said, re.M)


def paste(
    printed: list[str],
    directory: Path,
    environment: Mapping[str, str],
    given: set[str],
    part: Part | None = None,
) -> None:
    """Types printed commands as they are, then what these print, each once.

    A training that names no setting gets those of the part.

    Args:
        printed: the commands.
        directory: directory to type them in.
        environment: variables of their processes.
        given: commands that were typed before, which are not repeated.
        part: the part that they follow; None for a log.
    """
    while printed:
        command = printed.pop(0)
        if part is not None and "--set" not in command:
            command = with_added(command, part)
        if shlex.join(shlex.split(command)) not in given:
            given.add(shlex.join(shlex.split(command)))
            printed += next_commands(give(command, directory, environment))


def smaller(command: str, part: Part, advised: Mapping[str, str]) -> str:
    """Returns a command with the part's other words and options, and with what `clean` advised."""
    for words, others in {**part.instead, **advised}.items():
        command = command.replace(words, others)
    return with_added(command, part)


def with_added(command: str, part: Part) -> str:
    """Returns a command with the part's further options."""
    for words, options in part.added.items():
        if all(re.search(rf"(^|[ -]){word}( |$)", command) for word in words.split()):
            command = f"{command} {options}"
    return command


def write_texts(directory: Path) -> None:
    """Writes JSON Lines without addresses, Chinese among them."""
    (directory / "texts").mkdir()
    for code in ("fr", "zh"):
        texts = (page.text for page in demo.shipped_pages() if page.declared_language == code)
        lines = (json.dumps({"text": text, "language": code}) for text in texts)
        (directory / f"texts/{code}.jsonl").write_text("\n".join(lines), encoding="utf-8")


def write_crawls(directory: Path) -> None:
    """Writes a crawl, and the same pages as those of two months; unpacks a vocabulary."""
    for path, month in zip(sorted((FIXTURE / "web").iterdir()), ("09", "10"), strict=True):
        for folder in ("crawl", f"crawl-{month}"):
            (directory / folder).mkdir(exist_ok=True)
            shutil.copy(path, directory / folder)
    unpack(directory, "vocabulary")


def write_lists(directory: Path) -> None:
    """Writes a crawl with robots.txt, lists of sites, and a benchmark."""
    write_crawls(directory)
    for name in ("adult-sites.txt", "requests.txt"):
        (directory / name).write_text("unwanted.example\n", encoding="utf-8")
    (directory / "held-out").mkdir()
    rows = [{"text": " ".join(f"word{number}" for number in range(20))}]
    (directory / "held-out/benchmark.jsonl").write_text(json.dumps(rows[0]), encoding="utf-8")
    (directory / "robots").mkdir()
    with (directory / "robots/00000.warc.gz").open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nUser-agent: *\nDisallow: /\n"
        address = "https://unwanted.example/robots.txt"
        writer.write_record(writer.create_warc_record(address, "response", payload=BytesIO(answer)))


def write_demo(directory: Path) -> None:
    """Unpacks a sparse run and its tokens where `make demo` has them."""
    unpack(directory / "runs/demo", "switch", "tokens")


def write_run(directory: Path) -> None:
    """Unpacks a sparse run, and writes sentences of SIB-200's form."""
    unpack(directory / "runs", "switch")
    (directory / "sib200-data").mkdir()
    row = {"label": "sports", "text": "Watu wote wamezaliwa huru."}
    splits = enumerate(("train", "dev", "test"))
    rows = [row | {"index_id": number, "split": split} for number, split in splits]
    for code in ("sw", "fr"):
        with gzip.open(directory / f"sib200-data/{code}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)


def unpack(directory: Path, *names: str) -> None:
    """Unpacks some of the fixture's artifacts."""
    with tarfile.open(FIXTURE / "artifacts.tar.xz") as archive:
        wanted = [one for one in archive if one.name.partition("/")[0] in names]
        archive.extractall(directory, wanted, filter="data")


PARTS = {
    "own-text": Part(
        "docs/first-runs.md",
        write_texts,
        "## Your own text, on two cores",
        added={"pretrain": "--set steps=120"},  # with two evaluations and one checkpoint
        followed=True,
    ),
    "web-pages": Part(
        "docs/first-runs.md",
        write_crawls,
        "## From web pages to a report",
        instead={
            "--out vocabulary": "--out vocabulary-new",
            "--vocabulary vocabulary": "--vocabulary vocabulary-new",
            "--size 250100": "--size 1400 --character-coverage 0.98",
        },
        added={
            "clean": "--validation-minimum 2",
            "pretrain": f"--set {TINY}",
            "pretrain mswitch-base": f"--set {TINY_GROUPS.format('experts')}",
        },
        devices=8,
    ),
    "serving": Part(
        "docs/serving.md",
        write_demo,
        instead={"sw fr de ru": "sw fr ru"},  # the fixture has no German
        added={
            "distill": "--set steps=4 evaluate_every=2 checkpoint_every=2 rows=8 "
            "model.vocabulary_rows=0 model.embed=8 model.heads=2 model.head=4 model.mlp=16"
        },
    ),
    "tasks": Part("docs/tasks.md", write_run),
    "publishing": Part("docs/publishing.md", write_lists),
    "growing": Part("docs/growing.md", write_crawls),
}
PAGES = {part.page for part in PARTS.values()}


def main(directory: Path, names: list[str]) -> None:
    """Types the parts that are named, or all."""
    for name in names or PARTS:
        started = time.monotonic()
        type_part(PARTS[name], directory / name)
        print(f"{PARTS[name].page}, {name}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--printed":
        log = Path(sys.argv[2]).read_text(encoding="utf-8")
        paste(next_commands(log), Path.cwd(), ENVIRONMENT, set())
    else:
        main(Path(sys.argv[1]), sys.argv[2:])
