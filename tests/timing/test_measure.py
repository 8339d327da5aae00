from keras_roots.timing.measure import Timings, conditions, describe, interleaved


def test_candidates_take_turns_and_the_order_rotates():
    calls = []
    candidates = {name: (lambda name=name: calls.append(name)) for name in "ab"}
    lines = []
    timings = interleaved(
        candidates, rounds=2, per_turn=2, warmup=1, untimed_per_turn=1, report=lines.append
    )
    assert "".join(calls) == "ab" + "aaabbb" + "bbbaaa"
    assert {name: len(timing.seconds) for name, timing in timings.items()} == {"a": 4, "b": 4}
    assert lines == ["round 1 of 2", "round 2 of 2"]


def test_percentiles():
    timings = Timings((3.0, 1.0, 2.0))
    assert timings.median == 2
    assert timings.percentile(0) == 1
    assert timings.percentile(100) == 3


def test_conditions_name_machine_and_versions():
    record = conditions(threads=3)
    assert record["threads"] == 3
    assert record["cores"] >= 1
    assert {"date", "processor", "python", "tensorflow", "keras"} <= set(record)
    assert describe({"threads": 1, "batch": 2}) == "threads 1, batch 2"
