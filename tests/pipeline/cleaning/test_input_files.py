from pathlib import Path

import pytest

from data.errors import DataError
from pipeline.cleaning.input_files import files_named, input_files, names_of


@pytest.mark.parametrize(
    "name, message",
    [("none-*.wet", "names no file"), ("page.html", r"unknown format; files must end in \.wet")],
)
def test_missing_and_unreadable_input_is_refused(tmp_path, name, message):
    (tmp_path / "page.html").write_text("<p>")
    with pytest.raises(DataError, match=message):
        input_files([str(tmp_path / name)])


def test_a_file_is_named_as_a_shell_names_it(tmp_path):
    """As a glob, `a[1].jsonl` is another file."""
    names = [str(tmp_path / name) for name in ("a1.jsonl", "a[1].jsonl", "b*.jsonl")]
    for name in names:
        Path(name).touch()
    assert [file.path for file in input_files(names)] == sorted(names)
    assert names_of(names[1]) == [names[1]]
    assert [file.path for file in input_files([f"{tmp_path}/a[[]*"])] == [names[1]]


def test_a_list_of_a_crawls_files_is_read_on_this_machine():
    assert files_named(["/here/wet.paths.gz", "gs://bucket/*.wet.gz"]) == ["gs://bucket/*.wet.gz"]


@pytest.mark.parametrize(
    "base", ["crawl.example", "ftp://crawl.example", "https://", "http://..", "http://a:pw@b"]
)
def test_a_base_that_names_no_server_or_holds_a_password_is_refused(base):
    with pytest.raises(DataError, match="begins with https:// or http://") as refused:
        input_files([], base)
    assert "pw" not in str(refused.value)
