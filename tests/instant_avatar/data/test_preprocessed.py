"""Pictures, masks and poses belong together whatever their files are called."""

import cv2
import numpy as np
import pytest
from PIL import Image
from snapshot_folders import FRAMES, SIZE, picture, poses, write_preprocessed

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.instant_avatar.data.masked_pictures import rgba_picture
from nerfstudio_avatars.instant_avatar.data.preprocessed import read_preprocessed

SPLITS = {"train": list(range(FRAMES)), "val": [0], "test": [0]}


def _rename(folder, name_of):
    """Old number -> new name; to a number beyond all first, so that none is overwritten."""
    files = sorted(folder.iterdir())
    moved = [path.rename(path.with_name(f"moving{path.name}")) for path in files]
    for number, path in enumerate(moved):
        path.rename(path.with_name(name_of(number) + path.suffix))


def _read(folder):
    return list(read_preprocessed(folder, SPLITS).read(range(FRAMES)))


def test_numbers_in_names_count_as_numbers(tmp_path):
    folder = write_preprocessed(tmp_path / "one")
    for part in ("images", "masks"):
        _rename(folder / part, lambda number: str(7 + number))  # 7, 8, 9, 10, ...
    (folder / "masks" / "._7.npy").write_bytes(b"what macOS leaves")
    greens = [shown.rgb[20, 20, 1] for shown in _read(folder)]
    assert greens == [30 * frame for frame in range(FRAMES)]


def test_a_mask_missing_and_one_too_many_are_seen(tmp_path):
    folder = write_preprocessed(tmp_path / "one")
    (folder / "masks" / "mask_0003.npy").rename(folder / "masks" / "mask_0008.npy")
    with pytest.raises(DataError, match=r"(?s)masks.*found:.*mask_0004.npy.*image_0003.png.*expected:.*fix:"):
        read_preprocessed(folder, SPLITS)


@pytest.mark.parametrize(
    ("image_name", "mask_name"),
    [
        ("cam1_{:04d}", "{}"),
        ("{:04d}", "{:04d}_sam2"),
        ("male-3_{:04d}", "mask{:02d}_of_8"),
        ("{0:04d}_{1}ms", "{0}"),
        ("{letter}", "mask_{:04d}"),
    ],
)
def test_names_that_fit_are_not_refused(tmp_path, image_name, mask_name):
    folder = write_preprocessed(tmp_path / "one")
    for part, name in (("images", image_name), ("masks", mask_name)):
        _rename(folder / part, lambda n, name=name: name.format(n, 40 * n, letter="abcdefgh"[n]))
    assert len(_read(folder)) == FRAMES


@pytest.mark.parametrize(("image_name", "mask_name"), [("cam1_{:04d}", "{}_v2"), ("{}_x_{}", "{}_x_{}")])
def test_shifted_names_are_refused_whatever_else_they_hold(tmp_path, image_name, mask_name):
    folder = write_preprocessed(tmp_path / "one")
    for part, name, shift in (("images", image_name, 0), ("masks", mask_name, 1)):
        _rename(folder / part, lambda n, name=name, shift=shift: name.format(n + shift * (n > 4), n + shift * (n > 4)))
    with pytest.raises(DataError, match="the first that does not fit"):
        read_preprocessed(folder, SPLITS)


def test_photographs_and_masks_taken_upright_are_read_upright(tmp_path):
    folder = write_preprocessed(tmp_path / "one")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to show
    for frame in range(FRAMES):
        image, mask = (values[:, :32] for values in picture(frame))
        (folder / "images" / f"image_{frame:04d}.png").unlink()
        sideways = np.ascontiguousarray(np.rot90(image[..., ::-1]))
        Image.fromarray(sideways).save(folder / "images" / f"image_{frame:04d}.jpg", exif=exif, quality=95)
        np.save(folder / "masks" / f"mask_{frame:04d}.npy", mask)
    with np.load(folder / "cameras.npz") as cameras:
        np.savez(folder / "cameras.npz", intrinsic=cameras["intrinsic"], extrinsic=cameras["extrinsic"])
    recording = read_preprocessed(folder, SPLITS)
    assert (recording.height, recording.width) == (SIZE, 32)
    shown = next(recording.read([0]))
    assert np.abs(shown.rgb[..., 0].astype(int) - picture(0)[0][:, :32, 2]).mean() < 8


