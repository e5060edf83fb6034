"""How hypothesis tries what it generates."""

from hypothesis import HealthCheck, settings

STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Settings for a test that no busy machine fails."""
