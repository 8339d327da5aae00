import numpy as np
import pytest

from keras_roots.reporting import figures

pytest.importorskip("matplotlib")
SIGNATURES = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xm"}


@pytest.mark.parametrize("suffix", SIGNATURES)
def test_a_picture_is_whole_and_nothing_else_is_left(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    with figures.figure(path, (2, 1)) as figure:
        figure.subplots().plot([1, 2])
        assert not list(tmp_path.iterdir())
    assert path.read_bytes().startswith(SIGNATURES[suffix])
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_raised_while_drawing_leaves_the_old_picture(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("old")

    def interrupted():
        with figures.figure(path, (2, 1)):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("a.txt", ValueError, "ends in .png, .pdf or .svg"),
        ("missing/a.png", FileNotFoundError, "no folder"),
        ("folder.png", IsADirectoryError, "folder where a file"),
    ],
)
def test_pictures_that_cannot_be_written(tmp_path, name, error, message):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(error, match=message):
        figures.require_plot(tmp_path / name)
    with pytest.raises(error, match=message), figures.figure(tmp_path / name, (2, 1)):
        pass


def test_ticks_of_a_logarithmic_axis_are_those_in_view(tmp_path):
    with figures.figure(tmp_path / "a.png", (4, 3)) as figure:
        axes = figure.subplots()
        axes.plot([20, 20_000], [0, 1])
        figures.log_scale(axes, "x")
    low, high = axes.get_xlim()
    labels = [
        label.get_text()
        for place, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        if low <= place <= high
    ]
    assert labels == [f"{m * 10**e:,}" for e in range(1, 5) for m in (1, 2, 5)][1:11]


def test_one_legend_names_the_lines_of_all_panels_once(tmp_path):
    with figures.figure(tmp_path / "a.png", (4, 3)) as figure:
        panels = figure.subplots(1, 2)
        for axes, names in zip(panels, (["a", "b"], ["b", "c"]), strict=True):
            for name in names:
                axes.plot(np.arange(3), label=name)
        figures.legend_below(figure, panels)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "c"]


def test_matplotlibs_settings_stay_as_they_are(tmp_path):
    """They are those of the user's program, with the backend that it chose."""
    import matplotlib

    def settings():
        # Asked in the usual way for the backend, it would choose one now.
        return {name: dict.__getitem__(matplotlib.rcParams, name) for name in matplotlib.rcParams}

    before = settings()
    with figures.figure(tmp_path / "a.png", (2, 1)) as figure:
        figure.subplots().plot([1, 2])
    assert settings() == before
