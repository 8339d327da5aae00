"""What Bazel runs for each test file: pytest, in the folder of its runfiles."""

import sys

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main(["-p", "no:cacheprovider", *sys.argv[1:]]))
