import os

import pytest

from keras_roots.lowering import measured
from keras_roots.timing import machine, measure


def test_flags_that_matter(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "processor : 0\nflags\t\t: fpu avx2 sse avx512_vnni fma\n\nflags : amx_int8\n"
    )
    assert measure.processor_flags(cpuinfo) == ["avx2", "fma", "avx512_vnni"]
    cpuinfo.write_text("processor : 0\nFeatures : fp asimd sve\n")
    assert measure.processor_flags(cpuinfo) == ["asimd", "sve"]
    cpuinfo.write_text("processor : 0\n")
    assert measure.processor_flags(cpuinfo) == []
    assert measure.processor_flags(tmp_path / "missing") == []


def test_conditions_tell_the_vector_extensions_and_the_cores_allowed():
    found = measure.conditions(rounds=3)
    assert found["flags"] == (" ".join(measure.processor_flags()) or "unknown")
    assert 1 <= found["cores_allowed"] <= (os.cpu_count() or 1)
    assert found["rounds"] == 3


def test_bundled_measurements_name_the_vector_extensions_of_their_machine():
    flags = {name: str(each["flags"]) for name, each in measured.brought().conditions.items()}
    assert all("no avx512_vnni" in flags[name] for name in ("litert-float32", "litert-int8"))
    assert all(flags[name].startswith("avx512f") for name in ("tensorflow-cpu", "xla-cpu"))


def test_busy_cores_of_two_readings():
    # User, nice, system, idle, iowait, irq, softirq, steal; and guests', which the user's has.
    before = [100, 0, 50, 1000, 10, 0, 0, 0, 70, 0]
    after = [125, 0, 65, 1055, 15, 0, 0, 0, 90, 0]
    assert machine.busy_between(before, after, cores=4) == pytest.approx(4 * 40 / 100)
    assert machine.busy_between(before, before, cores=4) == 0


def test_busy_cores_here(tmp_path):
    assert machine.busy_cores(0.01, tmp_path / "missing") is None
    busy = machine.busy_cores(0.05)
    assert busy is None or 0 <= busy <= (os.cpu_count() or 1)


def test_hardware_says_what_there_is(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=true")
    found = machine.hardware()
    assert found["gpu"] == "none"
    assert found["XLA_FLAGS"] == "--xla_cpu_multi_thread_eigen=true"
    assert found["memory_gib"] is None or found["memory_gib"] > 0


def test_environments():
    assert machine.environment_of("cpu")["CUDA_VISIBLE_DEVICES"] == "-1"
    assert machine.environment_of("gpu")["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert machine.environment_of("gpu").get("CUDA_VISIBLE_DEVICES") == os.environ.get(
        "CUDA_VISIBLE_DEVICES"
    )
