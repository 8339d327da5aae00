"""Settings for the whole suite."""

import os
import sys

import hypothesis
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# The same examples in every run of the suite; `make test-slow` looks for new ones.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None, max_examples=25)
hypothesis.settings.load_profile("suite")


@pytest.fixture(autouse=True)
def _determinism_ends_with_its_test():
    """A deterministic run leaves TensorFlow deterministic, where XLA can compute less."""
    yield
    if "tensorflow" in sys.modules:
        from tensorflow.python.framework import config

        config.disable_op_determinism()
