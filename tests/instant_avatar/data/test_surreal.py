"""SURREAL's clips against the publishers' own camera, written down here again, and against what users get wrong."""

import shutil

import cv2
import numpy as np
import pytest
import scipy.io
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.demo.surreal import draw_surreal_demo
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.instant_avatar.data.surreal import SurrealDataParserConfig
from nerfstudio_avatars.instant_avatar.data.surreal_clip import read_clip

WIDTH, HEIGHT, FRAMES = 96, 72, 10
OTHER_SIDE = [0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return draw_surreal_demo(tmp_path_factory.mktemp("surreal"), width=WIDTH, height=HEIGHT, frames=FRAMES)


@pytest.fixture
def folder(drawn, tmp_path):
    return shutil.copytree(drawn, tmp_path / "run0" / "demo_01")


def parse(folder, split="train", **options):
    return SurrealDataParserConfig(data=folder, **options).setup().get_dataparser_outputs(split)


def pictures(outputs):
    return outputs.metadata["pictures"].load()


def info_of(folder, clip=1):
    return folder / f"demo_01_c{clip:04d}_info.mat"


def spoil(path, change):
    """Rewrites a .mat file as `change` leaves its fields."""
    fields = {key: value for key, value in scipy.io.loadmat(path).items() if not key.startswith("__")}
    change(fields)
    scipy.io.savemat(path, fields)


def blender_camera(camera_location):
    """`getExtrinsicBlender` and `getIntrinsicBlender` as SURREAL publishes them: 3x4, pixels from the corner."""
    world_to_blender = np.array([[0, 0, 1], [0, -1, 0], [-1, 0, 0]]).T
    blender_to_cv = np.diag([1, -1, -1])
    rotation = blender_to_cv @ world_to_blender
    shift = blender_to_cv @ (-world_to_blender @ camera_location)
    focal = 60 * WIDTH / 32
    lens = np.array([[focal, 0, WIDTH / 2], [0, focal, HEIGHT / 2], [0, 0, 1]])
    return lens @ np.column_stack([rotation, shift])


def projected(points, camera):
    seen = np.concatenate([points, np.ones((*points.shape[:-1], 1))], -1) @ camera.T
    return seen[..., :2] / seen[..., 2:]


def test_the_publishers_camera_is_a_mirror_and_projects_joints3d_onto_joints2d(drawn):
    info = scipy.io.loadmat(info_of(drawn))
    camera = blender_camera(info["camLoc"][:, 0].astype(float))
    assert np.linalg.det(camera[:, :3]) < 0
    seen = projected(info["joints3D"].transpose(2, 1, 0).astype(float), camera)
    np.testing.assert_allclose(seen, info["joints2D"].transpose(2, 1, 0), atol=0.01)


def test_the_publishers_rotation_puts_the_body_where_joints3d_are(drawn):
    """`rotateBody` of SURREAL's `smpl_relations.py`, by scipy's rotations."""
    clip, body = read_clip(info_of(drawn)), load_standin()
    frame = 7
    about_z = Rotation.from_euler("z", clip.zrot[frame])
    root = Rotation.from_euler("x", np.pi / 2) * about_z * Rotation.from_rotvec(clip.pose[frame, :3])
    betas, pose = torch.from_numpy(clip.shape).float(), torch.from_numpy(clip.pose[frame]).float()
    state = BodyState(betas, torch.from_numpy(root.as_rotvec()).float(), pose[3:], torch.zeros(3))
    joints = body.pose(state).joints.double().numpy()
    np.testing.assert_allclose(joints + clip.joints3d[frame, 0] - joints[0], clip.joints3d[frame], atol=1e-5)


def _pixels(outputs, image, points):
    """Where nerfstudio's camera sees points, pixels from the first's corner."""
    camera = outputs.cameras[image]
    local = (points - camera.camera_to_worlds[:, 3]) @ camera.camera_to_worlds[:, :3]
    x = camera.fx * local[:, 0] / -local[:, 2] + camera.cx
    y = camera.fy * -local[:, 1] / -local[:, 2] + camera.cy
    return torch.stack([x, y], -1).numpy(), -local[:, 2].numpy()


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_placed_body_is_seen_at_joints2d_in_pictures_mirrored_back(drawn, split):
    outputs = parse(drawn, split)
    joints2d = np.concatenate([read_clip(info_of(drawn, clip)).joints2d for clip in (1, 2, 3)])
    body, motion = outputs.metadata["person"].body, outputs.metadata["person"].motion
    for image, frame in enumerate(outputs.metadata["pictures"].frames):
        seen, _ = _pixels(outputs, image, body.pose(motion.state(frame)).joints)
        expected = np.array([WIDTH, 0]) + joints2d[frame] * [-1, 1]
        np.testing.assert_allclose(seen, expected, atol=0.01)


def test_the_body_lies_inside_the_mask_and_at_the_depth_of_the_surface(tmp_path):
    folder = draw_surreal_demo(tmp_path, frames=5)
    outputs = parse(folder, novel_clips="none")
    body, motion, clip = outputs.metadata["person"].body, outputs.metadata["person"].motion, read_clip(info_of(folder))
    masks = pictures(outputs)[..., 3].numpy()
    for image, frame in enumerate(outputs.metadata["pictures"].frames):
        seen, depth = _pixels(outputs, image, body.pose(motion.state(frame)).vertices)
        x, y = np.floor(seen).astype(int).T
        # A pixel belongs to what its centre sees: fingers thinner than a pixel may lie beside the mask, by one pixel.
        assert (masks[image, y, x] > 0).mean() > 0.9
        assert (cv2.dilate(masks[image], np.ones((3, 3), np.uint8))[y, x] > 0).mean() > 0.995
        layer = clip.layers("depth", [frame])[0][:, ::-1]
        assert ((layer < 100) == (masks[image] > 0)).all() and (layer[masks[image] == 0] == 1e10).all()
        behind = (depth - layer[y, x])[layer[y, x] < 100]
        # Clothes stand off the skin by up to 2.2 cm; a pixel is 1.1 cm wide, and what it shows may be slanted.
        assert np.quantile(behind, 0.01) > -0.05
        assert (np.abs(behind) < 0.03).mean() > 0.25


def test_left_is_left_again(drawn):
    """SMPL's left is the picture's right for someone who faces the camera; SURREAL's own pictures show it mirrored."""
    clip = read_clip(info_of(drawn))
    assert clip.joints2d[0, 16, 0] < clip.joints2d[0, 17, 0]
    outputs = parse(drawn)
    seen, _ = _pixels(
        outputs, 0, outputs.metadata["person"].body.pose(outputs.metadata["person"].motion.state(0)).joints
    )
    assert seen[16, 0] > seen[17, 0]


def test_world_is_upright_with_the_median_pelvis_at_the_origin(drawn):
    outputs = parse(drawn)
    body, motion = outputs.metadata["person"].body, outputs.metadata["person"].motion
    joints = torch.stack([body.pose(motion.state(frame)).joints for frame in range(len(motion))])
    torch.testing.assert_close(joints[:, 0].median(0).values, torch.zeros(3), atol=1e-3, rtol=0)
    assert (joints[:10, 15, 2] - joints[:10, 0, 2] > 0.3).all()
    rotations = outputs.cameras.camera_to_worlds[:, :, :3]
    torch.testing.assert_close(torch.linalg.det(rotations), torch.ones(len(rotations)))


def test_clips_of_the_same_person_are_tested_on_and_others_left_out(folder):
    outputs = parse(folder, "test")
    assert set(outputs.metadata["pictures"].groups) == {"training_pose", "between_frames", "novel_pose"}
    assert len(outputs.metadata["person"].motion) == FRAMES + 4 + 4
    spoil(info_of(folder, 2), lambda fields: fields["cloth"].fill("other.jpg"))
    assert len(parse(folder, "test", clip="demo_01_c0001").metadata["person"].motion) == FRAMES + 4
    with pytest.raises(DataError, match=r"(?s)c0002.*other.jpg.*stripes.jpg.*novel-clips"):
        parse(folder, clip="demo_01_c0001", novel_clips="demo_01_c0002")


def test_without_other_clips_the_last_frames_are_the_novel_poses(drawn):
    outputs = parse(drawn, "test", novel_clips="none", novel_share=0.3, holdout_every=0)
    named = dict(zip(outputs.metadata["pictures"].frames, outputs.metadata["pictures"].groups, strict=True))
    assert [frame for frame, group in named.items() if group == "novel_pose"] == [7, 8, 9]
    assert outputs.metadata["person"].train_frames.tolist() == list(range(7))


def test_frames_are_stepped_over(drawn):
    assert parse(drawn, frame_step=3, holdout_every=0).metadata["pictures"].frames == (0, 3, 6, 9)


def test_several_runs_need_a_name(drawn, tmp_path):
    for run in ("run0", "run1", "run2"):
        shutil.copytree(drawn, tmp_path / "cmu" / "train" / run / "demo_01")
    with pytest.raises(DataError, match=r"(?s)9 clips: run0/demo_01/demo_01_c0001.*--clip run0/demo_01/demo_01_c0001"):
        parse(tmp_path / "cmu" / "train")
    with pytest.raises(DataError, match=r"(?s)3 clips: .*run0.*run1.*run2"):
        parse(tmp_path / "cmu", clip="demo_01_c0002")
    outputs = parse(tmp_path, clip="run1/demo_01/demo_01_c0002")
    assert "run1" in str(outputs.image_filenames[0]) and len(outputs.metadata["person"].motion) == 4 + FRAMES + 4
    assert parse(tmp_path / "cmu" / "train" / "run2").image_filenames[0].parent.name == "demo_01_c0001"
    with pytest.raises(DataError, match="none of them nobody"):
        parse(tmp_path, clip="nobody")


def _squeezed(fields):
    """What MATLAB makes of arrays of one frame."""
    for name in ("pose", "shape"):
        fields[name] = fields[name][:, :1]
    for name in ("joints2D", "joints3D"):
        fields[name] = fields[name][:, :, 0]
    for name in ("zrot", "gender"):
        fields[name] = fields[name][:1]


def test_a_clip_of_one_frame_whose_arrays_lost_their_last_axis(folder):
    spoil(info_of(folder), _squeezed)
    for split in ("train", "val", "test"):
        outputs = parse(folder, split, novel_clips="none")
        assert outputs.metadata["pictures"].frames == (0,)
        assert pictures(outputs)[..., 3].any()


def test_a_drawn_clip_of_one_frame(tmp_path):
    one = draw_surreal_demo(tmp_path, width=64, height=48, frames=1)
    assert parse(one, "test").metadata["pictures"].frames == (0, 1, 2)


def _mirror_joints2d(fields):
    fields["joints2D"][0] = WIDTH - fields["joints2D"][0]


def _upside_down(fields):
    fields["joints2D"][1] = HEIGHT - fields["joints2D"][1]


def _exchange(name):
    def change(fields):
        fields[name] = fields[name][:, OTHER_SIDE]

    return change


def _exchange_both(fields):
    _exchange("joints2D")(fields)
    _exchange("joints3D")(fields)


def _set(name, value):
    return lambda fields: fields.__setitem__(name, value)


INFO_MISTAKES = {
    "mirrored joints2D": (_mirror_joints2d, "joints2D lies .* mirrored left to right, only 0.0"),
    "joints2D from below": (_upside_down, "upside down, only 0.0"),
    "exchanged joints2D": (_exchange("joints2D"), "joints2D .* left and right joints exchanged, only 0.0"),
    "exchanged joints": (_exchange_both, "joints3D .* left and right joints exchanged"),
    "zrot of another clip": (lambda f: f["zrot"].__iadd__(2), "joints3D lies .* .turned by 115 degrees"),
    "transposed pose": (lambda f: _set("pose", f["pose"].T)(f), r"pose of shape \(10, 72\)"),
    "joints of another skeleton": (lambda f: _set("joints3D", f["joints3D"][:, :17])(f), "joints3D of shape"),
    "one frame less": (lambda f: _set("joints2D", f["joints2D"][..., 1:])(f), r"joints2D of shape \(2, 24, 9\)"),
    "too few angles": (lambda f: _set("zrot", f["zrot"][:5])(f), "zrot of shape"),
    "no zrot": (lambda f: f.pop("zrot"), "no zrot"),
    "NaN": (lambda f: f["pose"].__setitem__((3, 2), np.nan), "NaN or infinity in pose"),
    "text for numbers": (_set("camLoc", np.array(["abc"], object)), "camLoc"),
    "two people": (lambda f: f["shape"].__setitem__((0, 3), 2), "changes within the clip"),
}


@pytest.mark.parametrize("name", INFO_MISTAKES)
def test_a_mistake_in_the_info_is_named(folder, name):
    change, found = INFO_MISTAKES[name]
    spoil(info_of(folder), change)
    with pytest.raises(DataError, match=f"(?s)demo_01_c0001_info.mat.*found:.*{found}.*expected:.*fix:"):
        parse(folder, novel_clips="none")


def _each(change):
    def every(fields):
        for name in list(fields):
            fields[name] = change(fields[name])

    return every


def _other_labels(parts):
    return np.concatenate([[0], np.array(OTHER_SIDE) + 1]).astype(np.uint8)[parts]


MASK_MISTAKES = {
    "mirrored": (_each(lambda parts: parts[:, ::-1]), "left and right labels"),
    "labels exchanged": (_each(_other_labels), "left and right labels"),
    "moved": (_each(lambda parts: np.roll(parts, 40, 1)), "of the trunk's joints2D lie in the mask"),
    "another size": (_each(lambda parts: parts[::2, ::2]), r"segm_1 of shape \(36, 48\)"),
    "a frame missing": (lambda fields: fields.pop("segm_10"), "no segm_10"),
}


@pytest.mark.parametrize("name", MASK_MISTAKES)
def test_a_mistake_in_the_masks_is_named(folder, name):
    change, found = MASK_MISTAKES[name]
    spoil(folder / "demo_01_c0001_segm.mat", change)
    with pytest.raises(DataError, match=f"(?s)demo_01_c0001_segm.mat.*found:.*{found}.*expected:.*fix:"):
        pictures(parse(folder, novel_clips="none"))


@pytest.mark.parametrize("ending", [".mp4", "_segm.mat", "_info.mat"])
@pytest.mark.parametrize("damage", ["missing", "cut short", "something else"])
def test_a_missing_or_damaged_file_is_named(folder, ending, damage):
    path = folder / f"demo_01_c0001{ending}"
    if damage == "missing":
        path.unlink()
        if ending == "_info.mat":
            return
    else:
        path.write_bytes(path.read_bytes()[:200] if damage == "cut short" else b"not this")
    with pytest.raises(DataError, match=f"(?s)demo_01_c0001{ending}.*fix:"):
        pictures(parse(folder, clip="demo_01_c0001"))


def test_a_matlab_7_3_file_says_how_to_save_it(folder):
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    info_of(folder).write_bytes(header + bytes(400))
    with pytest.raises(DataError, match=r"(?s)MATLAB 7\.3.*-v7"):
        parse(folder, clip="demo_01_c0001")


def test_a_folder_without_clips(tmp_path):
    with pytest.raises(DataError, match=r"no \*_info.mat"):
        parse(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        parse(tmp_path / "nowhere")


def test_another_bodys_shape_is_left_out(folder):
    spoil(info_of(folder), lambda fields: fields.pop("body"))
    with pytest.warns(UserWarning, match="drawn with SMPL, read with standin"):
        outputs = parse(folder, clip="demo_01_c0001", novel_clips="none", body="standin")
    assert not outputs.metadata["person"].motion.betas.any()


def test_rounded_joints2d_are_surreals_own(folder, capsys):
    spoil(info_of(folder), lambda fields: _set("joints2D", fields["joints2D"].round())(fields))
    parse(folder, novel_clips="none")
    said = float(" ".join(capsys.readouterr().out.split()).split("joints3D lie ")[1].split(" px")[0])
    assert 0.2 < said < 0.6
