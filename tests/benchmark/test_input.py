import pytest

from keras_roots.benchmark.input import input_speed, table
from keras_roots.cli import main
from keras_roots.training import Config
from tests import sample_images


def test_each_way_to_read_is_timed(tmp_path):
    sample_images.photograph_folders(tmp_path, 2, train=4, validation=1)
    config = Config(image_size=16, resize=18, batch_size=4)
    lines = []
    timings = input_speed(tmp_path, config, count=9, rounds=2, report=lines.append)
    assert lines == ["round 1 of 2", "round 2 of 2"]
    assert list(timings) == [
        *("decode", "crop, paper", "pipeline, paper", "crop, full", "pipeline, full")
    ]
    for each in timings.values():
        assert len(each.seconds) == 2
        assert min(each.seconds) > 0
    rows = {row[0]: row[1:] for row in table(timings, cores=2).rows}
    rate = 1 / timings["decode"].median / 2
    assert rows["decode"][0].startswith(f"{rate:,.0f} (")
    assert rows["decode"][1] == ""
    ratio = timings["crop, full"].median / timings["pipeline, full"].median
    assert rows["pipeline, full"][1] == f"{ratio:.2f}"


def test_a_folder_that_has_no_photographs(tmp_path, capsys):
    with pytest.raises(ValueError, match=r"no images in .*: \.jpg, \.jpeg"):
        input_speed(tmp_path, Config())
    assert main(["benchmark", "input", str(tmp_path / "missing")]) == 2
    assert "There is no folder" in capsys.readouterr().err
