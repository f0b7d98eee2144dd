"""Settings of all tests."""

from hypothesis import settings

# How long an example takes depends on what else the machine does; pytest-timeout bounds the whole.
# The same code is tried on the same examples; `pytest --hypothesis-profile=search` tries others each time.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile("same")
