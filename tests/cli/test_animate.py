"""`ns-avatar animate`: what it says before it renders."""

import pytest

from nerfstudio_avatars.cli import main
from nerfstudio_avatars.cli.animate import Animate
from nerfstudio_avatars.errors import UserError


def test_a_run_without_a_skeleton_is_refused_and_the_other_verb_named(volanim_config, tmp_path):
    with pytest.raises(UserError, match="a run of unsup-volanim-tiny, which has no skeleton.*ns-avatar drive"):
        Animate(load_config=volanim_config, output=tmp_path / "out").run()


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
