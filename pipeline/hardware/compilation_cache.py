"""Compiled programs are kept on disk, so that a run that goes on does not compile again.

JAX's own cache, keyed by the program, the devices and the versions of JAX and XLA; what comes out
is the very program that was compiled before: a resumed run computes the same bits as it would have.
An entry that a kill cut short is noticed when it is read, and the program is compiled as if there
were none.
"""

import os
from pathlib import Path

import jax


def keep_compiled_programs() -> Path:
    """Switches the cache on and returns its directory.

    JAX_COMPILATION_CACHE_DIR names another one; else it is mswitch/compiled in the user's cache.
    """
    directory = jax.config.values["jax_compilation_cache_dir"]
    if directory is None:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        directory = str(caches / "mswitch" / "compiled")
        jax.config.update("jax_compilation_cache_dir", directory)
    return Path(directory)
