"""`ns-avatar create` from a video to its files, with nothing replaced but sizes; and what is refused."""

import json

import pytest

from nerfstudio_avatars import Avatar
from nerfstudio_avatars.avatars import creation
from nerfstudio_avatars.cli import main
from nerfstudio_avatars.demo import draw_demo_sequence
from nerfstudio_avatars.export import rigged_mesh
from nerfstudio_avatars.media.video_index import probe_video
from nerfstudio_avatars.process.body_fit import STEPS
from nerfstudio_avatars.process.findings import Findings


@pytest.mark.slow
def test_a_drawn_video_becomes_an_avatar(tmp_path, capsys, monkeypatch):
    pytest.importorskip("ai_edge_litert")
    monkeypatch.setitem(STEPS, 1, 60)
    monkeypatch.setitem(STEPS, 2, 40)
    small = {"triangles": 500, "texture_size": 64, "picture_size": 32}
    for name, value in (("_SMALL", small), ("_FULL", small), ("_VIDEO_SIZE", 64), ("_VIDEO_SECONDS", 0.2)):
        monkeypatch.setattr(creation, name, value)
    monkeypatch.setattr(rigged_mesh, "_SPACING", 0.02)
    drawn = draw_demo_sequence(tmp_path / "drawn", size=192, frames=16)
    (video,) = drawn.glob("*.mp4")
    output = tmp_path / "outputs" / "me"
    command = ["create", str(video), "--output", str(output), "--frames", "12", "--body", "standin"]
    command += ["--method", "instant-avatar-cpu", "--first-steps", "0", "--steps", "48", "--maker", "Ada"]
    main(command)
    said = capsys.readouterr().out
    for expected in ("frames leave no doubt", "dB. Files:", f"{output}/index.html"):
        assert expected in said
    page = (output / "index.html").read_text()
    assert "After 48 steps" in page and 'src="me.html"' in page and str(tmp_path) not in page
    for name in ("video.mp4", "turntable.mp4", "walk.mp4"):
        assert probe_video(output / name).frames >= 4
    assert Avatar.load(output / "me.avatar").run.provenance.maker == "Ada"
    assert (output / "me.glb").read_bytes()[:4] == b"glTF"
    account = json.loads((output / "create.json").read_text())
    assert account["evaluation"]["found"]["main"]["novel_view_psnr"] > 10

    files = {one: one.stat().st_mtime_ns for one in output.rglob("*") if one.is_file() and one.name != "index.html"}
    main(command)
    again = capsys.readouterr().out
    assert all(one.stat().st_mtime_ns == when for one, when in files.items()), "nothing is done twice"
    assert "dB. Files:" in again

    (config,) = output.rglob("config.yml")
    made = creation.Creation(video, output=output)
    made._first_page(config, Findings(["found them"]), {"steps": 48})
    assert 'src="first-look/me.html"' in (output / "index.html").read_text()
    assert (output / "first-look" / "me.html").stat().st_size > 10_000


def test_a_missing_video_is_told(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["create", str(tmp_path / "a.mp4"), "--output", str(tmp_path / "out")])
    assert end.value.code == 2 and "no such file" in capsys.readouterr().err and not (tmp_path / "out").exists()
