"""Text that installed packages ship, written as web archives: the input of `mswitch demo`."""
