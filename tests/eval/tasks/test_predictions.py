import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from task_predictions import answered, classified, read

from data.errors import DataError
from data.files.parquet_files import read_table
from eval.tasks.predictions import MAY_BE_NULL, SCHEMA, check_same_examples, from_table


@pytest.mark.parametrize("table", [classified(0), answered(0)], ids=["classified", "answered"])
def test_a_table_is_read_back_from_its_file_in_any_order(tmp_path, table):
    shuffled = table.take(np.random.default_rng(0).permutation(table.num_rows))
    pq.write_table(shuffled, tmp_path / "a.parquet")
    found, expected = (
        from_table(read_table(tmp_path / "a.parquet", SCHEMA, MAY_BE_NULL), "a"),
        read(table),
    )
    check_same_examples([found, expected])
    assert list(map(list, found.answers)) == list(map(list, expected.answers))
    for name in ("prediction", "likeliest_label", "overlaps"):
        assert list(getattr(found, name)) == list(getattr(expected, name))


def test_labels_and_overlaps():
    found = read(classified(0))
    assert found.has_labels
    assert not read(answered(0)).has_labels
    assert found.overlaps.sum() == 13
    assert found.compared.all()
    table = classified(0)
    nats = np.array(table["label_nats"].to_pylist())
    labels = ["animal", "food", "place"]
    assert table["likeliest_label"].to_pylist() == [labels[at] for at in nats.argmin(axis=1)]


def test_overlap_that_was_not_looked_for_is_null(tmp_path):
    whole = classified(0)
    at = whole.schema.get_field_index("overlaps")
    table = whole.set_column(at, "overlaps", pa.nulls(whole.num_rows, pa.bool_()))
    pq.write_table(table, tmp_path / "a.parquet")
    found = from_table(read_table(tmp_path / "a.parquet", SCHEMA, MAY_BE_NULL), "a")
    assert not found.compared.any()
    assert not found.overlaps.any()
    with pytest.raises(DataError, match="value in each row of the column overlaps"):
        read_table(tmp_path / "a.parquet", SCHEMA)


def test_several_tasks_repeated_examples_and_none_are_one_sentence_each():
    table = classified(0)
    for bad, said in (
        (table.slice(0, 0), "one task and holds none"),
        (pa.concat_tables([table, answered(0)]), "one task and holds topics, qa"),
        (pa.concat_tables([table, table.slice(3, 1)]), "holds two predictions for 's3' in en"),
    ):
        with pytest.raises(DataError, match=said):
            from_table(bad, "a.parquet")


def test_runs_on_other_examples_are_refused():
    runs = [read(classified(0)), read(classified(1, sentences=29))]
    with pytest.raises(DataError, match="have 87 and 90 that differ"):
        check_same_examples(runs)
