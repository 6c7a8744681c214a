"""`ns-avatar drive`: its options reach the library, and what it says before it opens a run."""

import pytest

from nerfstudio_avatars.cli import main


def test_a_clip_of_the_data_moves_somebody_who_does_not_exist(volanim_config, head_clips, tmp_path, capsys):
    clip = sorted((head_clips / "train").iterdir())[0]
    words = ["drive", "--load-config", str(volanim_config), "--driving", str(clip), "--identity", "random:3"]
    main([*words, "--seconds", "0.1", "--height", "16", "--width", "16", "--output", str(tmp_path / "out")])
    assert "Rendered 2 frames" in capsys.readouterr().out
    assert len(list((tmp_path / "out").glob("*.png"))) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--load-config", "nowhere.yml"], "nowhere.yml: no such file"),
        (["--load-config", "nowhere.yml", "--mask", "a.png"], "--mask: expected --image as well"),
        (["--load-config", "nowhere.yml", "--output", "a.txt"], "nowhere.yml: no such file"),
    ],
)
def test_mistakes_are_told_before_a_run_is_opened(words, said, capsys):
    with pytest.raises(SystemExit) as end:
        main(["drive", "--driving", "clip.mp4", *words])
    assert end.value.code == 2
    assert said in capsys.readouterr().err
