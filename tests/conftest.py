"""Fixtures for the tests of running deployments."""

from fixtures import api_token, deployment

__all__ = ["api_token", "deployment"]
