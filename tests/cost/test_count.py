import concurrent.futures
import functools

import keras
import numpy as np
import pytest

import keras_roots
from keras_roots import cost

# The paper's Tables 1 and 3 and the author's data (parameters, multiply-accumulates), to the last
# integer under the paper's convention.
PUBLISHED = [
    ("resnet50", 1, 25_503_976, 3_857_974_312),
    ("resnet50", 16, 18_691_048, 2_434_581_544),
    ("resnet50", 64, 15_312_808, 2_114_860_072),
    ("nin", 1, 966_986, 222_487_946),
    ("nin", 4, 455_498, 123_397_514),
    ("nin", keras_roots.column(8), 273_482, 100_689_290),
    ("nin", keras_roots.tree(4), 331_082, 115_434_890),
    ("googlenet", 1, 18_809_576, 1_716_324_392),
    ("googlenet", 8, 17_504_744, 964_383_656),
    ("alexnet", keras_roots.column(2), 60_965_224, 724_417_384),
    ("alexnet", 1, 62_378_344, 1_135_266_664),
]
AS_PUBLISHED = {
    "googlenet": {"geometry": "deep-roots", "auxiliary_heads": True},
    "alexnet": {"dense_conv3": True},
}


@pytest.mark.parametrize(("name", "root", "parameters", "macs"), PUBLISHED)
def test_published_integers(name, root, parameters, macs):
    model = keras_roots.build(name, root=root, **AS_PUBLISHED.get(name, {}))
    counted = cost(model, convention="paper")
    assert (counted.parameters, counted.macs) == (parameters, macs)
    assert cost(model).parameters == model.count_params()
    assert counted.uncounted == ()


@pytest.mark.parametrize(
    ("root", "published", "macs"),
    [
        pytest.param(1, 62_451_880, 15.0e9, marks=pytest.mark.slow),
        pytest.param(8, 49_084_072, None, marks=pytest.mark.slow),
        (32, 35_139_112, 8.2e9),
    ],
)
def test_resnet200_has_the_parameters_that_the_paper_misses(root, published, macs):
    """It counts the classifier as 2048 + 1000."""
    counted = cost(keras_roots.RootResNet200(root=root), convention="paper")
    assert counted.parameters == published + 2_045_952 == published + 2048 * 1000 - 2048
    assert macs is None or abs(counted.macs - macs) < 0.05e9


def test_the_papers_percentages_of_googlenet():
    dense, root8 = (
        cost(keras_roots.RootGoogLeNet(root=root, **AS_PUBLISHED["googlenet"]), "paper")
        for root in (1, 8)
    )
    assert round(100 * (1 - root8.parameters / dense.parameters)) == 7
    assert round(100 * (1 - root8.macs / dense.macs)) == 44


def test_plain_resnet50():
    assert cost(keras_roots.RootResNet50(root=1)).macs == 3_857_973_248


def test_the_papers_percentages_of_resnet50():
    dense, root16, root64 = (
        cost(keras_roots.RootResNet50(root=root), convention="paper") for root in (1, 16, 64)
    )
    assert round(100 * (1 - root16.parameters / dense.parameters)) == 27
    assert round(100 * (1 - root16.macs / dense.macs)) == 37
    assert round(100 * (1 - root64.parameters / dense.parameters)) == 40
    assert round(100 * (1 - root64.macs / dense.macs)) == 45


def layers():
    """(layer, input shape, parameters, multiply-accumulates), as arithmetic."""
    k = keras.layers
    return [
        (k.Conv2D(32, 3), (9, 9, 8), 3 * 3 * 8 * 32 + 32, 7 * 7 * 3 * 3 * 8 * 32),
        (
            keras_roots.layers.GroupedConv2D(32, (3, 5), groups=4, strides=2, padding="same"),
            (9, 9, 8),
            3 * 5 * 2 * 32 + 32,
            5 * 5 * 3 * 5 * 2 * 32,
        ),
        (k.Conv1D(16, 3, use_bias=False), (10, 4), 3 * 4 * 16, 8 * 3 * 4 * 16),
        (k.Conv3D(2, 3, use_bias=False), (5, 5, 5, 3), 27 * 3 * 2, 27 * 27 * 3 * 2),
        (k.DepthwiseConv2D(3, depth_multiplier=2), (9, 9, 8), 9 * 8 * 2 + 16, 7 * 7 * 9 * 8 * 2),
        (
            k.SeparableConv2D(6, 3),
            (9, 9, 8),
            9 * 8 + 8 * 6 + 6,
            7 * 7 * 9 * 8 + 7 * 7 * 8 * 6,
        ),
        (
            k.Conv2DTranspose(6, 3, strides=2, padding="same"),
            (4, 4, 8),
            9 * 8 * 6 + 6,
            4 * 4 * 9 * 8 * 6,
        ),
        (k.Dense(10), (6, 7), 7 * 10 + 10, 6 * 7 * 10),
        (k.EinsumDense("abc,cde->abde", (None, 4, 5)), (6, 7), 7 * 4 * 5, 6 * 7 * 4 * 5),
        (k.BatchNormalization(), (9, 9, 8), 4 * 8, 0),
        (k.PReLU(), (6,), 6, 0),
    ]


