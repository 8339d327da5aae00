import pytest

from keras_roots.reporting import numbers


@pytest.mark.parametrize(
    ("value", "noisy", "text"),
    [(621.4, False, "621"), (11.64, False, "11.6"), (0.07634, False, "0.0763"),
     (621.4, True, "~620"), (1.26, True, "~1.3"), (0, False, "0")],
)  # fmt: skip
def test_significant_digits(value, noisy, text):
    assert numbers.significant(value, noisy=noisy) == text


def test_words():
    assert numbers.interval((1, 2.345)) == "1.00 to 2.35"
    assert numbers.interval((-1, 2), "+.1f") == "-1.0 to +2.0"
    assert [numbers.change(1200, before) for before in (1200, 2000)] == ["1,200", "1,200 (-40%)"]
    assert [numbers.counted(n, "thread") for n in (1, 2)] == ["1 thread", "2 threads"]
