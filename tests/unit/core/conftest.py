"""Properties are checked with the same examples in every run, and never against a clock."""

from hypothesis import settings

settings.register_profile("chaski", deadline=None, derandomize=True, max_examples=150)
settings.load_profile("chaski")
