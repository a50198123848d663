"""Beam's options for object stores (`--s3_endpoint_url`, ...) as fsspec's options.

They describe where a store is. No keys are among them (`pipeline.credentials`): each process takes
its own from its environment or from a credential file.

Beam passes a job's options to the workers of some runners and not to others (a pool of workers
receives none), so the options travel with the functions that need them.
"""

from typing import Any

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, S3Options

from data.files.stores import StoreOptions, set_options


def store_options(options: PipelineOptions) -> StoreOptions:
    """Returns a job's options for each kind of store."""
    google = _google(options)
    return {"s3": _s3(options), "gs": google, "gcs": google}


def use_store_options(options: PipelineOptions) -> None:
    """Sets this process's object-store options to those of a job, as its workers do."""
    set_options(store_options(options))


def _s3(options: PipelineOptions) -> dict[str, Any]:
    given = options.view_as(S3Options)
    client = _given(
        region_name=given.s3_region_name, api_version=given.s3_api_version, verify=given.s3_verify
    )
    return _given(
        endpoint_url=given.s3_endpoint_url,
        use_ssl=False if given.s3_disable_ssl else None,
        client_kwargs=client or None,
    )


def _google(options: PipelineOptions) -> dict[str, Any]:
    given = options.view_as(GoogleCloudOptions)
    return _given(project=given.project, token="anon" if given.no_auth else None)


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
