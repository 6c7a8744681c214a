"""Stages are done once; what is missing, unfinished or asked for in another way is done again, and nothing else."""

import json

import pytest

from nerfstudio_avatars.avatars.stages import Stages
from nerfstudio_avatars.errors import DataError

TITLES = {"draw": "Drawing", "paint": "Painting"}


@pytest.fixture
def do(tmp_path):
    """Does a stage as a command that is typed anew would, and tells whether it worked."""

    def one(name="draw", settings=None, results=(), work=dict, kept=()):
        worked = []
        stages = Stages(tmp_path / "account.json", TITLES, lambda *_: None)
        done = stages.do(name, settings or {}, results, lambda: worked.append(name) or work(), kept)
        return done.found, bool(worked)

    return one


def test_what_is_done_is_not_done_again(do):
    assert do(work=lambda: {"psnr": 30.5, "frames": [1, 2]}) == ({"psnr": 30.5, "frames": [1, 2]}, True)
    assert do() == ({"psnr": 30.5, "frames": [1, 2]}, False)


def test_other_settings_do_it_again(do):
    do(settings={"steps": 3})
    assert do(settings={"steps": 3})[1] is False
    assert do(settings={"steps": 4})[1] is True
    assert do(settings={"steps": 3})[1] is True


def test_a_result_that_is_gone_is_made_again(do, tmp_path):
    file = tmp_path / "a.txt"
    do(results=(file,), work=lambda: {} if file.write_text("") else {})
    assert do(results=(file,))[1] is False
    file.unlink()
    assert do(results=(file,))[1] is True


def test_a_stage_that_was_killed_is_not_done(do, tmp_path):
    file = tmp_path / "a.txt"

    def killed():
        file.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do(results=(file,), work=killed)
    assert do(results=(file,))[1] is True


def test_unfinished_work_is_kept_for_the_same_settings_alone(do, tmp_path):
    folder = tmp_path / "run"

    def killed():
        folder.mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do(settings={"steps": 3}, kept=(folder,), work=killed)
    there = []
    do(settings={"steps": 3}, kept=(folder,), work=lambda: there.append(folder.exists()) or {})
    do(settings={"steps": 4}, kept=(folder,), work=lambda: there.append(folder.exists()) or {})
    assert there == [True, False]


def test_redoing_one_leaves_the_others(do):
    do("draw")
    do("paint")
    do("draw", settings={"colour": "red"})
    assert do("paint")[1] is False


def test_the_bar_shows_how_far_it_is(tmp_path):
    shown = []
    stages = Stages(tmp_path / "account.json", TITLES, lambda *told: shown.append(told))
    stages.do("draw", {}, (), dict)
    stages.do("paint", {}, (), dict)
    assert shown == [(0, 2, "Drawing"), (1, 2, "Painting")]


@pytest.mark.parametrize("content", ["", "[1]", '{"draw": 3}', "{" * 5000])
def test_another_file_of_its_name_is_refused(content, tmp_path):
    (tmp_path / "account.json").write_text(content)
    with pytest.raises(DataError, match="no account of stages"):
        Stages(tmp_path / "account.json", TITLES, lambda *_: None)


def test_the_account_is_plain(do, tmp_path):
    do(settings={"steps": 3}, work=lambda: {"psnr": 1.0})
    account = json.loads((tmp_path / "account.json").read_text())
    assert account["draw"]["settings"] == {"steps": 3} and account["draw"]["found"] == {"psnr": 1.0}
    assert account["draw"]["seconds"] >= 0
