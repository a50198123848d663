"""The corpus that `mswitch clean` writes, as later stages read it."""
