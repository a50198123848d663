"""Storage: files on this machine and in object stores, through one layer."""
