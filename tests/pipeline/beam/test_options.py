"""Options that every job gets must mean the same to Python workers and to Java job servers."""

import logging

import apache_beam as beam
import pytest
from apache_beam.runners.worker.sdk_worker_main import _get_log_level_from_options_dict

from data.errors import DataError
from pipeline.beam.options import in_process, pipeline_options

# Beam 2.70.0, org.apache.beam.sdk.options.SdkHarnessOptions.LogLevel
LEVELS_OF_JAVA = {"OFF", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"}


def test_the_level_of_logs_is_known_in_both_languages():
    options = pipeline_options(["--runner=PortableRunner"]).get_all_options()
    assert options["default_sdk_harness_log_level"] in LEVELS_OF_JAVA
    assert _get_log_level_from_options_dict(options) == logging.WARNING


@pytest.mark.parametrize(
    ("given", "near"),
    [
        (["--direct_num_workrs=2"], "--direct_num_workers"),
        (["--runner=DataflowRunner", "--regoin=x"], "--region"),
        (["--runner=FlinkRunner", "--flink_mastr=x"], "--flink_master"),
        (["--zzz"], "is not an option of Beam; leave it out.$"),
    ],
)
def test_an_option_that_beam_would_ignore_is_refused(given, near):
    with pytest.raises(DataError, match=near):
        pipeline_options(given)


def test_options_of_job_servers_pass():
    pipeline_options(["--runner=FlinkRunner", "--savepoint_path=x", "--direct_num_workers=1"])


def test_a_small_job_starts_no_processes_and_prints_no_warning(caplog):
    given = pipeline_options(("--direct_num_workers=2", "--direct_running_mode=multi_processing"))
    with beam.Pipeline(options=in_process(given)) as pipeline:
        _ = pipeline | beam.Create([1])
    assert "direct_num_workers" not in caplog.text
