"""The corpus that `mswitch clean` or `mswitch select` writes, as later stages read it."""
