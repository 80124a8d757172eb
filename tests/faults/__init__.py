"""Faults of a running deployment on this machine: made, bounded in time, and healed. See cluster.py.

Every fault says what it did, may be asked for twice, and ends by itself when its time is over, also when
whoever asked for it is gone: network faults in the process of the role `wan`, all others by a guard
(guard.py). ``heal`` finds what is broken by the deployment's label and not by memory alone.
"""

from faults.cluster import Cluster
from faults.errors import FaultError

__all__ = ["Cluster", "FaultError"]
