"""Runs a function in a process of its own: a failed check inside libtpu ends the process."""

import multiprocessing
import os
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
    with ProcessPoolExecutor(1, mp_context=context, initializer=on_cpu) as pool:
        try:
            return pool.submit(function, *args, **kwargs).result()
        except BrokenProcessPool as error:
            raise Aborted from error


def on_cpu() -> None:
    """Keeps JAX from looking for devices; call before it is used."""
    jax.config.update("jax_platforms", "cpu")
