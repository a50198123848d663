"""Signs of life of a lock's holder, for processes that cannot look at it.

A thread of the holder renews a counter in a file. An observer waits for a change of it on its own
monotonic clock, which no adjustment of the time changes.
"""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from data.errors import DataError
from data.stores.atomic import put
from data.stores.fences import FOLDER, Fence, Holder, read_holder
from data.stores.files import join_path, read_bytes

RENEWAL_SECONDS = 10.0
LEASE_SECONDS = 60.0  # six renewals; a store may be away for half a minute (`retry`)
LOOK_SECONDS = 0.5


@contextmanager
def beating(fence: Fence) -> Iterator[None]:
    """Renews a lock in a thread within the block."""
    stop = threading.Event()
    thread = threading.Thread(target=_beat, args=(fence, stop), name="lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(RENEWAL_SECONDS)


def shows_life(directory: str, number: int, owner: str) -> bool:
    """Returns whether a holder elsewhere renews its lock; False once the lock is released.

    Args:
        directory: locked directory.
        number: number of the holder's entry.
        owner: unique name of the holder's acquisition.
    """

    def look() -> tuple[Holder | None, bytes]:
        holder = read_holder(directory, number)
        return holder, _read(beat_path(directory, number, holder.owner if holder else owner))

    before = look()
    until_change = Retrying(
        retry=retry_if_result(lambda now: now == before),
        stop=stop_after_delay(LEASE_SECONDS),
        wait=wait_fixed(LOOK_SECONDS),
    )
    try:
        holder, _ = until_change(look)
    except RetryError:
        return False
    return holder is not None


def beat_path(directory: str, number: int, owner: str) -> str:
    """Returns the path of a holder's counter."""
    return join_path(directory, FOLDER, f"{number:08d}.{owner}.beat")


def _beat(fence: Fence, stop: threading.Event) -> None:
    path = beat_path(*fence)
    for count in itertools.count():
        with suppress(Exception):  # the next may succeed, and a lost lock is found at a write
            put(path, str(count).encode())
        if stop.wait(RENEWAL_SECONDS):
            return


def _read(path: str) -> bytes:
    with suppress(DataError, OSError):
        return read_bytes(path)
    return b""
