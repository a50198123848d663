"""What an addition refuses to read."""

from types import SimpleNamespace

import pytest

from data.errors import DataError
from pipeline.corpus.onto.settings import check_new


def test_a_file_under_another_name_is_not_new(tmp_path):
    (tmp_path / "crawl").mkdir()
    (tmp_path / "crawl/a.jsonl").write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "crawl")
    names = [SimpleNamespace(path=str(tmp_path / one / "a.jsonl")) for one in ("crawl", "link")]
    facts = SimpleNamespace(input=[names[:1]])
    with pytest.raises(DataError, match=r"1 of 1 files of the input, such as .*link/a\.jsonl, are"):
        check_new(names[1:], "corpus", facts)
    check_new([SimpleNamespace(path=str(tmp_path / "crawl/b.jsonl"))], "corpus", facts)
