"""Every reader of strangers' bytes."""

import artifacts
import lists
import pages_of_archives
import pages_of_corpora

FAMILIES = (
    *pages_of_archives.FAMILIES, *pages_of_corpora.FAMILIES, *lists.FAMILIES, *artifacts.FAMILIES,
)  # fmt: skip
