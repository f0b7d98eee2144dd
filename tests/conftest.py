"""Settings of all tests."""

from hypothesis import settings

# How long an example takes depends on what else the machine does; pytest-timeout bounds the whole.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")
