"""Plans of a network: their cost without building them, which meet a budget, which are optimal."""

import csv
import itertools

import hypothesis
import hypothesis.strategies as st
import keras
import numpy as np
import pytest

import keras_roots
from keras_roots import cost, planning, topology
from keras_roots.planning import networks, report
from keras_roots.planning.budget import Budget
from keras_roots.planning.candidates import describe_degrees
from keras_roots.planning.pareto import pareto
from keras_roots.planning.plot import plot
from tests.sample_models import elaborate_model, small_model

SMALL = {
    "nin": {},
    "resnet50": {"input_shape": (32, 32, 3), "classes": 5},
    "alexnet": {"input_shape": (67, 67, 3), "include_top": False, "dense_conv3": True},
    "googlenet": {"input_shape": (64, 64, 3), "include_top": False},
    "vgg11": {"input_shape": (32, 32, 3), "include_top": False},
}


@pytest.fixture(scope="module", name="of_name")
def make_networks():
    made = {}

    def get(name):
        if name not in made:
            made[name] = planning.of_name(name, **SMALL[name])
        return made[name]

    return get


def degrees_of(network):
    return st.tuples(*(st.sampled_from(level.degrees) for level in network.levels))


@pytest.mark.parametrize("name", SMALL)
def test_costs_are_those_of_the_network_that_is_built(name, of_name):
    network = of_name(name)

    @hypothesis.settings(max_examples=2)
    @hypothesis.given(degrees=degrees_of(network))
    def check(degrees):
        built = keras_roots.build(name, root=degrees, **SMALL[name])
        counted = cost(built)
        assert network.cost(degrees) == (built.count_params(), counted.macs)
        kernels = {layer.name: layer.kernel for layer in built.layers if hasattr(layer, "kernel")}
        names = [layer.name for level in network.levels for layer in level.layers]
        kept = sum(int(np.prod(kernels[name].shape)) for name in names)
        assert network.weights_kept(degrees) == kept

    check()


@pytest.mark.parametrize("name", SMALL)
def test_degrees_are_those_that_the_factory_takes(name, of_name):
    network = of_name(name)
    for number, level in enumerate(network.levels):
        for degree in (level.degrees[-1], 2 * level.degrees[-1]):
            degrees = [1] * len(network.levels)
            degrees[number] = degree
            with keras.StatelessScope():
                if degree in level.degrees:
                    keras_roots.build(name, root=degrees, **SMALL[name])
                else:
                    with pytest.raises(ValueError, match="do not divide"):
                        keras_roots.build(name, root=degrees, **SMALL[name])


def test_what_a_factory_leaves_dense(of_name):
    network = of_name("alexnet")
    assert [[layer.name for layer in level.layers] for level in network.levels] == [
        ["conv2"],
        ["conv4", "conv5"],
    ]
    reasons = {layer.name: layer.reason for layer in network.never_grouped}
    assert reasons == {"conv1": "on the image", "conv3": "left dense by its factory"}


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(elaborate_model, id="elaborate"),
        pytest.param(lambda: small_model((8, 8, 16, 24)), id="powers of two"),
        pytest.param(lambda: small_model((12, 12, 9, 6, 4)), id="odd channels"),
        pytest.param(
            lambda: keras.applications.InceptionV3(weights=None, input_shape=(75, 75, 3)),
            id="InceptionV3",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_costs_of_any_model_are_those_of_rootify(make):
    model = make()
    network = planning.of_model(model)

    @hypothesis.settings(max_examples=3)
    @hypothesis.given(degrees=degrees_of(network).filter(lambda degrees: max(degrees) > 1))
    def check(degrees):
        rooted = keras_roots.rootify(model, degrees, report=None)
        assert network.cost(degrees) == (rooted.count_params(), cost(rooted).macs)
        grouped = {layer.name for layer in keras_roots.plan(model, degrees).grouped}
        for level, degree in zip(network.levels, degrees, strict=True):
            assert {layer.name for layer in level.layers} <= grouped or degree == 1

    check()
    assert network.cost(network.dense) == (model.count_params(), cost(model).macs)


def test_a_level_that_a_model_only_passes_through():
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, padding="same")(inputs)
    x = keras.layers.Conv2D(8, 3, padding="same", name="before")(x)
    x = keras.layers.MaxPooling2D(2)(keras.layers.MaxPooling2D(2)(x))
    x = keras.layers.Conv2D(8, 3, padding="same", name="after")(x)
    # A last level that is grouped already has a degree all the same, which is of nothing.
    x = keras.layers.Conv2D(8, 3, strides=2, groups=2, name="grouped")(x)
    model = keras.Model(inputs, x)
    network = planning.of_model(model)
    assert [level.degrees for level in network.levels] == [(1, 2, 4, 8), (1,), (1, 2, 4, 8), (1,)]
    found = planning.enumerate_candidates(network)
    assert len(found.plans) == 15
    names = {plan.topology: plan.degrees for plan in found.plans if plan.topology}
    assert names["root-8"] == (8, 1, 2, 1)
    assert names["tree-2"] == (2, 1, 8, 1)
    for plan in (names["root-8"], keras_roots.root(8)):
        rooted = keras_roots.rootify(model, plan, report=None)
        assert rooted.get_layer("before").groups == 8
        assert rooted.get_layer("after").groups == 2


