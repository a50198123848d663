"""TensorBoard's curves of one start of a run, written by the thread that trains.

tensorboardX's own `SummaryWriter` writes in a thread, which a full disk ends; the next scalars then
fill its queue, and the program waits forever. Here an error of the disk is raised where it happens.
"""

import time
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2
from tensorboardX.summary import scalar

from data.files.growing_files import WorkingFolder
from data.files.paths import Place

Event: Any = event_pb2.Event  # pyright: ignore[reportAttributeAccessIssue]
SessionLog: Any = event_pb2.SessionLog  # pyright: ignore[reportAttributeAccessIssue]


class EventFile:
    """The scalars that one start of a run adds; those of earlier starts from `first` on are hidden.

    Args:
        directory: directory of the files of all starts.
        first: first step of this start.
    """

    def __init__(self, directory: Place, first: int):
        self._folder = WorkingFolder(directory)
        self._writer = EventsWriter(str(self._folder.here / "events"))
        self._write(Event(step=first, session_log=SessionLog(status=SessionLog.START)))

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Adds the value of a curve at a step."""
        self._write(Event(step=step, summary=scalar(name, value)))

    def flush(self) -> None:
        """Writes what was added to the disk, where TensorBoard reads it."""
        self._writer.flush()

    def publish(self) -> None:
        """Writes what was added to the store, if the directory is in one."""
        self.flush()
        self._folder.publish()

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()
        self._folder.close()

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        self._writer.write_event(event)
