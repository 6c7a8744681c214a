"""Files and folders are whole or not there, whatever happens on the way."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.whole_files import whole_file, whole_folder


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_a_file_appears_when_its_block_ends_and_keeps_its_ending(tmp_path):
    path = tmp_path / "new" / "a.npz"
    with whole_file(path) as partial:
        np.savez(partial, a=1)
        assert names(path.parent) == [partial.name] and partial.suffix == ".npz" and partial.name.startswith(".a.")
    assert names(path.parent) == ["a.npz"]
    elsewhere = tmp_path / "elsewhere"
    with whole_file(path, elsewhere) as partial:
        partial.write_text("b")
        assert names(path.parent) == ["a.npz"] and names(elsewhere) == [partial.name]
    assert path.read_text() == "b" and names(elsewhere) == []


def fill(partial, text):
    partial.joinpath("sub").mkdir()
    partial.joinpath("sub", "a.txt").write_text(text)
    partial.joinpath(f"{text}.txt").touch()


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    for text in ("one", "two"):
        with whole_folder(tmp_path / "data") as partial:
            fill(partial, text)
            assert names(tmp_path) == [partial.name] + ["data"] * (text == "two")
    assert names(tmp_path) == ["data"] and names(tmp_path / "data") == ["sub", "two.txt"]
    assert (tmp_path / "data" / "sub" / "a.txt").read_text() == "two"


@pytest.mark.parametrize("end", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_no_part_and_what_was_there(tmp_path, end):
    with whole_folder(tmp_path / "data") as partial:
        fill(partial, "one")
    with pytest.raises(end), whole_folder(tmp_path / "data") as partial:
        fill(partial, "two")
        raise end
    with pytest.raises(end), whole_file(tmp_path / "data" / "one.txt") as partial:
        partial.write_text("more")
        raise end
    assert names(tmp_path) == ["data"] and names(tmp_path / "data") == ["one.txt", "sub"]
    assert (tmp_path / "data" / "one.txt").read_text() == ""


@pytest.mark.skipif(os.name == "nt", reason="whether a process lives is not asked on Windows")
def test_what_killed_processes_left_goes_with_the_next_writing(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from nerfstudio_avatars.whole_files import whole_file, whole_folder\n"
        "with whole_file(Path(sys.argv[1], 'a.txt')) as a, whole_folder(Path(sys.argv[1], 'b')) as b:\n"
        "    a.touch(); (b / 'c').touch(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    other = f".a.{os.getppid()}.partial.txt"  # of a process that lives
    (tmp_path / other).touch()
    (tmp_path / ".a.1.notes.txt").touch()
    assert len(names(tmp_path)) == 4
    with whole_file(tmp_path / "a.txt") as partial:
        partial.touch()
    with whole_folder(tmp_path / "b"):
        pass
    assert names(tmp_path) == sorted([".a.1.notes.txt", other, "a.txt", "b"])


def full(partial):
    raise OSError(errno.ENOSPC, "No space left on device", str(partial))


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_a_full_disk_is_told_with_the_files_name(tmp_path, whole):
    with pytest.raises(UserError, match=f"No space left on device: {tmp_path / 'a.txt'}: nothing was written"):
        with whole(tmp_path / "a.txt") as partial:
            full(partial)
    assert names(tmp_path) == []


def test_a_library_that_hides_a_full_disk_is_seen_through(tmp_path):
    """Files may grow to 64 kB, as on a disk that fills; torch then says that its writer failed."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(UserError, match=r"a\.pt: nothing was written"), whole_file(tmp_path / "a.pt") as partial:
            torch.save(torch.zeros(1 << 16), partial)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(tmp_path) == []


def test_what_cannot_be_replaced_is_named(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"{tmp_path / 'folder'}: nothing was written"):
        with whole_file(tmp_path / "folder") as partial:
            partial.touch()
    with pytest.raises(UserError, match=f"{tmp_path / 'file'}: is a file"), whole_folder(tmp_path / "file"):
        pass
    with pytest.raises(UserError, match="file.a.txt: nothing was written"), whole_file(tmp_path / "file" / "a.txt"):
        pass
    assert names(tmp_path) == ["file", "folder"]


def test_errors_about_other_files_are_not_this_ones(tmp_path):
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "a.txt"):
        (tmp_path.parent / "other" / "gone.txt").read_text()
    assert names(tmp_path) == []
