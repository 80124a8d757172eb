"""Emulated WAN between the regions of a deployment on one machine (demo and tests only).

One interface, two back ends: netem on the ports of the WAN bridge where the kernel has it, else a
process that holds packets from an NFQUEUE. Both take the same `Wan` of directed paths.
"""
