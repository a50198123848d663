"""The job's counters have the same names and values wherever the work is done.

Prism reports them during the job, so the progress view uses them; the local runner reports them at
its end. Prism may count too little, never too much: of bundles that end together, all the first
with a name, it counts one (`pipeline.beam.job.counters`). On Dataflow: `test_dataflow.py`.
"""

import json
from collections import Counter
from pathlib import Path

import pytest

CLEAN = ("clean", "--rules=mswitch-web")


@pytest.fixture(scope="module")
def counted(tmp_path_factory, archives, mswitch, on_prism, worker_pool) -> dict[str, list[dict]]:
    """Counters at each place, during the job and at its end."""
    folder = tmp_path_factory.mktemp("counted")
    places = {
        "one": ["--direct_num_workers=1"],
        "two": ["--direct_num_workers=2", "--direct_running_mode=multi_processing"],
        "prism": on_prism(worker_pool),
    }
    for name, options in places.items():
        mswitch(
            *CLEAN, f"--input={archives}", f"--out={folder / name}", "--", *options,
            COUNTERS=str(folder / f"{name}.json"),
        )  # fmt: skip
    manifest = json.loads((folder / "one/manifest.json").read_text())
    return {
        "manifest": [told_by(manifest, archives)],
        **{name: json.loads((folder / f"{name}.json").read_text()) for name in places},
    }


def told_by(manifest: dict, archives: str) -> dict[str, int]:
    """Returns the counters that the manifest implies."""
    languages = manifest["languages"].values()
    rejected = sum((Counter(one["rejected"]) for one in languages), Counter())
    folder = Path(archives).parent
    return {
        "pages_read": manifest["input"]["records"],
        "pages_kept": sum(one["kept"] for one in languages),
        "bytes_read": sum(file.stat().st_size for file in folder.glob("*.warc.wet.gz")),
        **{f"rejected/{reason}": count for reason, count in rejected.items()},
        **{f"broken/{key}": one["count"] for key, one in manifest["broken_records"].items()},
    }


@pytest.mark.parametrize("place", ["one", "two"])
def test_counters_are_those_of_the_manifest(counted, place):
    (expected,), last = counted["manifest"], dict(counted[place][-1])
    assert expected["pages_kept"] > 0
    assert sum(name.startswith("rejected/") for name in expected) >= 2
    pieces = {name: last.pop(name) for name in list(last) if name.startswith("pieces/")}
    assert last == expected
    assert pieces == {
        name: count for name, count in counted["one"][-1].items() if name.startswith("pieces/")
    }


def test_prism_tells_the_same_counters_while_it_works_and_never_more(counted):
    everything, *looks = counted["one"][-1], *counted["prism"]
    assert looks[-1].keys() == everything.keys()
    assert all(looks[-1].values())
    for seen in looks:
        assert all(seen[name] <= everything[name] for name in seen)
    done = [sum(n for name, n in seen.items() if name.startswith("pieces/")) for seen in looks]
    # None, some, ..., all: of one step's few pieces it may see none or all.
    assert len(set(done)) > 2
