"""Options that remember their views answer as Beam's own."""

import copy
import pickle

from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    StandardOptions,
    TypeOptions,
)

from pipeline.beam.option_views import RememberedViews

FLAGS = ("--runner=FnApiRunner", "--type_check_additional=all", "--project=p")


def test_a_view_is_made_once_and_shows_every_change():
    options = RememberedViews([*FLAGS])
    view = options.view_as(StandardOptions)
    assert options.view_as(StandardOptions) is view
    assert view.runner == "FnApiRunner"
    view.runner = "another"
    options.view_as(TypeOptions).type_check_additional = "none"
    assert options.view_as(StandardOptions).runner == "another"
    found = options.get_all_options(drop_default=True)
    assert found == {"runner": "another", "type_check_additional": "none", "project": "p"}


def test_all_options_are_beams():
    assert (
        RememberedViews([*FLAGS]).get_all_options() == PipelineOptions([*FLAGS]).get_all_options()
    )
    made = RememberedViews.from_dictionary({"runner": "another", "project": "q"})
    assert made.view_as(StandardOptions).runner == "another"


def test_a_copy_has_values_of_its_own():
    options = RememberedViews([*FLAGS])
    options.view_as(StandardOptions).runner = "another"
    for made in (copy.deepcopy(options), pickle.loads(pickle.dumps(options))):
        assert made.view_as(StandardOptions).runner == "another"
        made.view_as(StandardOptions).runner = "third"
        assert options.view_as(StandardOptions).runner == "another"


def test_an_account_to_act_as_is_not_sent_to_workers():
    options = RememberedViews([*FLAGS, "--impersonate_service_account=me"])
    assert options.view_as(GoogleCloudOptions).impersonate_service_account == "me"
    sent = pickle.loads(pickle.dumps(options))
    assert sent.view_as(GoogleCloudOptions).impersonate_service_account is None