@pytest.mark.parametrize("case", layers(), ids=lambda case: type(case[0]).__name__)
def test_layers_as_arithmetic(case):
    layer, shape, parameters, macs = case
    model = keras.Sequential([keras.Input(shape), layer])
    counted = cost(model)
    assert (counted.parameters, counted.macs) == (parameters, macs)
    assert counted.parameters == model.count_params()
    paper = cost(model, convention="paper")
    bias = getattr(layer, "bias", None)
    assert paper.macs == macs + (0 if bias is None else bias.shape[-1])
    assert paper.parameters == (parameters if macs else 0)
    assert counted.uncounted == paper.uncounted == ()


def test_channels_first():
    layer = keras.layers.Conv2D(32, 3, data_format="channels_first")
    model = keras.Sequential([keras.Input((8, 9, 9)), layer])
    assert cost(model).macs == 7 * 7 * 3 * 3 * 8 * 32


def test_shared_and_nested_layers_count_as_often_as_they_are_called():
    block = keras.Sequential(
        [keras.layers.Conv2D(4, 3, padding="same", name="inner")], name="block"
    )
    inputs = keras.Input((8, 8, 4))
    shared = keras.layers.Dense(5, name="shared")
    x = block(block(inputs))
    x = shared(keras.layers.GlobalAveragePooling2D()(x)) + shared(
        keras.layers.GlobalMaxPooling2D()(x)
    )
    counted = cost(keras.Model(inputs, x))
    convolution, dense = counted.layers
    assert (convolution.name, convolution.calls) == ("block/inner", 2)
    assert convolution.macs == 2 * 8 * 8 * 9 * 4 * 4
    assert convolution.parameters == 9 * 4 * 4 + 4
    assert (dense.calls, dense.macs, dense.parameters) == (2, 2 * 4 * 5, 4 * 5 + 5)
    assert counted.parameters == 9 * 4 * 4 + 4 + 4 * 5 + 5


def test_several_inputs_in_a_dictionary():
    inputs = {"a": keras.Input((4,), name="a"), "b": keras.Input((3,), dtype="int32", name="b")}
    embedded = keras.layers.Flatten()(keras.layers.Embedding(10, 2)(inputs["b"]))
    outputs = keras.layers.Dense(5)(keras.layers.Concatenate()([inputs["a"], embedded]))
    counted = cost(keras.Model(inputs, outputs))
    assert counted.macs == (4 + 3 * 2) * 5
    assert counted.parameters == 10 * 2 + (4 + 3 * 2) * 5 + 5


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__(name="subclassed")
        self.convolution = keras.layers.Conv2D(4, 3, use_bias=False)
        self.attention = keras.layers.MultiHeadAttention(2, 8, use_bias=False)

    def call(self, x):
        x = self.convolution(x)
        x = keras.ops.reshape(x, (-1, x.shape[1] * x.shape[2], 4))
        return self.attention(x, x)


def test_a_subclassed_model_and_a_layer_of_layers():
    model = Subclassed()
    with pytest.raises(ValueError, match="has not been built.*Give input_shape"):
        cost(model)
    never_called = cost(Subclassed(), input_shape=(8, 8, 2))
    model(np.zeros((3, 8, 8, 2), np.float32))
    counted = cost(model)
    projections = 4 * (36 * 4 * 2 * 8)
    assert counted.macs == never_called.macs == 6 * 6 * 9 * 2 * 4 + projections
    assert counted.parameters == model.count_params() == 9 * 2 * 4 + 4 * (4 * 2 * 8)
    assert cost(model, input_shape=(4, 4, 2)).macs == 2 * 2 * 9 * 2 * 4 + projections * 4 // 36


def test_a_model_that_has_not_been_built():
    convolution = keras.layers.Conv2D(3, 3, use_bias=False)
    counted = cost(keras.Sequential([convolution]), input_shape=(5, 5, 2))
    assert (counted.macs, counted.layers[0].calls) == (3 * 3 * 9 * 2 * 3, 1)


class WeightsOfItsOwn(keras.Model):
    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 7))

    def call(self, x):
        return keras.ops.matmul(x, self.kernel)


def test_what_a_model_does_by_itself_is_unknown():
    counted = cost(WeightsOfItsOwn(name="own"), input_shape=(4,))
    assert (counted.parameters, counted.macs, counted.uncounted) == (28, 0, ("own",))


class TwoInputs(keras.Model):
    def call(self, inputs):
        return inputs["a"] + inputs["b"]


