"""The models that a report shows beside its two sides, as `--also NAME=RUN ...` names them."""

from collections.abc import Sequence

from data.files.paths import Address, Place, place
from eval.further_models import MOST
from eval.sides import Side
from pipeline.errors import ArtifactError

LONGEST = 40  # characters of a name


def named(also: Sequence[str]) -> dict[str, list[Place]]:
    """Returns the runs of each model; words of one name are seeds of one model.

    Raises:
        ArtifactError: if a word is not NAME=RUN, or there are too many models.
    """
    found: dict[str, list[Place]] = {}
    for word in also:
        name, separator, run = word.partition("=")
        if not (separator and run and 0 < len(name.strip()) <= LONGEST) or "/" in name:
            raise ArtifactError(
                f"--also was given {word!r}; write NAME=RUN, with a name of at most {LONGEST} "
                "characters and no slash."
            )
        found.setdefault(name.strip(), []).append(place(run))
    if len(found) > MOST:
        raise ArtifactError(
            f"--also names {len(found)} models; a report shows at most {MOST} beside its two "
            "sides, whose colours and marks can still be told apart."
        )
    return found


def check_named_once(also: Sequence[str], sides: set[str]) -> None:
    """Checks that no run is named twice, or is of a side already.

    Args:
        also: words of --also.
        sides: directories of both sides, as `identity` has them.

    Raises:
        ArtifactError: if one is.
    """
    runs = [identity(one) for directories in named(also).values() for one in directories]
    if twice := [one for one in dict.fromkeys(runs) if runs.count(one) > 1 or one in sides]:
        raise ArtifactError(
            f"--also names {', '.join(twice)}, which is named already; name each run once."
        )


def identity(run: Place) -> str:
    """Returns the one name of a run, whose directory may be named in several ways."""
    return run if isinstance(run, Address) else str(run.resolve())


def check_names(models: Sequence[Side]) -> None:
    """Checks that no two models of a report have one name.

    Raises:
        ArtifactError: if two have.
    """
    names = [one.name for one in models]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ArtifactError(
            f"--also names a model {twice[0]!r}, as a side of the report is named; choose another "
            "name."
        )
