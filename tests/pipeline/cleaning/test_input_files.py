import pytest

from data.errors import DataError
from pipeline.cleaning.input_files import files_named, input_files


@pytest.mark.parametrize(
    "name, message",
    [("none-*.wet", "names no file"), ("page.html", r"unknown format; files must end in \.wet")],
)
def test_missing_and_unreadable_input_is_refused(tmp_path, name, message):
    (tmp_path / "page.html").write_text("<p>")
    with pytest.raises(DataError, match=message):
        input_files([str(tmp_path / name)])


def test_a_list_of_a_crawls_files_is_read_on_this_machine():
    assert files_named(["/here/wet.paths.gz", "gs://bucket/*.wet.gz"]) == ["gs://bucket/*.wet.gz"]


@pytest.mark.parametrize(
    "base", ["crawl.example", "ftp://crawl.example", "https://", "http://..", "http://a:pw@b"]
)
def test_a_base_that_names_no_server_or_holds_a_password_is_refused(base):
    with pytest.raises(DataError, match="begins with https:// or http://") as refused:
        input_files([], base)
    assert "pw" not in str(refused.value)
