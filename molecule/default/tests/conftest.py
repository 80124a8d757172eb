"""The fixtures of tests/ hold here too."""

from fixtures import api_token, deployment

__all__ = ["api_token", "deployment"]
