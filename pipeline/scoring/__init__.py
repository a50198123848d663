"""`score`: tables beside a corpus, a row per page, from which `select` decides."""