def test_sixteen_bit_pictures_are_read_as_eight(tmp_path):
    folder = write_preprocessed(tmp_path / "one")
    before = _read(folder)[0].rgb
    cv2.imwrite(str(folder / "images" / "image_0000.png"), picture(0)[0].astype(np.uint16) * 257)
    np.testing.assert_array_equal(_read(folder)[0].rgb, before)


@pytest.mark.parametrize("name", ["mask", "segmentations", "sam_masks", "masks_sam_images", "Matting", "his_masks_v2"])
def test_masks_are_found_under_their_usual_names(tmp_path, name):
    folder = write_preprocessed(tmp_path / "one")
    expected = [shown.mask for shown in _read(folder)]
    (folder / "masks").rename(folder / name)
    recording = read_preprocessed(folder, SPLITS)
    np.testing.assert_array_equal([shown.mask for shown in recording.read(range(FRAMES))], expected)
    np.testing.assert_array_equal(list(recording.masks(range(FRAMES))), expected)
    assert recording.notes == (f"masks are taken from {name}/",)


@pytest.mark.parametrize("ending", ["_mask", "-alpha", ".mask"])
def test_masks_beside_their_pictures_are_found(tmp_path, ending):
    folder = write_preprocessed(tmp_path / "one")
    expected = [shown.mask for shown in _read(folder)]
    for frame, mask in enumerate(expected):
        cv2.imwrite(str(folder / "images" / f"image_{frame:04d}{ending}.png"), mask)
        (folder / "masks" / f"mask_{frame:04d}.npy").unlink()
    np.testing.assert_array_equal([shown.mask for shown in _read(folder)], expected)


def test_masks_in_the_pictures_transparency_are_found(tmp_path):
    folder = write_preprocessed(tmp_path / "one")
    expected = _read(folder)
    for frame, shown in enumerate(expected):
        bgra = np.dstack([shown.rgb[..., ::-1], shown.mask])
        cv2.imwrite(str(folder / "images" / f"image_{frame:04d}.png"), bgra)
        (folder / "masks" / f"mask_{frame:04d}.npy").unlink()
    for found, known in zip(_read(folder), expected, strict=True):
        np.testing.assert_array_equal(found.mask, known.mask)
        np.testing.assert_array_equal(found.rgb, known.rgb)


@pytest.mark.parametrize("part", ["images", "masks"])
def test_pictures_without_a_mask_and_masks_without_a_picture_are_left_out_and_told(tmp_path, part):
    folder = write_preprocessed(tmp_path / "one")
    sorted((folder / part).iterdir())[2].unlink()
    count = FRAMES - (part == "images")
    recording = read_preprocessed(folder, {"train": list(range(count)), "val": [0], "test": [0]})
    assert recording.splits["train"] == ([0, 1, 3, 4, 5, 6, 7] if part == "masks" else list(range(7)))
    assert any("the 7 that share a number are used" in note for note in recording.notes)
    greens = [shown.rgb[20, 20, 1] // 30 for shown in recording.read(recording.splits["train"])]
    assert greens == [0, 1, 3, 4, 5, 6, 7]
    assert all(mask.any() for mask in recording.masks(recording.splits["train"]))


def test_poses_follow_the_numbers_of_pictures_when_one_is_missing(tmp_path):
    folder = write_preprocessed(tmp_path / "one")
    expected = read_preprocessed(folder, SPLITS).motion.transl
    for part, ending in (("images", "png"), ("masks", "npy")):
        (folder / part / f"{part[:-1]}_0002.{ending}").unlink()
    motion = read_preprocessed(folder, {"train": list(range(7)), "val": [0], "test": [0]}).motion
    np.testing.assert_array_equal(motion.transl, expected[[0, 1, 3, 4, 5, 6, 7]])


def test_the_optimised_poses_of_instantavatar_come_before_the_first_estimate(tmp_path):
    folder = write_preprocessed(tmp_path / "one")
    pose, transl = poses()
    np.savez(folder / "poses_optimized.npz", betas=np.zeros(10), thetas=pose, transl=transl + 0.01)
    np.testing.assert_allclose(read_preprocessed(folder, SPLITS).motion.transl, transl + 0.01, atol=1e-6)


def test_pictures_without_alpha_are_no_exact_pictures(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), picture(0)[0])
    with pytest.raises(DataError, match=r"(?s)a\.png.*RGBA"):
        rgba_picture(tmp_path / "a.png", SIZE, SIZE)