def test_all_combinations_are_listed_and_the_papers_are_named(of_name):
    network = of_name("resnet50")
    found = planning.enumerate_candidates(network)
    assert found.restriction is None
    assert len(found.plans) == 7 * 8 * 9 * 10 - 1
    names = {plan.topology: plan for plan in found.plans if plan.topology}
    assert {name: plan.degrees for name, plan in names.items()} == {
        **{f"root-{r}": topology.root(r).degrees(4) for r in (2, 4, 8, 16, 32, 64)},
        **{f"column-{r}": (r,) * 4 for r in (2, 4, 8, 16, 32, 64)},
        **{f"tree-{r}": (r, 2 * r, 4 * r, 8 * r) for r in (2, 4, 8, 16, 32, 64)},
    }
    for family in ("root", "tree"):
        (few,) = [planning.enumerate_candidates(network, [family]).plans]
        assert {plan.topology for plan in few} == {f"{family}-{2**n}" for n in range(1, 7)}
    for plan in found.plans[:50]:
        assert topology.parse(plan.root).degrees(4) == plan.degrees


def test_of_too_many_combinations_some_are_left_out(of_name):
    network = of_name("resnet50")
    everything = {plan.degrees for plan in planning.enumerate_candidates(network).plans}
    few = planning.enumerate_candidates(network, most=3000)
    monotonic = {
        d
        for d in everything
        if all(a >= b for a, b in itertools.pairwise(d))
        or all(a <= b for a, b in itertools.pairwise(d))
    }
    assert {plan.degrees for plan in few.plans} == monotonic
    assert len(few.plans) == len(monotonic)
    assert few.restriction.startswith("of 5,040 combinations, those that never rise or never fall")
    fewest = planning.enumerate_candidates(network, most=100)
    assert {plan.topology.partition("-")[0] for plan in fewest.plans} == {"root", "column", "tree"}
    assert "root, column and tree topologies only" in fewest.restriction


def test_a_network_of_one_level():
    network = planning.of_model(small_model((8, 8)))
    plans = planning.enumerate_candidates(network).plans
    assert [(plan.root, plan.topology) for plan in plans] == [
        (str(r), f"root-{r}") for r in (2, 4, 8)
    ]
    assert [topology.parse(plan.root).degrees(1) for plan in plans] == [(2,), (4,), (8,)]


def test_the_largest_degree():
    network = planning.of_model(small_model((8, 8, 8, 8)), max_degree=4)
    assert describe_degrees(network) == "level 0: 1 to 4; level 1: 1 to 4"
    with pytest.raises(ValueError, match="2 or more. Received: 1"):
        planning.of_model(small_model(), max_degree=1)


def test_what_has_no_plan():
    inputs = keras.Input((8,))
    flat = keras.Model(inputs, keras.layers.Dense(2)(inputs), name="flat")
    with pytest.raises(ValueError, match="'flat' has no convolution, and so nothing to group"):
        planning.of_model(flat)
    with pytest.raises(ValueError, match="9 channels and 9 filters, which 2 does not divide"):
        planning.of_model(small_model((9, 9)))
    network = planning.of_model(small_model((8, 8, 8, 2)))
    with pytest.raises(
        ValueError, match="no tree topology that divides.*level 0: 1 to 8; level 1: 1 to 2"
    ):
        planning.enumerate_candidates(network, ["tree"])
    with pytest.raises(ValueError, match="families of: root, column.*'bush'"):
        planning.enumerate_candidates(network, ["bush"])


points = st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=30)


@hypothesis.given(points=points)
def test_the_pareto_set_is_what_nothing_dominates(points):
    def dominated(point):
        return any(
            all(a <= b for a, b in zip(other, point, strict=True)) and other != point
            for other in points
        )

    assert pareto(np.array(points)).tolist() == [not dominated(point) for point in points]


