"""Storage: files on this machine and in object stores, caches, retries."""
