"""Camera paths as the viewer writes them, and as people change them."""

import json

import numpy as np
import pytest

from nerfstudio_avatars.avatars.cameras import read_camera_file
from nerfstudio_avatars.errors import UserError

KEY = [1, 0, 0, 0, 0, 0, -1, 0, 0, 1, 0, 0, 0, 4, 0, 1]
POSE = np.array(KEY, float).reshape(4, 4).T.ravel().tolist()


def _path(**changed):
    camera = {"camera_to_world": POSE, "fov": 50, "aspect": 1} | changed.pop("camera", {})
    content = {
        "keyframes": [{"matrix": KEY, "fov": 50, "aspect": 1}],
        "camera_type": "perspective",
        "render_height": 96.0,
        "render_width": 96.0,
        "fps": 24.0,
        "seconds": 0.25,
        "camera_path": [camera] * 6,
    }
    return content | changed


def _read(folder, content):
    (folder / "a.json").write_text(json.dumps(content))
    return read_camera_file(folder / "a.json")


def test_one_key_frame_is_a_still_picture_from_where_it_stands(tmp_path):
    still, path = _read(tmp_path, _path(camera_path=[], seconds=0.0)), _read(tmp_path, _path())
    assert len(still.cameras) == 1 and still.seconds == pytest.approx(1 / 24)
    np.testing.assert_allclose(still.cameras.camera_to_worlds[0], path.cameras.camera_to_worlds[0])
    np.testing.assert_allclose(still.cameras.fx[0], path.cameras.fx[0])
    assert len(still.resampled(5)) == 5


@pytest.mark.parametrize(
    "changed",
    [
        {"crop": None},
        {"crop": {"crop_center": [0, 0, 0], "crop_scale": [2, 2, 2], "crop_rot": [0, 0, 0], "crop_bg_color": {}}},
        {"render_height": 96, "render_width": "96"},
        {"camera": {"fov": "50"}},
        {"camera": {"camera_to_world": [int(value) for value in POSE]}},
    ],
)
def test_crops_integers_and_numbers_as_text_change_nothing(tmp_path, changed):
    found, expected = _read(tmp_path, _path(**changed)), _read(tmp_path, _path())
    np.testing.assert_array_equal(found.cameras.camera_to_worlds, expected.cameras.camera_to_worlds)
    np.testing.assert_array_equal(found.cameras.fx, expected.cameras.fx)
    assert found.cameras.height[0] == 96


REFUSED = {
    "equirectangular": ({"camera_type": "equirectangular"}, "perspective cameras only"),
    "half a turn": ({"camera": {"fov": 180}}, "180 degrees"),
    "no field of view": ({"camera": {"fov": 0}}, "0 degrees"),
    "far away": ({"camera": {"camera_to_world": [*POSE[:3], 1e30, *POSE[4:]]}}, "metres"),
    "not a number": ({"camera": {"fov": float("nan")}}, "no number"),
    "no rotation": ({"camera": {"camera_to_world": [2 * value for value in POSE]}}, "no rotation"),
    "a short matrix": ({"camera": {"camera_to_world": POSE[:9]}}, "16 numbers"),
    "huge": ({"render_height": 1e7, "render_width": 1e7}, "pixels"),
    "no pixels": ({"render_height": 0}, "pixels"),
    "a path of text": ({"camera_path": ["/home/me/data/images"]}, "camera 0 is"),
    "a path that is text": ({"camera_path": "none"}, "camera 0 is"),
    "no time": ({"seconds": 0}, "seconds long"),
    "for ever": ({"seconds": 1e30}, "seconds long"),
    "nothing": ({"camera_path": [], "keyframes": []}, "0 cameras"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_no_camera_can_do_is_named(tmp_path, kind):
    changed, told = REFUSED[kind]
    with pytest.raises(UserError, match=rf"(?s)a\.json.*{told}"):
        _read(tmp_path, _path(**changed))


def test_the_list_that_ns_export_writes_is_named(tmp_path):
    with pytest.raises(UserError, match="ns-export cameras"):
        _read(tmp_path, [{"file_path": "a.png", "transform": []}])
