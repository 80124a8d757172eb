"""``placer version``: of this program, and of the API it speaks to."""

from __future__ import annotations

import typer

from placer import __version__
from placer.cli import output
from placer.cli.connection import API_VERSION, Token, Url, connect
from placer.cli.output import AsJson


def command(as_json: AsJson = False, url: Url = "", token: Token = "-") -> None:
    """Print the versions of this program and, where PLACER_URL names one, of the API."""
    versions = {"placer": __version__, "speaks": API_VERSION}
    if url:
        served = connect(url, token).get("/v1/")["versions"][0]
        versions |= {
            "api": served["software"],
            "api_min": served["min_version"],
            "api_max": served["max_version"],
        }
    if as_json:
        output.print_json(versions)
    else:
        for name, version in versions.items():
            typer.echo(f"{name.replace('_', ' ')} {version}")
