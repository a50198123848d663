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
    languages = {}
    for code in (*CODES, "und"):
        for split, count in SPLITS.items():
            rows = [
                dict.fromkeys(WRITTEN.names, "x")
                | {"language": code, "split": split, "language_probability": 0.5}
                for _ in range(count)
            ]
            path = tmp_path / "pages" / code / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist(rows, WRITTEN), path)
        languages[code] = {
            "kept": 5,
            "held_out": 2,
            "characters": 5,
            "rejected": {"too_short": 15} if code == "sw" else {},
        }
    body = {
        "languages": languages,
        "rules": {"name": "none", "differences_from_mc4": ["Nothing is judged."]},
        "license": "odc-by",
    }
    write_cards(str(tmp_path), body)
    return tmp_path


def test_a_hub_reads_the_header(corpus):
    header = DatasetCard.load(corpus / README).data
    assert header.language == sorted(CODES.values())
    assert header.license == "odc-by"
    assert header.size_categories == ["n<1K"]


def test_datasets_loads_one_language_with_both_splits(corpus, tmp_path):
    read = datasets.load_dataset(str(corpus), "iw", cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in read.items()} == SPLITS
    assert set(read["train"]["language"]) == {"iw"}


def test_the_table_counts_each_language(corpus):
    text = (corpus / README).read_text(encoding="utf-8")
    assert "| sw | 5 | 2 | 5 | 75.0% | too_short 15 |" in text.splitlines()
    assert "20 pages" in text


def test_metadata_names_each_languages_files(corpus):
    found = json.loads((corpus / METADATA).read_text(encoding="utf-8"))
    assert [one["@id"] for one in found["recordSet"]] == list(CODES)
    for one in found["distribution"]:
        assert list(corpus.glob(one["includes"]))
    assert found["inLanguage"] == sorted(CODES.values())


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


def test_without_a_declared_licence_the_card_says_unknown(corpus):
    body = {"languages": {}, "rules": {"name": "none", "differences_from_mc4": []}}
    write_cards(str(corpus), body)
    card = DatasetCard.load(corpus / README)
    assert card.data.license == "unknown"
    assert "load_dataset" not in card.text  # there is nothing to load


def test_late_rules_and_withdrawals_are_in_the_card(corpus):
    late = [{"quality": "corpus", "mask": ("email", "ip"), "robot": None}]
    of = {"kept": 3, "rejected": 4}
    gone = {"hosts": {"a.example": 3}, "languages": {"sw": of}, "reason": "a request"}
    body = {
        "languages": {},
        "rules": {"name": "none", "differences_from_mc4": [], "late": late},
        "withdrawals": [gone, gone | {"hosts_number": 1500}],
    }
    write_cards(str(corpus), body)
    text = (corpus / README).read_text(encoding="utf-8")
    assert "- quality: corpus\n- mask: email, ip\n" in text
    assert "* 7 pages of 1 hosts\n* 7 pages of 1,500 hosts" in text
    assert "a.example" not in text


def test_a_withdrawal_from_a_selection_does_not_change_its_rejected_share():
    entry = {"kept": 50, "rejected": {"blocked_domain": 50}}
    carried = {"hosts": {}, "languages": {"sw": {"kept": 30, "rejected": 9}}}
    own = {"hosts": {}, "languages": {"sw": {"kept": 25, "rejected": 0}}}
    before = {
        "languages": {"sw": entry}, "history": [{}], "carried_withdrawals": 1,
        "withdrawals": [carried],
    }  # fmt: skip
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
    check_value("--license", word, "cc-by-sa-4.0")
    with pytest.raises(ArtifactError, match="named as on the hub"):
        check_value("--license", word, name)


@pytest.mark.parametrize(
    ("pages", "name"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**9, "1B<n<10B"), (10**11, "n>100B")],
)
def test_sizes_have_the_hubs_names(pages, name):
    assert size_category(pages) == name
