from collections import Counter

import pytest

from data.rules.rule_sets import mc4
from pipeline.cleaning import new_job
from pipeline.cleaning.corpus_files.manifest import manifest_of
from pipeline.cleaning.tally import Tally


def test_lost_pages_are_an_error(tmp_path):
    job = new_job.begin_job(str(tmp_path), mc4(), [])
    tally = Tally(Counter({("read", "", ""): 2, ("kept", "sw", "train"): 1}))
    with pytest.raises(RuntimeError, match="2 pages were read, but 1 were kept, rejected or not"):
        manifest_of(tally, job, files=1, not_read={})
