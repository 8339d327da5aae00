import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_roots
from keras_roots import topology


def test_root_halves_as_the_papers_table_2():
    expected = {
        2: (2, 1, 1, 1),
        4: (4, 2, 1, 1),
        8: (8, 4, 2, 1),
        16: (16, 8, 4, 2),
        32: (32, 16, 8, 4),
        64: (64, 32, 16, 8),
    }
    assert {degree: keras_roots.root(degree).degrees(4) for degree in expected} == expected
    assert keras_roots.root(1).degrees(4) == (1, 1, 1, 1)


def test_column_tree_and_explicit_degrees():
    assert keras_roots.column(8).degrees(3) == (8, 8, 8)
    assert keras_roots.tree(4).degrees(3) == (4, 8, 16)
    explicit = topology.as_topology((16, 8, 4, 2))
    assert explicit.degrees(4) == (16, 8, 4, 2)
    assert explicit.groups(2) == 4
    assert topology.as_topology([16, 8, 4, 2]) == explicit


def test_an_integer_is_a_root():
    assert topology.as_topology(16) == keras_roots.root(16)
    assert topology.as_topology(np.int64(16)) == keras_roots.root(16)
    assert topology.as_topology(keras_roots.tree(2)) == keras_roots.tree(2)


@pytest.mark.parametrize(
    ("topology_", "name"),
    [
        (keras_roots.root(16), "root-16"),
        (keras_roots.column(8), "column-8"),
        (keras_roots.tree(4), "tree-4"),
        (topology.as_topology((16, 8)), "degrees-16-8"),
    ],
)
def test_names(topology_, name):
    assert str(topology_) == name


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "power of two.*Received: 3. Take root=2 or root=4"),
        (0, "at least 1.*Received: 0"),
        (-2, "at least 1.*Received: -2"),
        ("16", r"positive integer.*Received: '16' \(of type str\)"),
        (16.0, "positive integer.*Received: 16.0"),
        (True, "positive integer.*Received: True"),
        (None, "positive integer.*Received: None"),
        ((16, "8"), "positive integer.*Received: '8'"),
        ((), "at least one degree"),
    ],
)
def test_what_is_no_topology(value, message):
    with pytest.raises(ValueError, match=message):
        topology.as_topology(value)


@pytest.mark.parametrize("make", [keras_roots.column, keras_roots.tree])
def test_column_and_tree_check_their_degree(make):
    assert make(3).groups(0) == 3
    with pytest.raises(ValueError, match="at least 1"):
        make(0)


def test_levels_that_explicit_degrees_do_not_have():
    explicit = topology.as_topology((16, 8))
    with pytest.raises(ValueError, match="one degree for each of the network's 4 levels"):
        explicit.degrees(4)
    with pytest.raises(ValueError, match="level 2"):
        explicit.groups(2)
    with pytest.raises(ValueError, match="counted from 0"):
        keras_roots.root(4).groups(-1)


@given(
    channels=st.integers(1, 96),
    filters=st.integers(1, 96),
    groups=st.integers(1, 100),
)
def test_filter_groups_of_a_convolution(channels, filters, groups):
    works = channels % groups == 0 and filters % groups == 0
    assert (groups in topology.working_degrees(channels, filters)) == works
    if works:
        cut = topology.filter_groups(channels, filters, groups, "conv")
        assert cut.groups * cut.channels_per_group == channels
        assert cut.groups * cut.filters_per_group == filters
        assert np.prod(cut.kernel_shape(3, 5)) * groups == 3 * 5 * channels * filters
    else:
        with pytest.raises(ValueError, match=f"'conv', which has {channels} input channels"):
            topology.filter_groups(channels, filters, groups, "conv")


def test_the_error_lists_the_degrees_that_work():
    with pytest.raises(ValueError, match="work there: 1, 2, 4, 8, 16, 32.$"):
        topology.filter_groups(96, 64, 64, "conv2")


def test_topology_alone_imports_neither_keras_nor_tensorflow():
    program = (
        "import runpy, sys; runpy.run_path(sys.argv[1]); "
        "sys.exit('keras' in sys.modules or 'tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, topology.__file__], check=True)
