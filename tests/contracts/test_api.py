"""Nothing that users call is gone, renamed or added unawares."""

from tests.contracts import api, frozen


def test_public_names_and_signatures():
    frozen.check(api.FILE, api.lines(), "api")
