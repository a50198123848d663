"""Options that remember their views answer as Beam's own.

Options that every job gets must mean the same to Python workers and to Java job servers.
"""

import copy
import logging
import pickle

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    StandardOptions,
    TypeOptions,
)
from apache_beam.runners.worker.sdk_worker_main import _get_log_level_from_options_dict

from data.errors import DataError
from pipeline.beam.options import RememberedViews, in_process, pipeline_options, runs_here

FLAGS = ("--runner=FnApiRunner", "--type_check_additional=all", "--project=p")


def test_a_view_is_made_once_and_shows_every_change():
    options = RememberedViews([*FLAGS])
    assert options.get_all_options() == PipelineOptions([*FLAGS]).get_all_options()
    view = options.view_as(StandardOptions)
    assert options.view_as(StandardOptions) is view
    view.runner = "another"
    options.view_as(TypeOptions).type_check_additional = "none"
    found = options.get_all_options(drop_default=True)
    assert found == {"runner": "another", "type_check_additional": "none", "project": "p"}


def test_a_copy_has_values_of_its_own_and_no_account_to_act_as():
    options = RememberedViews([*FLAGS, "--impersonate_service_account=me"])
    standard, google = options.view_as(StandardOptions), options.view_as(GoogleCloudOptions)
    standard.runner = "another"
    sent = pickle.loads(pickle.dumps(options))
    for made in (copy.deepcopy(options), sent):
        assert made.view_as(StandardOptions).runner == "another"
        made.view_as(StandardOptions).runner = "third"
        assert standard.runner == "another"
    assert google.impersonate_service_account == "me"
    assert sent.view_as(GoogleCloudOptions).impersonate_service_account is None


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
        (["runner=DataflowRunner"], "^runner=DataflowRunner was .* not begin with --, as"),
        (["--runner=FlinkRunner", "-parallelism=2"], "^-parallelism=2 was given .* begin with"),
        (["--runner=FlinkRunner", "--no_wait_until_finish"], "ends with its job; omit it"),
    ],
)
def test_an_option_that_beam_would_ignore_is_refused(given, near):
    with pytest.raises(DataError, match=near):
        pipeline_options(given)


def test_options_of_job_servers_pass():
    for words in (["--savepoint_path=x", "--direct_num_workers=1"], ["--savepoint_path", "x"]):
        pipeline_options(["--runner=FlinkRunner", *words])


@pytest.mark.parametrize("name", ["DirectRunner", "fnapirunner", "direct", "a.b.FnApiRunner"])
def test_every_name_of_the_local_runner_is_one(name):
    """Another would hold whole groupings in memory, without a word."""
    assert runs_here(pipeline_options([f"--runner={name}"]))
    assert not runs_here(pipeline_options(["--runner=PrismRunner"]))


def test_a_small_job_starts_no_processes_and_prints_no_warning(caplog):
    given = pipeline_options(("--direct_num_workers=2", "--direct_running_mode=multi_processing"))
    with beam.Pipeline(options=in_process(given)) as pipeline:
        _ = pipeline | beam.Create([1])
    assert "direct_num_workers" not in caplog.text
