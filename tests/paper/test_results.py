import pytest

from keras_roots.models import list_models
from keras_roots.paper import counts
from keras_roots.paper import results as paper_results
from keras_roots.topology import parse


def test_names_are_those_of_the_registry_and_of_topologies():
    assert set(paper_results.RESULTS) <= set(list_models())
    for results in paper_results.RESULTS.values():
        assert next(iter(results)) == "dense"
        for name in list(results)[1:]:
            assert str(parse(name)) == name


def test_they_are_of_the_networks_whose_counts_are_published():
    for network, results in paper_results.RESULTS.items():
        published = {each.name for each in counts._TABLES[network].variants}
        named = {name.replace("dense", "original").replace("column-", "col-") for name in results}
        assert named <= published


@pytest.mark.parametrize(("topology", "cpu", "gpu"), [("root-16", 23, 13), ("root-64", 31, 12)])
def test_what_the_papers_text_says_of_resnet50_follows_from_them(topology, cpu, gpu):
    """Sources: "CPU timings were 23% faster, while GPU timings were 13% faster", and so on."""
    rows = paper_results.RESULTS["resnet50"]
    saved = [
        round(100 * (1 - getattr(rows[topology], name) / getattr(rows["dense"], name)))
        for name in ("cpu_ms", "gpu_ms")
    ]
    assert saved == [cpu, gpu]


def test_errors_that_the_paper_prints_of_resnet200():
    rows = paper_results.RESULTS["resnet200"]
    errors = {name: (f"{1 - row.top1:.4f}", f"{1 - row.top5:.4f}") for name, row in rows.items()}
    assert errors == {
        "dense": ("0.2196", "0.0623"),
        "root-8": ("0.2205", "0.0626"),
        "root-32": ("0.2207", "0.0630"),
    }
