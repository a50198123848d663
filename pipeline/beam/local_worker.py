"""A worker process of the local runner; Beam's own, but quiet on the terminal below warnings.

Its log still reaches the runner, which shows warnings.
"""

import logging
import sys


def main() -> None:
    """Works until the runner has no more to do."""
    logging.basicConfig(handlers=[logging.NullHandler()])
    from apache_beam.runners.worker import sdk_worker_main

    from pipeline.beam.job import be_quiet_about_what_is_told

    be_quiet_about_what_is_told()
    logging.getLogger(sdk_worker_main.__name__).addFilter(is_worth_reading)
    sdk_worker_main.main(sys.argv)


def is_worth_reading(record: logging.LogRecord) -> bool:
    """False for the warning that no `__main__` was pickled: all code here is in packages."""
    return "registeries may not be effective" not in record.getMessage()


if __name__ == "__main__":
    main()
