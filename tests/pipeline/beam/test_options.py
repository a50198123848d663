"""Options that every job gets must mean the same to Python workers and to Java job servers."""

import logging

from apache_beam.runners.worker.sdk_worker_main import _get_log_level_from_options_dict

from pipeline.beam.options import pipeline_options

# Beam 2.70.0, org.apache.beam.sdk.options.SdkHarnessOptions.LogLevel
LEVELS_OF_JAVA = {"OFF", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"}


def test_the_level_of_logs_is_known_in_both_languages():
    options = pipeline_options(["--runner=PortableRunner"]).get_all_options()
    assert options["default_sdk_harness_log_level"] in LEVELS_OF_JAVA
    assert _get_log_level_from_options_dict(options) == logging.WARNING
