"""The report as one HTML file that makes no network request.

The page contains Altair's JavaScript (Vega, Vega-Lite, Vega-Embed) once, and the charts as data.
Text from the web is escaped: by Jinja in HTML, and by `tojson` in JSON (`<`, `>`, `&` and quotes).
As a second defence, the page's Content-Security-Policy forbids every request, and every script but
two that it names by digest. Markup that escaped both would not run.
"""

import base64
import hashlib

import jinja2
import vl_convert
from markupsafe import Markup

from eval.rendering.number_filters import FILTERS
from eval.rendering.page_context import context
from eval.report import ReportContents

_TEMPLATE = "index.html.j2"


def to_html(one: ReportContents) -> str:
    """Returns the whole page."""
    environment = _environment()
    assert environment.loader is not None
    style, script = (
        environment.loader.get_source(environment, name)[0] for name in ("report.css", "report.js")
    )
    bundle = vl_convert.javascript_bundle()  # pyright: ignore[reportCallIssue]
    return environment.get_template(_TEMPLATE).render(
        **context(one),
        style=Markup(style),
        script=Markup(script),
        bundle=Markup(bundle),
        script_digests=[_digest(script), _digest(bundle)],
    )


def _environment() -> jinja2.Environment:
    """Returns the templates, with the filters that write numbers."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("eval.rendering"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    return environment


def _digest(script: str) -> str:
    """Returns the digest of an inline script, as Content-Security-Policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
