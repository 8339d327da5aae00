"""Who reads what commands and runs leave finds it; and so does the package, years after."""

import json
import shutil

import pytest

import keras_roots.sweep
import keras_roots.training
from tests.contracts import folders, frozen, make_files
from tests.contracts.frozen import FILES

SLOW = ("benchmarks", "compress", "demo")


@pytest.fixture(autouse=True)
def enter_files(monkeypatch):
    """Where the data of the runs are."""
    monkeypatch.chdir(FILES)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in folders.MAKERS]
)
@pytest.mark.filterwarnings("ignore:The ranges of integers are taken from:UserWarning")
def test_what_is_left_on_disk(name):
    pytest.importorskip("matplotlib")
    expected = (FILES / folders.FILE).read_text(encoding="utf-8").splitlines()
    of_name = [line for line in expected if line.partition(":")[0] == name]
    assert of_name
    frozen.compare(of_name, folders.lines(name), "folders")


@pytest.fixture(name="sweep")
def copy_sweep(tmp_path):
    pytest.importorskip("matplotlib")
    return shutil.copytree(FILES / make_files.SWEEP, tmp_path / "sweep")


def test_a_sweep_that_has_finished_is_not_trained_again(sweep):
    (sweep / "results.csv").unlink()  # It is made anew, of what the run left.
    lines: list[str] = []
    (row,) = keras_roots.sweep.run(make_files.config(), ["root-4"], [0], sweep, report=lines.append)
    assert lines == ["1 runs: 1 are done, 0 to do"]
    assert (sweep / "results.csv").read_text() == (
        FILES / make_files.SWEEP / "results.csv"
    ).read_text()
    summary = json.loads((FILES / make_files.RUN / "summary.json").read_text())
    assert (row.top1, row.loss) == (summary["validation_top1"], summary["validation_loss"])


def test_the_work_directory_of_another_run_is_known_as_such(sweep):
    with pytest.raises(ValueError, match="another run.*root: 'root-4' there, '2' now"):
        keras_roots.training.train_and_evaluate(
            make_files.config(root="2"), sweep / "root-4-seed-0", report=lambda _: None
        )
