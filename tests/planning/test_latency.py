"""Latency of plans: what is measured, what is predicted from it, and what is made of both."""

import dataclasses

import keras
import pytest

from keras_roots import planning
from keras_roots.benchmark.records import Record, Session
from keras_roots.planning import latency, report
from keras_roots.planning.plot import plot
from keras_roots.timing.ratios import Ratio
from tests.sample_models import small_model

QUICK = planning.Timing(rounds=2, per_turn=3)


def classifier(filters=(8, 8, 8, 8)):
    model = small_model(filters)
    outputs = keras.layers.GlobalAveragePooling2D()(model.output)
    return keras.Model(model.input, outputs, name="small")


def record(seconds):
    session = Session("small", "litert", "cpu", "float32", 1, 1)
    return Record(session, "dense", "random", 1, 1, 0.0, 0.0, 0.0, 0.0, 0.0, "", seconds)


def test_of_each_turn_the_quicker_half_counts():
    # In each turn of four inferences two were interrupted.
    reference = record(tuple((0.009, 0.002, 0.002, 0.011) for _ in range(8)))
    other = record(tuple((0.001, 0.001, 0.03, 0.05) for _ in range(8)))
    assert latency._seconds(reference) == pytest.approx(0.002)
    assert latency._ratio(other, reference) == Ratio(0.5, 0.5, 0.5)
    odd = record(((0.003, 0.001, 0.002),))
    assert latency._seconds(odd) == pytest.approx(0.0015)


def test_a_prediction_adds_up_what_levels_save():
    ratios = ({1: Ratio(1.0), 2: Ratio(0.8), 4: Ratio(0.75)}, {1: Ratio(1.0), 2: Ratio(0.9)})
    known = latency.Savings(0.01, ratios, {}, None)
    assert known.predicted((1, 1)) == 1
    assert known.predicted((4, 1)) == pytest.approx(0.75)
    assert known.predicted((4, 2)) == pytest.approx(1 - 0.25 - 0.1)
    assert known.predicted((2, 4)) is None


@pytest.fixture(scope="module", name="found")
def measure():
    lines = []
    found = planning.recommend(
        planning.of_model(classifier(), max_degree=4),
        planning.parse("macs=0.9"),
        timing=QUICK,
        measure=1,
        report=lines.append,
    )
    return found, lines


def test_every_degree_is_measured_alone_and_the_best_as_they_are(found):
    found, lines = found
    assert "small: timing the dense network and 4 with one level grouped" in lines
    assert [sorted(ratios) for ratios in found.savings.ratios] == [[1, 2, 4], [1, 2, 4]]
    assert all(ratio.value > 0 for each in found.savings.ratios for ratio in each.values())
    assert found.savings.dense > 0
    assert found.savings.conditions["rounds"] == 2
    for plan in found.plans:
        first, second = (
            ratios[degree].value
            for ratios, degree in zip(found.savings.ratios, plan.degrees, strict=True)
        )
        assert plan.latency == pytest.approx(first + second - 1)
    expected = {found.best[0].degrees, found.named[0].degrees}
    assert set(found.measured) == expected
    assert set(found.errors()) == expected
    for degrees, each in found.measured.items():
        predicted = found.savings.predicted(degrees)
        assert found.errors()[degrees] == pytest.approx(predicted / each.ratio.value - 1)


def test_tables_and_files_have_it(found, tmp_path):
    pytest.importorskip("matplotlib")
    found, _ = found
    table = report.plans(found, found.within)
    measured = [row for row in table.rows if row[-1]]
    assert {tuple(map(int, row[0].split(","))) for row in measured} == set(found.measured)
    assert all(row[-3] for row in table.rows)
    text = report.notes(found)
    assert f"Largest error of a prediction, of {len(found.measured)} measured" in text
    # Two rounds are too few for an interval.
    assert "made of 4 ratios, of which 4 are not known to 5%" in text
    assert "Conditions: date" in text
    report.write_csv(tmp_path / "plans.csv", found)
    header, *rows = (tmp_path / "plans.csv").read_text().splitlines()
    assert "latency_predicted,latency_measured" in header
    assert len(rows) == len(found.within)
    plot(tmp_path / "plans.png", found)
    assert (tmp_path / "plans.png").read_bytes().startswith(b"\x89PNG")


def test_a_budget_of_latency_is_met_as_predicted_and_what_was_measured_is_said(monkeypatch):
    network = planning.of_model(classifier(), max_degree=2)
    ratios = ({1: Ratio(1.0), 2: Ratio(0.7)}, {1: Ratio(1.0), 2: Ratio(0.795)})
    known = latency.Savings(0.010, ratios, {"processor": "A"}, 1.5)
    # What a machine would say, which no test can know.
    monkeypatch.setattr("keras_roots.planning.recommendation.savings", lambda *_: known)
    monkeypatch.setattr(
        "keras_roots.planning.recommendation.measured",
        lambda _, plans, *__: {d: latency.Measured(Ratio(0.75, 0.74, 0.76), 0.0075) for d in plans},
    )

    def recommended(text):
        return planning.recommend(network, planning.parse(text), timing=QUICK)

    assert {plan.degrees for plan in recommended("latency=0.8").within} == {(2, 1), (1, 2), (2, 2)}
    found = recommended("latency=7.2ms")
    assert {plan.degrees for plan in found.within} == {(2, 1), (2, 2)}
    assert found.over_budget() == [(2, 1), (2, 2)]
    assert found.errors()[2, 1] == pytest.approx(0.7 / 0.75 - 1)
    text = report.notes(found)
    assert "Measured to be over the budget of 0.72: 2,1 (0.750); 2,2 (0.750)" in text
    assert "error of a prediction, of 2 measured: -34.0% (2,2)" in text
    assert "up to 1.5 cores busy" in text
    with pytest.raises(ValueError, match="closest is root=2,2, with latency 0.495"):
        recommended("latency=0.4")
    with pytest.raises(ValueError, match="more than the dense network's latency, 10ms"):
        recommended("latency=1s")
    # Saves less than a hundredth of the dense network's latency: no reason to group more.
    close = dataclasses.replace(known, ratios=(ratios[0], {1: Ratio(1.0), 2: Ratio(0.996)}))
    monkeypatch.setattr("keras_roots.planning.recommendation.savings", lambda *_: close)
    assert recommended("latency=0.8").best[0].degrees == (2, 1)


@pytest.mark.parametrize(
    ("budget", "timing", "message"),
    [
        ("latency=0.5", None, "Give a runtime: timing=\\.\\.\\."),
        ("macs=0.9", planning.Timing("tflite"), "runtime as one of: litert.*'tflite'"),
        ("macs=0.9", planning.Timing(threads=1000), "threads of 1 to"),
        ("macs=0.9", planning.Timing(rounds=0), "1 or more. Received: 0"),
    ],
)
def test_what_cannot_be_measured(budget, timing, message):
    network = planning.of_model(classifier())
    with pytest.raises(ValueError, match=message):
        planning.recommend(network, planning.parse(budget), timing=timing)


def test_models_of_which_no_latency_is_measured():
    model = classifier()
    several = keras.Model(model.input, [model.output, 2 * model.output], name="several")
    network = planning.of_model(several)
    with pytest.raises(ValueError, match="to one output. Received: 'several', .* and 2 outputs"):
        planning.recommend(network, planning.parse("macs=0.9"), timing=QUICK)
    with pytest.raises(ValueError, match="0 or more. Received: -1"):
        planning.recommend(network, planning.parse("macs=0.9"), measure=-1)
