"""Placer: placement of requests on hosts in many regions, without ever booking a host twice."""

__version__ = "0.1.0"
