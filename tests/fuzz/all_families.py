"""Every reader of strangers' bytes."""

import artifacts
import charsets_of_pages
import crawls
import language_models
import lists
import lists_of_rights
import models_of_strangers
import pages_of_archives
import pages_of_corpora
import rules_of_cleaning
import scores_of_pages
import tables_and_weights
import tasks_of_users
import values_of_manifests
import values_of_tables

FAMILIES = (
    *pages_of_archives.FAMILIES, *charsets_of_pages.FAMILIES, *pages_of_corpora.FAMILIES,
    *lists.FAMILIES, *artifacts.FAMILIES,
    *language_models.FAMILIES, *tables_and_weights.FAMILIES,
    *rules_of_cleaning.FAMILIES, *tasks_of_users.FAMILIES,
    *models_of_strangers.FAMILIES, *lists_of_rights.FAMILIES, *scores_of_pages.FAMILIES,
    *values_of_tables.FAMILIES, *values_of_manifests.FAMILIES, *crawls.FAMILIES,
)  # fmt: skip
