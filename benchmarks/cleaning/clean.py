"""mC4's rules on the same web pages: this job against tensorflow-datasets' own functions.

The reference's job is built from its functions in its order, on the same local runner, and ends
where its pages would be written; ours also writes and counts. Ours runs twice: in one process, as
the reference does, and with one process per core, as a user gets it (their start included). Each
run is a process of its own, warmed up by a few pages, without its imports; the runs follow each
other.

Targets: 4 times the reference's pages per second with both cores, at most 0.4 of its CPU seconds,
and CLD3's own time at least half of ours. 392 MB of text (`grown_web`).

Needs the environment of `make parity`; elsewhere it prints that and stops.
"""

import importlib.util
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import grown_web

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks/results/clean.json"
COPIES = 20  # 392 MB of text; with 235 MB the workers' start was still a tenth of our time
ONE_PROCESS = ("--direct_running_mode=in_memory", "--direct_num_workers=1")


def main() -> None:
    if importlib.util.find_spec("tensorflow_datasets") is None or not grown_web.WEB.exists():
        print(f"needs tensorflow-datasets (.venv-parity/bin/python {__file__}) and {grown_web.WEB}")
        return
    with tempfile.TemporaryDirectory() as directory:
        _compare(grown_web.grow(COPIES, Path(directory)))


def _compare(files: list[Path]) -> None:
    runs = {"reference": _reference, "one process": _in_one, "one process per core": _ours}
    measured = {name: _in_a_process(run, files) for name, run in runs.items()}
    theirs, one, both = measured.values()
    cld3 = _identification_seconds(files)
    for name, run in measured.items():
        speed = run["pages"] / run["seconds"]
        print(f"{name:18}{speed:8.0f} pages/s{run['cpu_seconds']:8.1f} CPU seconds")
    result = measured | {
        "pages_per_second_ratio": theirs["seconds"] / both["seconds"],
        "cpu_seconds_ratio": one["cpu_seconds"] / theirs["cpu_seconds"],
        "cpu_seconds_ratio_both_cores": both["cpu_seconds"] / theirs["cpu_seconds"],
        "cld3_seconds": cld3,
        "language_identification_share": cld3 / one["cpu_seconds"],
    }
    print(f"pages per second, times the reference's: {result['pages_per_second_ratio']:.2f}")
    print(f"CPU seconds in one process, part of its: {result['cpu_seconds_ratio']:.2f}")
    print(f"CLD3's part of our CPU seconds: {result['language_identification_share']:.2f}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _in_a_process(run: Callable[[list[Path]], int], files: list[Path]) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measured, run, files).result()


def _measured(run: Callable[[list[Path]], int], files: list[Path]) -> dict[str, Any]:
    run([grown_web.few(files[0].parent)])
    cpu, started = _cpu_seconds(), time.monotonic()
    pages = run(files)
    return {
        "pages": pages,
        "seconds": time.monotonic() - started,
        "cpu_seconds": _cpu_seconds() - cpu,
    }


def _cpu_seconds() -> float:
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)


def _reference(files: list[Path]) -> int:
    import apache_beam as beam
    import gcld3  # noqa: F401  before TensorFlow, or the process dies
    from tensorflow_datasets.text import c4_utils
    from tensorflow_datasets.text.c4 import MC4_LANGUAGES

    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        pages = (
            pipeline
            | beam.Create(list(map(str, files)))
            | beam.Reshuffle()
            | beam.FlatMap(c4_utils.split_wet_file)
            | beam.Filter(c4_utils.is_valid_length)
            | beam.Map(lambda page: (page.normalized_url, page))
            | beam.CombinePerKey(c4_utils.select_newest_page)
            | beam.Values()
            | beam.Filter(c4_utils.paragraph_filter)
        )
        pages = c4_utils.remove_duplicate_text(pages, min_num_sentences=0)
        _ = c4_utils.detect_languages(pages, valid_languages=MC4_LANGUAGES)
    counters = pipeline.result.metrics().query()["counters"]
    read = (one for one in counters if one.key.metric.namespace == "too-long-filter")
    return sum(one.committed for one in read)


def _ours(files: list[Path], options: tuple[str, ...] = ()) -> int:
    from pipeline.commands.clean import Clean

    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory, "out")
        Clean(input=tuple(map(str, files)), rules="mc4", out=str(out), beam=options).execute()
        return json.loads((out / "manifest.json").read_text())["input"]["records"]


def _in_one(files: list[Path]) -> int:
    return _ours(files, ONE_PROCESS)


def _identification_seconds(files: list[Path]) -> float:
    """CPU seconds of CLD3 alone for the pages that reach it."""
    from data.language_id.cld3 import CLD3Identifier
    from data.reading.page import Page
    from data.reading.web_archive import read
    from data.rules.english_lines import too_few_long_lines

    texts = [
        one.text
        for file in files
        for one in read(file)
        if isinstance(one, Page) and too_few_long_lines(one, lines=3, characters=200) is None
    ]
    identifier, started = CLD3Identifier(), time.process_time()
    for text in texts:
        identifier.identify(text)
    return time.process_time() - started


if __name__ == "__main__":
    main()
