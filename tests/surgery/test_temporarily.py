import types

import pytest

from keras_roots.surgery.temporarily import replaced


def test_what_is_replaced_comes_back_after_an_error_too():
    owner = types.SimpleNamespace(one=1, two=2, three=3)

    def fail():
        with replaced(owner, one=10, two=20):
            assert (owner.one, owner.two, owner.three) == (10, 20, 3)
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fail()
    assert (owner.one, owner.two, owner.three) == (1, 2, 3)


def test_what_is_not_there_is_not_made():
    owner = types.SimpleNamespace(one=1)
    with pytest.raises(AttributeError), replaced(owner, one=10, two=20):
        pass
    assert vars(owner) == {"one": 1}
