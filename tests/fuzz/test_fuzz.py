"""Every reader of strangers' bytes holds for some mutated inputs; `make fuzz` reads a million."""

from pathlib import Path

import pytest
from all_families import FAMILIES
from family import Broken, Family, Read
from hypothesis import given, settings
from hypothesis import strategies as st

NAMES = [family.name for family in FAMILIES]
FOUND = sorted(Path(__file__).with_name("found").glob("*/*"))


@pytest.mark.parametrize("family", FAMILIES, ids=NAMES)
def test_the_first_numbered_inputs(family, tmp_path):
    for number in range(150):
        family.trial(family.input(number), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=NAMES)
@settings(max_examples=100)
@given(draw=st.randoms(use_true_random=False))
def test_inputs_that_hypothesis_draws(family, tmp_path_factory, draw):
    family.trial(family.mutate(family.seeds, draw), tmp_path_factory.getbasetemp())


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_inputs_that_once_broke_a_promise(path, tmp_path):
    """A folder has the name of its reader's file, as two readers may share a format."""
    families = [family for family in FAMILIES if Path(family.file).name == path.parent.name]
    assert families
    for family in families:
        family.trial(path.read_bytes(), tmp_path)


def test_an_input_is_the_same_in_every_run():
    assert all(family.input(7) == family.input(7) for family in FAMILIES)
    assert len({family.input(number) for family in FAMILIES for number in range(20)}) > 150


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("x"), RecursionError("x")])
def test_an_exception_that_is_not_ours_is_found(tmp_path, error):
    def read(path: Path) -> Read:
        raise error

    with pytest.raises(Broken, match="x"):
        Family(name="a", file="a", seeds=(b"a",), read=read).trial(b"", tmp_path)


def test_too_much_work_is_found(tmp_path):
    family = Family(name="a", file="a", seeds=(b"a",), read=lambda path: Read(1 << 30, False))
    with pytest.raises(Broken, match="1,073,741,824"):
        family.trial(b"", tmp_path)
