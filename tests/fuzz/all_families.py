"""Every reader of strangers' bytes."""

import artifacts
import language_models
import lists
import pages_of_archives
import pages_of_corpora

FAMILIES = (
    *pages_of_archives.FAMILIES, *pages_of_corpora.FAMILIES, *lists.FAMILIES, *artifacts.FAMILIES,
    *language_models.FAMILIES,
)  # fmt: skip
