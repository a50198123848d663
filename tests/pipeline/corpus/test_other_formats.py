"""The line that a refusal names makes files that `clean` reads."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pytest

from data.errors import DataError
from data.reading.page import Page
from data.reading.records import read_json_lines, read_parquet
from pipeline.corpus.other_formats import ARRAY_TO_LINES, RENAMED_FIELD
from pipeline.corpus.read import input_files

TEXTS = ["Habari, ya „asubuhi“", 'it\'s\ta "test"']
TABLE = pa.table({"text": TEXTS, "language": ["sw", "en"]})


def run_line(text: str, directory: Path) -> None:
    """Runs the shell line that a message names."""
    line = text[text.index("python -c ") :].partition(", and give")[0].partition(" and give")[0]
    here = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(line, shell=True, check=True, cwd=directory, env=os.environ | here)


def texts_of(path: Path) -> list[str]:
    read = read_parquet if path.suffix == ".parquet" else read_json_lines
    return [page.text if isinstance(page, Page) else repr(page) for page in read(path)]


def write_arrow(path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, TABLE.schema) as stream:
        stream.write_table(TABLE)


@pytest.mark.parametrize("name", ["it's a.txt", "é.csv", "a.tsv", "a.arrow"])
def test_the_line_for_a_file_of_another_format_works(tmp_path, name):
    path = tmp_path / name
    if path.suffix == ".txt":
        path.write_text("\n\n".join(TEXTS))
    elif path.suffix == ".arrow":
        write_arrow(path)
    else:
        delimiter = pyarrow.csv.WriteOptions(delimiter="\t" if path.suffix == ".tsv" else ",")
        pyarrow.csv.write_csv(TABLE, path, delimiter)
    with pytest.raises(DataError, match="has an unknown format") as told:
        input_files([str(path)])
    run_line(str(told.value), tmp_path)
    (made,) = {*tmp_path.iterdir()} - {path}
    assert [text.strip() for text in texts_of(made)] == TEXTS
    with pytest.raises(DataError, match=rf"is a directory; .* '{tmp_path}/\*\.jsonl'"):
        input_files([str(tmp_path)])


def test_the_line_for_a_folder_of_datasets_works(tmp_path):
    folder = tmp_path / "saved" / "train"
    folder.mkdir(parents=True)
    (folder.parent / "dataset_dict.json").write_text("{}")
    write_arrow(folder / "data-00000-of-00001.arrow")
    with pytest.raises(DataError, match="is a directory of Arrow files") as told:
        input_files([f"{folder.parent}/"])
    run_line(str(told.value), tmp_path)
    (glob,) = re.findall(r"and give '?([^ ']+)'?\.$", str(told.value))
    (file,) = input_files([glob])
    assert texts_of(Path(file.path)) == TEXTS


@pytest.mark.parametrize(
    "content, line",
    [
        (json.dumps([{"text": text} for text in TEXTS], indent=1), ARRAY_TO_LINES),
        ("\n".join(json.dumps({"content": text}) for text in TEXTS), RENAMED_FIELD),
    ],
)
def test_the_line_for_json_of_another_form_works(tmp_path, content, line):
    name = "a.json" if line == ARRAY_TO_LINES else "a.jsonl"
    (tmp_path / name).write_text(content)
    run_line(f"{line} > made.jsonl", tmp_path)
    assert texts_of(tmp_path / "made.jsonl") == TEXTS