def test_several_inputs_that_cannot_be_guessed():
    several = TwoInputs()
    several({"a": np.zeros((2, 4)), "b": np.zeros((2, 4))})
    with pytest.raises(ValueError, match=r"takes several.*keras.Model\(inputs"):
        cost(several)
    inputs = [keras.Input((None, 4)), keras.Input((3, 4))]
    functional = keras.Model(inputs, keras.layers.Concatenate(axis=1)(inputs))
    with pytest.raises(ValueError, match="open.*fixed size"):
        cost(functional)
    with pytest.raises(ValueError, match="has several"):
        cost(functional, input_shape=(3, 4))


def test_what_has_no_rule_is_named():
    lstm = keras.layers.LSTM(4, name="lstm")
    model = keras.Sequential([keras.Input((5, 3)), lstm, keras.layers.Dense(2)])
    counted = cost(model)
    assert counted.macs == 4 * 2
    assert counted.uncounted == (f"lstm/{lstm.cell.name}",)
    assert counted.parameters == model.count_params()
    assert "Not counted" in str(counted)
    assert cost(model, convention="paper").parameters == 4 * 2 + 2


def test_an_open_input_size():
    model = keras_roots.RootNIN(include_top=False, input_shape=(None, None, 3))
    with pytest.raises(ValueError, match="leaves its input size open"):
        cost(model)
    expected = cost(keras_roots.RootNIN(include_top=False))
    assert cost(model, input_shape=(32, 32, 3)).macs == expected.macs


def test_counting_changes_nothing():
    model = keras_roots.RootNIN()
    weights, config = model.get_weights(), model.get_config()
    kinds = [type(layer) for layer in model._flatten_layers()]
    cost(model)
    assert [type(layer) for layer in model._flatten_layers()] == kinds
    assert model.get_config() == config
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


class Spying(keras.Layer):
    """Does something while it is called."""

    act = staticmethod(lambda: None)

    def call(self, x):
        self.act()
        return x


def with_a_spy():
    inputs = keras.Input((6,))
    nested = keras.Sequential([keras.Input((6,)), keras.layers.Dense(6)], name="nested")
    spy = Spying(name="spy")
    return keras.Model(inputs, nested(spy(keras.layers.Dense(6)(nested(inputs))))), spy


def in_threads(*functions):
    with concurrent.futures.ThreadPoolExecutor(len(functions)) as threads:
        return [each.result() for each in [threads.submit(function) for function in functions]]


def test_what_other_threads_do_meanwhile_is_neither_counted_nor_changed():
    model, spy = with_a_spy()
    images, apart = np.ones((2, 6), np.float32), keras.layers.Dense(3)
    before, called = cost(model), keras.Layer.__call__
    expected = np.asarray(model(images))
    kinds = [type(layer) for layer in model._flatten_layers()]

    def others():
        assert keras.Layer.__call__ is called
        assert type(apart) is keras.layers.Dense
        apart(images)
        return np.asarray(model(images))

    made = []

    def act():
        spy.act = lambda: None
        made.extend(in_threads(others))

    spy.act = act
    assert cost(model) == before
    np.testing.assert_array_equal(made, [expected])
    assert [type(layer) for layer in model._flatten_layers()] == kinds


def test_several_threads_count_one_model():
    model, _ = with_a_spy()
    kinds = [type(layer) for layer in model._flatten_layers()]
    expected = cost(model)
    assert in_threads(*[functools.partial(cost, model)] * 4) == [expected] * 4
    assert [type(layer) for layer in model._flatten_layers()] == kinds


def test_an_error_of_a_layer_leaves_the_model_as_it_was():
    model, spy = with_a_spy()
    kinds = [type(layer) for layer in model._flatten_layers()]

    def fail():
        raise RuntimeError("mine")

    spy.act = fail
    with pytest.raises(RuntimeError, match="mine"):
        cost(model)
    assert [type(layer) for layer in model._flatten_layers()] == kinds
    spy.act = lambda: None
    assert cost(model).macs == 3 * 6 * 6


def test_bad_arguments():
    with pytest.raises(ValueError, match="'plain' or 'paper'.*'papers'"):
        cost(keras_roots.RootNIN(), convention="papers")
    with pytest.raises(ValueError, match="Expected a Keras model. Received: str"):
        cost("resnet50")


def test_the_table_adds_up():
    counted = cost(keras_roots.RootNIN(root=8))
    lines = str(counted).splitlines()
    rows = [line.split() for line in lines[2:-2]]
    assert sum(int(row[-1].replace(",", "")) for row in rows) == counted.macs
    assert sum(int(row[-2].replace(",", "")) for row in rows) == counted.parameters
    assert lines[-1].split() == ["nin_root-8", f"{counted.parameters:,}", f"{counted.macs:,}"]
