"""What is read is a file and what is written is whole, in JSON that every reader understands."""

import errno
import gc
import json
import math
import os
import socket
from pathlib import Path

import numpy as np
import pytest

import nerfstudio_avatars
from nerfstudio_avatars.cli import main
from nerfstudio_avatars.errors import DataError, UserError
from nerfstudio_avatars.files import check_file, check_folder, read_bytes, regular_file, write_json, write_npz


def test_what_is_no_number_becomes_null(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_json(path, {"a": math.nan, "b": [1, math.inf, {"c": -math.inf}], "d": "nan", "e": True, "f": (0.5, None)})

    def refuse(constant):
        raise AssertionError(constant)

    found = json.loads(path.read_text(), parse_constant=refuse)
    assert found == {"a": None, "b": [1, None, {"c": None}], "d": "nan", "e": True, "f": [0.5, None]}


def test_a_failure_leaves_what_was_there(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}


def test_where_something_can_be_written_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "a" / "b", Path("."), Path("a/b"), Path("..")):
        check_folder(place)
    for place in (tmp_path / "file", tmp_path / "c" / "d.json", Path("d.json"), Path("c/d.json")):
        check_file(place)
    assert [place.name for place in tmp_path.iterdir()] == ["file"]


def test_what_is_in_the_way_is_named(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "a" / "b"):
        with pytest.raises(UserError, match=f"{place}: .*{tmp_path / 'file'} is a file.*--sheet"):
            check_folder(place, "--sheet")
    with pytest.raises(UserError, match="is a folder. Expected the name of a file"):
        check_file(tmp_path)
    with pytest.raises(UserError, match="name too long"):
        check_folder(tmp_path / ("a" * 300))


@pytest.mark.parametrize(
    "words",
    [
        ["invert", "--load-config", "RUN", "--image", "me.png", "--output", "FILE/me.npz"],
        ["evaluate", "--load-config", "RUN", "--output", "FILE"],
        ["evaluate", "--load-config", "RUN", "--output", "FILE/e.json"],
        ["evaluate-animation", "--load-config", "RUN", "--output", "FILE/x.json"],
        ["animate", "--load-config", "RUN", "--output", "FILE/x.mp4"],
        ["inspect", "walk", "--sheet", "FILE/x.png"],
        ["ablate", "--data", ".", "--output", "FILE"],
    ],
    ids=lambda words: f"{words[0]} {words[-1]}",
)
def test_every_verb_looks_before_it_works(words, tmp_path, capsys, monkeypatch):
    """The run's configuration is empty: to open it would fail otherwise."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yml").touch()
    names = {"RUN": str(tmp_path / "run"), "FILE": str(tmp_path / "file")}
    with pytest.raises(SystemExit) as end:
        main([word.replace("RUN", names["RUN"]).replace("FILE", names["FILE"]) for word in words])
    said = capsys.readouterr()
    assert end.value.code == 2 and f"{tmp_path / 'file'} is a file" in said.err
    assert said.out == ""


def test_only_regular_files_are_opened_and_nothing_blocks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's name is short
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket")
    Path("file").write_bytes(b"abc")
    Path("link").symlink_to("file")
    Path("loop").symlink_to("loop")
    Path("to_pipe").symlink_to("pipe")
    kinds = {
        "pipe": "a named pipe", "to_pipe": "a named pipe", "socket": "a socket", "/dev/zero": "a device",
        ".": "a folder", "none": "no such file", "file/x": "Not a directory", "loop": "symbolic link", "a\0b": "null",
    }  # fmt: skip
    for name, told in kinds.items():
        for read in (regular_file, read_bytes):
            with pytest.raises(DataError, match=told):
                read(Path(name))
    for name in ("file", "link"):
        assert regular_file(Path(name)) == Path(name) and read_bytes(Path(name)) == b"abc"
    with pytest.raises(DataError, match="more than 0 MB"):
        read_bytes(Path("file"), most=2)


def test_arrays_are_written_whole_and_a_full_disk_is_heard_of_once(tmp_path, monkeypatch, recwarn):
    write_npz(tmp_path / "new" / "a.npz", a=np.arange(3), name=np.str_("one"))
    with np.load(tmp_path / "new" / "a.npz") as read:
        assert read["a"].tolist() == [0, 1, 2] and str(read["name"]) == "one"

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left on device"):
        write_npz(tmp_path / "b.npz", a=np.arange(3))
    gc.collect()
    assert os.listdir(tmp_path) == ["new"] and not recwarn.list


def test_arrays_are_written_by_the_one_writer():
    """numpy's own leaves an unfinished archive behind, which complains when it is collected."""
    package = Path(nerfstudio_avatars.__file__).parent
    found = {
        path.name for path in package.rglob("*.py") if "savez" in path.read_text("utf8").replace("numpy.savez", "")
    }
    assert found == {"files.py", "pose_files.py"}, "the second one writes to memory"
