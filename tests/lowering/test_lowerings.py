"""Every layer of every network has the lowering in every context that the file has as data."""

import pytest

import keras_roots
from tests.lowering import lowerings


def test_the_lowerings_are_those_of_the_file():
    rows = list(lowerings.rows())
    assert len(rows) == len({shape for shape, _ in rows}) > 300
    changed = {
        f"{shape}, {context}": f"{before} -> {now}"
        for shape, words in rows
        for context, before, now in zip(
            lowerings.CONTEXTS, words, lowerings.lowerings(shape), strict=True
        )
        if before != now
    }
    assert not changed, "python -m tests.lowering.lowerings writes the file anew, if that is meant"


def test_the_file_has_all_layers_of_a_network():
    assert lowerings.shapes_of("nin", roots=(8,)) <= {shape for shape, _ in lowerings.rows()}


@pytest.mark.slow
@pytest.mark.parametrize("name", keras_roots.list_models())
def test_the_file_has_all_layers_of_a_network_in_all_degrees(name):
    assert lowerings.shapes_of(name) <= {shape for shape, _ in lowerings.rows()}
