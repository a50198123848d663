"""Errors of the operating system are not damage: no reader counts them as broken records."""

from pathlib import Path

import pytest

from data.reading import records, web_archive

READERS = (web_archive.read, web_archive.read_html, records.read_json_lines, records.read_parquet)


@pytest.mark.parametrize("read", READERS)
def test_a_file_that_is_not_there(tmp_path, read):
    with pytest.raises(FileNotFoundError):
        list(read(tmp_path / "x"))


@pytest.mark.parametrize("read", READERS[:3])
def test_a_disk_that_fails_in_the_middle(read):
    """Linux opens a process's memory and returns EIO where nothing is mapped, as bad disks do."""
    with pytest.raises(OSError, match="Input/output error"):
        list(read(Path("/proc/self/mem")))
