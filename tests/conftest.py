"""What every test shares: how long properties are searched, and that a run in CI is the same each time."""

import os

from hypothesis import HealthCheck, settings

# In CI the same examples every time, so that a red run means the change; elsewhere new ones, so that something is found.
settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
