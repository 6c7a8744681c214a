"""The command that films a camera path."""

import shlex
from pathlib import Path

from nerfstudio_avatars.studio.camera_path_panel import rendering_command


def test_a_run_is_filmed_by_nerfstudio_and_a_portable_avatar_by_us():
    run = shlex.split(rendering_command(Path("my runs/config.yml"), "a path.json", "renders/a.mp4"))
    assert run[:4] == ["ns-render", "camera-path", "--load-config", "my runs/config.yml"]
    assert run[4:] == ["--camera-path-filename", "a path.json", "--output-path", "renders/a.mp4"]
    ours = shlex.split(rendering_command(Path("me.avatar"), "path.json", "a.mp4"))
    assert ours[:2] == ["ns-avatar", "animate"] and ours[-4:] == ["--camera", "path.json", "--output", "a.mp4"]
