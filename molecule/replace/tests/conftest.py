"""The fixtures of tests/ hold here too."""

from fixtures import api, api_token, cluster, deployment, make_lab

__all__ = ["api", "api_token", "cluster", "deployment", "make_lab"]
