"""A worker process of the local runner: Beam's own, without its log on the terminal.

The log still reaches the runner, which shows warnings. An error of the work reaches it too, as the
job's failure; Beam's worker (2.77.0) also prints and logs its traceback, each of 70 lines.
"""

import logging
import sys

from pipeline.beam.worker_line import end_with_the_runner


def main() -> None:
    """Runs the worker until the runner ends it, or has ended."""
    end_with_the_runner()
    logging.basicConfig(handlers=[logging.NullHandler()])
    from apache_beam.runners.worker import sdk_worker, sdk_worker_main

    from pipeline.beam.failures import hide_reported_errors

    hide_reported_errors()
    logging.getLogger(sdk_worker.__name__).addFilter(is_not_the_failure)
    logging.getLogger(sdk_worker_main.__name__).addFilter(is_worth_reading)
    sdk_worker.__dict__["print"] = lambda *_, **__: None  # it prints nothing but such tracebacks
    sdk_worker_main.main(sys.argv)


def is_not_the_failure(record: logging.LogRecord) -> bool:
    """Returns False for an error of the work, which the runner raises."""
    return not record.getMessage().startswith("Error processing instruction")


def is_worth_reading(record: logging.LogRecord) -> bool:
    """Returns False for the warning that `__main__` was not pickled: all code is in packages."""
    return "registeries may not be effective" not in record.getMessage()


if __name__ == "__main__":
    main()
