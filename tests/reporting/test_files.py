from pathlib import Path

import pytest

from keras_roots.reporting.files import (
    refuse_existing,
    replacing,
    replacing_folder,
    require_writable,
    results_folder,
)


def test_a_file_takes_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "model.weights.h5"
    with replacing(path) as temporary:
        assert temporary.name.endswith(".weights.h5")
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert [file.name for file in tmp_path.iterdir()] == ["model.weights.h5"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.md"
    path.write_text("old")

    def interrupted():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["table.md"]


def test_the_files_mode_is_an_ordinary_ones(tmp_path):
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    with replacing(tmp_path / "ours") as temporary:
        temporary.touch()
    assert (tmp_path / "ours").stat().st_mode == ordinary.stat().st_mode


def test_a_folder_that_is_not_there(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match="no folder"),
        replacing(tmp_path / "missing" / "file"),
    ):
        pass


def test_a_folder_of_the_files_name(tmp_path):
    with pytest.raises(IsADirectoryError, match="folder where a file"), replacing(tmp_path):
        pass


def test_results_folder(tmp_path):
    folder = results_folder(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert results_folder(folder) == folder
    (folder / "kept.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"not empty \(it holds 'kept.txt'\)"):
        results_folder(folder)
    assert results_folder(folder, overwrite=True) == folder
    assert (folder / "kept.txt").read_text() == "mine"


def test_results_folder_that_is_a_file_or_beneath_one(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match="cannot be written"):
            results_folder(path)


# A name that is too long; and where no one, root included, makes files.
UNWRITABLE = ["x" * 300, *(["/proc/self/results"] if Path("/proc/self").is_dir() else [])]


@pytest.mark.parametrize("path", UNWRITABLE)
def test_results_folder_that_cannot_be_written(path, tmp_path):
    with pytest.raises(ValueError, match="cannot be written"):
        results_folder(tmp_path / path)


def test_a_folder_that_could_be_written_and_is_not_made(tmp_path):
    require_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file/run' cannot be written: Not a directory"):
        require_writable(tmp_path / "file" / "run")


def test_a_folder_takes_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "1"
    for content in ("first", "second"):
        with replacing_folder(path) as temporary:
            (temporary / f"{content}.txt").write_text(content)
            assert not (path / f"{content}.txt").exists()
        assert [file.name for file in path.iterdir()] == [f"{content}.txt"]
    assert [file.name for file in tmp_path.iterdir()] == ["1"]


def test_a_failure_leaves_the_old_folder_and_nothing_else(tmp_path):
    path = tmp_path / "1"
    path.mkdir()
    (path / "old.txt").write_text("old")

    def interrupted(where):
        with replacing_folder(where) as temporary:
            (temporary / "half.txt").write_text("half")
            raise KeyboardInterrupt

    for where in (path, tmp_path / "2"):
        with pytest.raises(KeyboardInterrupt):
            interrupted(where)
    assert [str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.txt")] == ["1/old.txt"]
    assert [file.name for file in tmp_path.iterdir()] == ["1"]


def test_what_is_there_is_refused(tmp_path):
    refuse_existing(tmp_path / "new")
    with pytest.raises(FileExistsError, match="or overwrite=True"):
        refuse_existing(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="a file where a folder"):
        replacing_folder(tmp_path / "file").__enter__()
    with pytest.raises(FileNotFoundError, match="no folder"):
        replacing_folder(tmp_path / "missing" / "1").__enter__()