def test_budgets_as_text():
    assert planning.parse(["macs=0.6,parameters=19M", "latency=40ms"]) == (
        Budget("macs", 0.6, True, "macs=0.6"),
        Budget("parameters", 19e6, False, "parameters=19M"),
        Budget("latency", 0.04, False, "latency=40ms"),
    )
    assert [planning.parse(f"macs={text}")[0].limit for text in ("2.5G", "300K", "1", ".5")] == [
        2.5e9, 3e5, 1, 0.5,
    ]  # fmt: skip
    assert planning.parse("macs=2G")[0].share(4e9) == 0.5
    with pytest.raises(ValueError, match="more than the dense network's macs, 1,000,000,000"):
        planning.parse("macs=2G")[0].share(1e9)
    with pytest.raises(ValueError, match="more than the dense network's latency, 35ms"):
        planning.parse("latency=40ms")[0].share(0.035)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speed=3", "a budget of macs, parameters, latency.*'speed=3'"),
        ("mac=0.5", "Did you mean macs?"),
        ("macs", "a number from 0 to 1.*'macs'"),
        ("", "such as macs=0.6"),
        ("macs=0", "more than 0"),
        ("macs=0.0G", "more than 0"),
        ("macs=-0.5", "a number from 0 to 1"),
        ("macs=nan", "a number from 0 to 1"),
        ("macs=1e3", "a number from 0 to 1"),
        ("macs=1.5", "is relative to the dense network.*K, M, G"),
        ("latency=40", "is relative to the dense network.*s, ms, us"),
        ("latency=4G", "one of s, ms, us"),
        ("parameters=4ms", "one of K, M, G"),
        ("macs=0.5,macs=2G", "one budget of macs. Received: macs=0.5 and macs=2G"),
    ],
)
def test_budgets_that_are_none(text, message):
    with pytest.raises(ValueError, match=message):
        planning.parse(text)


limits = st.sampled_from([0.35, 0.45, 0.55, 0.7, 0.9])


@hypothesis.given(macs=limits, parameters=st.none() | limits)
def test_what_meets_a_budget_and_the_order(of_name, macs, parameters):
    network = of_name("nin")
    texts = [f"macs={macs}"] + ([] if parameters is None else [f"parameters={parameters}"])
    limit = 1.0 if parameters is None else parameters
    meeting = {
        degrees: (network.weights_kept(degrees), network.cost(degrees)[1])
        for degrees in itertools.product(*(level.degrees for level in network.levels))
        if network.cost(degrees)[1] <= macs * 222_486_528
        and network.cost(degrees)[0] <= limit * 972_658
        and max(degrees) > 1
    }
    if not meeting:
        with pytest.raises(ValueError, match="No plan of 'nin' meets macs.*The closest is root="):
            planning.recommend(network, planning.parse(texts))
        return
    found = planning.recommend(network, planning.parse(texts))
    assert {plan.degrees for plan in found.within} == set(meeting)
    kept = [plan.weights for plan in found.within]
    assert kept == sorted(kept, reverse=True)
    assert {plan.degrees for plan in found.best} == {
        degrees
        for degrees, (weights, count) in meeting.items()
        if not any(w >= weights and m <= count and (w, m) != (weights, count)
                   for w, m in meeting.values())
    }  # fmt: skip


def test_a_budget_is_met_by_what_is_equal_to_it():
    network = planning.of_model(small_model((8, 8, 8, 8)))
    exactly = network.cost((4, 2))[1]
    for budget in (
        Budget("macs", exactly, False, "a"),
        Budget("macs", exactly / network.macs, True, "b"),
    ):
        assert (4, 2) in {plan.degrees for plan in planning.recommend(network, [budget]).within}


def test_the_closest_plan_is_named(of_name):
    with pytest.raises(ValueError, match=r"macs=0.2. The closest is root=32,64, with macs 0.392"):
        planning.recommend(of_name("nin"), planning.parse("macs=0.2"))


def test_tables_notes_and_files(of_name, tmp_path):
    pytest.importorskip("matplotlib")
    found = planning.recommend(of_name("nin"), planning.parse("macs=0.5"))
    table = report.plans(found, found.named, paper=True)
    rows = {row[1]: dict(zip(table.header, row, strict=True)) for row in table.rows}
    # Of the paper's rows those of macs 0.5 or less; its accuracy is in percent.
    assert rows["root-8"]["--root"] == "8,4"
    assert rows["root-8"]["top-1, %: the paper reports"] == "92.15"
    assert rows["root-8"]["MACs"] == f"{cost(keras_roots.RootNIN(root=8)).macs:,}"
    assert rows["root-32"]["top-1, %: the paper reports"] == ""
    assert "root-2" not in rows
    text = report.notes(found)
    assert 'keras_roots.build("nin", root=(32, 1))' in text
    assert "Not known: accuracy" in text
    assert "dense 92.11, root-8 92.15, column-8 91.92, tree-8 91.71" in text
    assert "6 1x1" in report.summary(found)
    report.write_csv(tmp_path / "plans.csv", found)
    with (tmp_path / "plans.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert len(written) == len(found.within)
    for row, plan in zip(written, found.within, strict=True):
        assert topology.parse(row["root"]).degrees(2) == plan.degrees
        assert int(row["macs"]) == plan.macs
    plot(tmp_path / "a.png", found)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_plans_of_a_model_have_no_accuracy_of_the_papers():
    network = planning.of_model(small_model(), expression='load("a{b}")')
    found = planning.recommend(network, planning.parse("macs=0.9"))
    assert "top-1, %: the paper reports" not in report.plans(found, found.named, paper=True).header
    assert 'keras_roots.rootify(load("a{b}"), (' in report.notes(found)
    assert networks.of_model(small_model()).registry_name is None
