"""Settings for all tests."""

from hypothesis import settings

settings.register_profile("cmt_search", deadline=None)  # a busy machine is no failure
settings.load_profile("cmt_search")
