"""`ns-avatar demo-data`: every format can be asked for."""

import pytest

from nerfstudio_avatars.cli import main
from nerfstudio_avatars.cli.demo_data import DRAWN


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "file"),
    [
        ("people-snapshot", 32, "demo-casual/demo-casual.mp4"),
        ("surreal", 64, "run0/demo_01/demo_01_c0003_info.mat"),
    ],
)
def test_a_format_is_drawn_and_said(name, size, file, tmp_path, capsys):
    main(["demo-data", str(tmp_path / "data"), "--format", name, "--size", str(size)])
    assert (tmp_path / "data" / file).is_file()
    said = capsys.readouterr().out
    assert f"{size}x" in said and str(tmp_path / "data") in said


@pytest.mark.parametrize("size", [0, -5, 15])
@pytest.mark.parametrize("name", DRAWN)
def test_pictures_of_no_size_are_refused(name, size, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["demo-data", str(tmp_path / "data"), "--format", name, "--size", str(size)])
    assert end.value.code == 2 and f"--size {size}: expected at least 16" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_a_place_below_a_file_is_told(tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as end:
        main(["demo-data", str(tmp_path / "file" / "data"), "--size", "32"])
    assert end.value.code == 2 and f"{tmp_path / 'file'} is a file" in capsys.readouterr().err


def test_an_unknown_format_names_the_known(capsys):
    with pytest.raises(SystemExit):
        main(["demo-data", "--format", "carrots"])
    said = capsys.readouterr().err
    assert all(name in said for name in DRAWN)


def test_many_people_are_drawn_by_their_number(tmp_path, capsys, monkeypatch):
    drawn = []
    monkeypatch.setattr("nerfstudio_avatars.demo.people.draw_people", lambda *_, **__: drawn.append((_, __)))
    monkeypatch.setattr("nerfstudio_avatars.demo.head_clips.draw_head_clips", lambda *_, **__: drawn.append((_, __)))
    main(["demo-data", str(tmp_path / "data"), "--people", "3", "--size", "16"])
    assert "3 people (16x16)" in capsys.readouterr().out
    main(["demo-data", str(tmp_path / "heads"), "--format", "voxceleb", "--people", "5"])
    assert "7 clips" in capsys.readouterr().out
    (people, how), (heads, of) = drawn
    assert people == (tmp_path / "data", 3) and how["size"] == 16
    assert heads == (tmp_path / "heads",) and (of["identities"], of["test_identities"]) == (5, 2)


@pytest.mark.parametrize(("more", "said"), [([], "--people 0: expected"), (["--format", "surreal"], "one person")])
def test_people_that_cannot_be_drawn_are_told(more, said, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["demo-data", str(tmp_path / "data"), "--people", "0" if not more else "2", *more])
    assert end.value.code == 2 and said in capsys.readouterr().err
