import pytest

from pipeline.artifacts.output_lock import output_lock
from pipeline.errors import ArtifactError


@pytest.mark.parametrize("name", ["pages", "pages/sw", "pages/sw/0.parquet"])
def test_a_link_below_an_output_directory_is_refused(tmp_path, name):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    (out / name).parent.mkdir(parents=True)
    (out / name).symlink_to(elsewhere)
    with (
        pytest.raises(ArtifactError, match=f"{name} is a symbolic link"),
        output_lock(out, "clean"),
    ):
        pass
    assert not elsewhere.exists()


def test_the_directory_itself_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    with output_lock(tmp_path / "out", "clean"):
        pass
