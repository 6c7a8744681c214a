"""`ns-avatar animate`: which kind of run it films, and what it says before it opens one."""

import sys
from types import SimpleNamespace

import pytest

from nerfstudio_avatars.cli import main, run_config
from nerfstudio_avatars.cli.animate import Animate
from nerfstudio_avatars.cli.errors import UserError


def test_a_run_moved_by_clips_goes_its_own_way(tmp_path, monkeypatch):
    seen, run = [], SimpleNamespace()
    module = SimpleNamespace(drive=lambda run, shot: seen.append((run, shot)))
    monkeypatch.setitem(sys.modules, "nerfstudio_avatars.cli.drive", module)
    monkeypatch.setattr(run_config, "find_config", lambda path: path)
    monkeypatch.setattr(run_config, "load_run", lambda *_: run)
    Animate(load_config=tmp_path, output=tmp_path / "out", driving="clip.mp4", identity="somebody", width=64).run()
    (given, shot), *rest = seen
    assert given is run and not rest
    assert (shot.driving, shot.identity, shot.height, shot.width) == ("clip.mp4", "somebody", None, 64)


@pytest.mark.parametrize("option", [{"identity": "anna"}, {"image": ("a.png",)}, {"relative": True}, {"yaw": 20.0}])
def test_what_only_clips_can_do_is_refused_for_a_person_in_motions(option, tmp_path, monkeypatch):
    monkeypatch.setattr(run_config, "find_config", lambda path: path)
    named = SimpleNamespace(
        pipeline=SimpleNamespace(model=None),
        config=SimpleNamespace(method_name="instant-avatar"),
        checkpoint=tmp_path / "step.ckpt",
    )
    monkeypatch.setattr(run_config, "load_run", lambda *_: named)
    with pytest.raises(UserError, match="a run of instant-avatar. Expected one of unsup-volanim"):
        Animate(load_config=tmp_path, output=tmp_path / "out", **option).run()


def test_a_missing_run_is_told(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["animate", "--load-config", str(tmp_path / "nowhere.yml")])
    assert end.value.code == 2
    assert "nowhere.yml: no such file" in capsys.readouterr().err


def test_a_missing_motion_is_told_before_the_run_is_opened(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["animate", "--load-config", str(tmp_path / "nowhere.yml"), "--motion", "moonwalk.bvh"])
    assert end.value.code == 2
    assert "moonwalk.bvh" in capsys.readouterr().err
