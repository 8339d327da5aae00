"""Weights by name, transfer and rootify find the layers that they know."""

from tests.contracts import frozen, networks


def test_names_sizes_and_order_of_layers():
    frozen.check(networks.FILE, networks.lines(), "networks")
