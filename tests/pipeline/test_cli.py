import pytest

from pipeline import cli


@pytest.mark.parametrize(
    ("given", "means"),
    [
        ("pretrain --set a=1 --set=b=2 c=3", "pretrain --set a=1 b=2 c=3"),
        ("clean --input=x --out o --input y", "clean --input x y --out o"),
        ("fill --run r text", "fill --run r text"),
        ("recipes mt5-base", "recipes mt5-base"),
        ("", ""),
    ],
)
def test_an_option_given_twice_keeps_both_values(given, means):
    assert cli.merge_repeated(given.split()) == means.split()


def test_everything_after_two_dashes_is_beams():
    own, beam = cli.split_beam_options(["clean", "--out", "o", "--", "--runner=X", "--", "y"])
    assert own == ["clean", "--out", "o"]
    assert beam == ("--runner=X", "--", "y")


def test_one_value_given_twice_is_an_error(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.run(["evaluate", "--run", "a", "--run", "b", "--tokens", "t"])
    assert stopped.value.code == 2
    assert "b" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["clean"], ["pretrain"]], ids=str)
def test_help_is_there(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.run([*command, "--help"])
    assert stopped.value.code == 0
    assert "usage: mswitch" in capsys.readouterr().out
