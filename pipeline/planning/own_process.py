"""Runs a function in a process of its own: a failed check inside libtpu ends the process."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import ParamSpec, TypeVar

import jax

P = ParamSpec("P")
T = TypeVar("T")


class Aborted(Exception):
    """The process ended before the function returned; its output says why."""


def in_own_process(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Returns what the function returns in a new process, in which JAX computes on the CPU.

    Raises:
        Aborted: if the process ends without a result.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # "Could not find cuda drivers"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_begin) as pool:
        try:
            return pool.submit(function, *args, **kwargs).result()
        except BrokenProcessPool as error:
            raise Aborted from error
        except KeyboardInterrupt:
            for process in multiprocessing.active_children():
                process.kill()  # compiling, which nothing else interrupts
            raise


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this process
    on_cpu()


def on_cpu() -> None:
    """Keeps JAX from looking for devices; call before it is used."""
    jax.config.update("jax_platforms", "cpu")
