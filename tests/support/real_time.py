"""The one bound of real time that a test may assert, unless it is marked `timing`."""

AT_ONCE_S = 5.0
"""Seconds that are far more than anything takes that does not wait, on a busy machine.

A limit that a test sets, such as a provider's timeout, must be far from it: where
nothing should wait, let the limit be a minute, and this tells the two apart.
"""
