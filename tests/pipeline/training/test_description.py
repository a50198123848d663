import json

import pytest

from pipeline.errors import ArtifactError
from pipeline.training import description
from pipeline.training.description import check_numerics


def begun_with(out, **fields):
    (out / "recipe.json").write_text(json.dumps(fields))
    return out


def test_a_run_is_resumed_with_the_numerics_that_began_it(tmp_path, monkeypatch):
    check_numerics(tmp_path)  # killed before it was described
    check_numerics(begun_with(tmp_path, numerics_version=description.NUMERICS_VERSION))
    with pytest.raises(ArtifactError, match="version 99, which computes other numbers"):
        check_numerics(begun_with(tmp_path, numerics_version=99))
    monkeypatch.setattr(description, "NUMERICS_VERSION", 2)
    with pytest.raises(ArtifactError, match=r"numerics version 2 and was begun with version 1"):
        check_numerics(begun_with(tmp_path))  # version 0.1.0 recorded none
