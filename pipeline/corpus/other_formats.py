"""Input that is not read: each refusal and caution names the line that makes it readable.

The lines are Python, which is where mswitch is, and read tables by pyarrow, which mswitch requires.
"""

import json
import os
import shlex

from data.errors import DataError

TO_LINES = (
    'import json; [print(json.dumps({{"text": line}})) for line in open({file}) if line.strip()]'
)
WITH_PYARROW = "import pyarrow as a, pyarrow.csv as c, pyarrow.parquet as p; "
TO_PARQUET = WITH_PYARROW + "p.write_table({table}, {parquet})"
CONVERSIONS = {
    ".csv": TO_PARQUET.format(table="c.read_csv({file})", parquet="{parquet}"),
    ".tsv": TO_PARQUET.format(
        table='c.read_csv({file}, parse_options=c.ParseOptions(delimiter="\\t"))',
        parquet="{parquet}",
    ),
    ".arrow": TO_PARQUET.format(table="a.ipc.open_stream({file}).read_all()", parquet="{parquet}"),
}
FOLDER_TO_PARQUET = (
    f"import glob; {WITH_PYARROW}[p.write_table(a.ipc.open_stream(f).read_all(), f + '.parquet') "
    "for f in glob.glob({files}, recursive=True)]"
)
SAVED_BY_DATASETS = ("state.json", "dataset_dict.json")  # in a folder of `save_to_disk`


def python_line(code: str) -> str:
    """Returns the line of a shell that runs this code."""
    return f"python -c {shlex.quote(code)}"


ARRAY_TO_LINES = python_line(
    'import json; [print(json.dumps(row)) for row in json.load(open("a.json"))]'
)
RENAMED_FIELD = python_line(
    'import json; [print(json.dumps({**row, "text": row["content"]})) '
    'for row in map(json.loads, open("a.jsonl"))]'
)


def no_such_input(pattern: str) -> DataError:
    """Returns the refusal of an input that names no file."""
    folder = pattern.rstrip("/")
    if any(os.path.isfile(os.path.join(folder, name)) for name in SAVED_BY_DATASETS):
        files = json.dumps(f"{folder}/**/*.arrow", ensure_ascii=False)
        line = python_line(FOLDER_TO_PARQUET.format(files=files))
        return DataError(
            f"Input {pattern!r} is a directory of Arrow files; write Parquet beside them by {line} "
            f"and give {shlex.quote(f'{folder}/**/*.parquet')}."
        )
    is_directory = os.path.isdir(pattern)
    example = f"{folder}/*.jsonl" if is_directory else "crawl/*.warc.wet.gz"
    return DataError(
        f"Input {pattern!r} {'is a directory' if is_directory else 'names no file'}; "
        f"give existing files, or a quoted glob such as {shlex.quote(example)}."
    )


def unknown_format(path: str, suffixes: tuple[str, ...]) -> DataError:
    """Returns the refusal of a file that no reader reads, beside the suffixes of those that are."""
    what = f"Input {path!r} has an unknown format; "
    stem, suffix = os.path.splitext(path.removesuffix(".gz"))
    if suffix == ".txt" and not path.endswith(".gz"):
        lines = shlex.quote(f"{stem}.jsonl")
        made = f"{python_line(TO_LINES.format(file=as_literal(path)))} > {lines}"
        return DataError(f"{what}make a document of each line by {made}, and give {lines}.")
    if suffix in CONVERSIONS:
        parquet = f"{stem}.parquet"
        code = CONVERSIONS[suffix].format(file=as_literal(path), parquet=as_literal(parquet))
        return DataError(
            f'{what}make Parquet of it, with a column "text", by {python_line(code)}, and give '
            f"{shlex.quote(parquet)}."
        )
    return DataError(f"{what}files must end in {', '.join(suffixes)}.")


def as_literal(path: str) -> str:
    """Returns a path as a string of Python's."""
    return json.dumps(path, ensure_ascii=False)
