"""Records of networks whose times are made up, for tests of what is done with records."""

import numpy as np

from keras_roots.benchmark.records import Record, Results, Session

MACS = {"dense": 4_000_000_000, "root-2": 3_800_000_000, "root-16": 2_000_000_000}
LITERT = Session("resnet50", "litert", "cpu", "float32", 1, 1)
INT8 = Session("resnet50", "litert", "cpu", "int8", 1, 1)
GPU = Session("resnet50", "jax", "gpu", "float32", None, 1)


def results(*sessions, seed=0, noise=0.01, factor=1.0, rounds=8, busy=0.0, **conditions):
    """A dense network takes 40 ms, others less in proportion to their multiply-accumulates."""
    rng = np.random.default_rng(seed)
    records = []
    for session in sessions or (LITERT,):
        for topology, macs in MACS.items():
            center = 0.04 * factor * macs / MACS["dense"]
            seconds = center * rng.lognormal(0, noise, (rounds, 4))
            records.append(
                Record(
                    session=session,
                    topology=topology,
                    weights="random",
                    parameters=macs // 150,
                    macs=macs,
                    load_s=0.25,
                    compile_s=1.5,
                    memory_mib=120.0,
                    load=0.1,
                    busy=busy,
                    measured="2026-11-25T08:00:00",
                    seconds=tuple(map(tuple, seconds.tolist())),
                )
            )
    return Results({"processor": "A", "gpu": "none", **conditions}, records)
