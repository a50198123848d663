"""One thing that `mswitch doctor` found out about this machine and installation."""

from typing import NamedTuple


class Finding(NamedTuple):
    """What was looked at, and what to do about it.

    Attributes:
        subject: what was looked at.
        found: what was found.
        remedy: what to do, if there is something; "" if all is well.
        stops: whether a run would be stopped by it.
    """

    subject: str
    found: str
    remedy: str = ""
    stops: bool = False

    @property
    def mark(self) -> str:
        """How it is: ok, note, or STOP."""
        if self.stops:
            return "STOP"
        return "note" if self.remedy else "ok"
