"""Compiled programs are kept in a cache on disk.

Its keys are the program, the devices and the versions of JAX and XLA. A hit returns the same
binary, so a resumed run computes the same bits as an uninterrupted one, unless the binary itself
does not (on GPUs without `--deterministic`). An entry truncated by a kill is detected on reading,
and the program is compiled again.
"""

import os
from pathlib import Path

import jax


def keep_compiled_programs() -> Path:
    """Turns the cache on, for programs of every size, and returns its directory.

    JAX leaves out what compiles in less than a second: most of a small network's programs.
    The directory is JAX_COMPILATION_CACHE_DIR if set, else mswitch/compiled in the user's cache.
    """
    directory = jax.config.values["jax_compilation_cache_dir"]
    if directory is None:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        directory = str(caches / "mswitch" / "compiled")
        jax.config.update("jax_compilation_cache_dir", directory)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return Path(directory)
