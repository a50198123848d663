"""The card of a corpus: what a hub reads of it, and the numbers in its table."""

import json
import re
import shlex

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import DatasetCard
from huggingface_hub.utils import filter_repo_objects
from markdown_reader import HOSTILE, markup_of

from data.reading.page import WRITTEN
from pipeline.command import check_value
from pipeline.corpus.card import (
    METADATA,
    README,
    card,
    rejected_share,
    size_category,
    write_cards,
)
from pipeline.errors import ArtifactError
from pipeline.fields import License

CODES = {"iw": "heb", "ru-Latn": "rus", "sw": "swa"}
SPLITS = {"train": 3, "validation": 2}


@pytest.fixture
def corpus(tmp_path):
    """A corpus of three languages, and pages of none."""
    page = dict.fromkeys(WRITTEN.names, "x") | {"language_probability": 0.5}
    counts = {"kept": 5, "held_out": 2, "characters": 5}
    languages = {code: counts | {"rejected": {}} for code in (*CODES, "und")}
    languages["sw"]["rejected"] = {"too_short": 15}
    for code in languages:
        (tmp_path / "pages" / code).mkdir(parents=True)
        for split, count in SPLITS.items():
            rows = [page | {"language": code, "split": split}] * count
            path = tmp_path / "pages" / code / f"{split}-00000-of-00001.parquet"
            pq.write_table(pa.Table.from_pylist(rows, WRITTEN), path)
    rules = {"name": "none", "differences_from_mc4": ["Nothing is judged."]}
    write_cards(str(tmp_path), {"languages": languages, "rules": rules, "license": "odc-by"})
    return tmp_path


def test_a_hub_reads_header_table_and_metadata(corpus):
    header = DatasetCard.load(corpus / README).data
    assert header.language == sorted(CODES.values())
    assert (header.license, header.size_categories) == ("odc-by", ["n<1K"])
    text = (corpus / README).read_text(encoding="utf-8")
    assert "| sw | 5 | 2 | 5 | 75.0% | too_short 15 |" in text.splitlines()
    assert "20 pages" in text
    found = json.loads((corpus / METADATA).read_text(encoding="utf-8"))
    assert [one["@id"] for one in found["recordSet"]] == list(CODES)
    assert all(list(corpus.glob(one["includes"])) for one in found["distribution"])
    assert found["inLanguage"] == sorted(CODES.values())


def test_datasets_loads_one_language_with_both_splits(corpus, tmp_path):
    read = datasets.load_dataset(str(corpus), "iw", cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in read.items()} == SPLITS
    assert set(read["train"]["language"]) == {"iw"}


def test_the_line_that_uploads_a_corpus_takes_pages_and_cards_alone(corpus):
    (words,) = re.findall("^hf upload .*", (corpus / README).read_text(encoding="utf-8"), re.M)
    for name in ("rejected/sw/rejected-00000-of-00001.parquet", "lock/1.json", "manifest.json"):
        (corpus / name).parent.mkdir(parents=True, exist_ok=True)
        (corpus / name).touch()
    words = shlex.split(words)
    patterns = [words[at + 1] for at, word in enumerate(words) if word == "--include"]
    files = [path.relative_to(corpus).as_posix() for path in corpus.rglob("*") if path.is_file()]
    taken = set(filter_repo_objects(files, allow_patterns=patterns))
    assert {name.split("/")[0] for name in taken} == {"pages", README, METADATA}
    assert len(taken) == len([*(corpus / "pages").rglob("*.parquet")]) + 2


def test_late_rules_and_withdrawals_are_in_the_card_and_no_licence_is_unknown(tmp_path):
    late = [{"quality": "corpus", "mask": ("email", "ip"), "robot": None}]
    languages = {"sw": {"kept": 3, "rejected": 4}}
    gone = {"hosts": {"a.example": 3}, "languages": languages, "reason": "a request"}
    rules = {"name": "none", "differences_from_mc4": [], "late": late}
    withdrawals = [gone, gone | {"hosts_number": 1500}]
    write_cards(str(tmp_path), {"languages": {}, "rules": rules, "withdrawals": withdrawals})
    written = DatasetCard.load(tmp_path / README)
    assert written.data.license == "unknown"
    assert "- quality: corpus\n- mask: email, ip\n" in written.text
    assert "* 7 pages of 1 hosts\n* 7 pages of 1,500 hosts" in written.text
    assert "a.example" not in written.text
    assert "load_dataset" not in written.text  # there is nothing to load


def test_a_withdrawal_from_a_selection_does_not_change_its_rejected_share():
    entry = {"kept": 50, "rejected": {"blocked_domain": 50}}
    carried, own = (
        {"hosts": {}, "languages": {"sw": {"kept": kept, "rejected": rejected}}}
        for kept, rejected in ((30, 9), (25, 0))
    )
    before = {"languages": {"sw": entry}, "history": [{}], "carried_withdrawals": 1}
    before |= {"withdrawals": [carried]}
    after = {**before, "withdrawals": [carried, own], "languages": {"sw": entry | {"kept": 25}}}
    assert rejected_share(before, ["sw"]) == rejected_share(after, ["sw"]) == 0.5


def test_words_of_others_are_no_markup_of_the_card():
    def written(word):
        code = word.replace("/", "").replace("\n", "")
        counts = {"kept": 5, "held_out": 2, "characters": 5, "rejected": {word: 15}}
        late = [{word: word}, {"quality": [word, word]}]
        rules = {"name": word, "differences_from_mc4": [word, word], "late": late}
        return card({"languages": {code: counts}, "rules": rules}, [code], word)

    assert [*markup_of(written(HOSTILE))] == [*markup_of(written("word"))]
    assert yaml.safe_load(written(HOSTILE).split("---\n")[1])["license"] == HOSTILE


@pytest.mark.parametrize("name", ["x | y", "<script>", "a\nb", ""])
def test_a_licence_is_a_name(name):
    (word,) = License.__metadata__
    with pytest.raises(ArtifactError, match="named as on the hub"):
        check_value("--license", word, name)
    check_value("--license", word, "cc-by-sa-4.0")


@pytest.mark.parametrize(
    ("pages", "name"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**9, "1B<n<10B"), (10**11, "n>100B")],
)
def test_sizes_have_the_hubs_names(pages, name):
    assert size_category(pages) == name
