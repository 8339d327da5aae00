"""Settings for the whole suite."""

import os

import hypothesis

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# The same examples in every run of the suite; `make test-slow` looks for new ones.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None, max_examples=25)
hypothesis.settings.load_profile("suite")
