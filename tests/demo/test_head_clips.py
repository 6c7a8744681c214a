"""Clips of toy heads: VoxCeleb's layout as our dataparser reads it, and the truth beside it."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from nerfstudio_avatars.cli.demo_data import DemoData
from nerfstudio_avatars.demo import head_clips, toy_clips
from nerfstudio_avatars.demo.head_clips import draw_head_clips, read_truth
from nerfstudio_avatars.demo.heads import ToyHead
from nerfstudio_avatars.errors import DataError, UserError
from nerfstudio_avatars.unsup_volanim.data.dataparsers import VoxCelebDataParserConfig

SIZE, FRAMES = 16, 6
FIRST = "id10001#toy0001#000000#000006"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return draw(tmp_path_factory.mktemp("heads") / "vox")


def draw(out, **changes) -> Path:
    return draw_head_clips(out, **{"identities": 3, "frames": FRAMES, "size": SIZE, "test_identities": 1} | changes)


def prints(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_dataparser_reads_the_folder(folder):
    parser = VoxCelebDataParserConfig(data=folder, image_size=SIZE, eval_frame_interval=3).setup()
    train, val, test = (parser.get_dataparser_outputs(split) for split in ("train", "val", "test"))
    assert [len(outputs.cameras) for outputs in (train, val, test)] == [3 * 4, 3 * 2, FRAMES]
    clips = train.metadata["clips"].table
    assert [(clip.person, clip.split, clip.frames, clip.fps) for clip in clips] == [
        ("id10001", "train", FRAMES, 25.0), ("id10002", "train", FRAMES, 25.0), ("id10003", "train", FRAMES, 25.0),
        ("id20001", "test", FRAMES, 25.0),
    ]  # fmt: skip
    assert train.metadata["clips"].has_masks and all(clip.mask for clip in clips)


def test_names_and_table_are_voxcelebs(folder):
    assert FIRST in {path.name for path in (folder / "train").iterdir()}
    names = [f"{frame:07d}.png" for frame in range(FRAMES)]
    assert sorted(path.name for path in (folder / "train" / FIRST).iterdir()) == names
    with (folder / "vox-metadata.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        "video_id": "toy0001", "start": "0", "end": "6", "bbox": "0-0-16-16", "fps": "25.0", "width": "16",
        "height": "16", "partition": "train", "person_id": "id10001",
    }  # fmt: skip
    assert [row["partition"] for row in rows] == ["train"] * 3 + ["test"]


@pytest.mark.parametrize("split", ["train", "test"])
def test_pictures_masks_and_truth_show_the_same(folder, split):
    clip = sorted((folder / split).iterdir())[0].name
    truth = read_truth(folder / "truth" / split / f"{clip}.npz")
    for frame in (0, FRAMES - 1):
        again = truth.render(frame)
        picture = cv2.cvtColor(cv2.imread(str(folder / split / clip / f"{frame:07d}.png")), cv2.COLOR_BGR2RGB)
        mask = cv2.imread(str(folder / "masks" / split / clip / f"{frame:07d}.png"), cv2.IMREAD_UNCHANGED)
        assert picture.shape == (SIZE, SIZE, 3) and mask.shape == (SIZE, SIZE)
        np.testing.assert_allclose(picture / 255, again.rgb, atol=0.5 / 255 + 1e-9)
        np.testing.assert_allclose(mask / 255, again.mask, atol=0.5 / 255 + 1e-9)
        np.testing.assert_allclose(truth.jaw_mask[frame] / 255, again.parts[..., 1], atol=0.5 / 255 + 1e-9)
        np.testing.assert_allclose(truth.depth[frame], again.depth, atol=1e-3)
        np.testing.assert_array_equal(np.isnan(truth.depth[frame]), mask == 0)


def test_truth_is_in_plain_arrays_too(folder):
    path = folder / "truth" / "train" / f"{FIRST}.npz"
    truth = read_truth(path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file}
    assert arrays["depth"].dtype == np.float16 and arrays["jaw_mask"].dtype == np.uint8
    np.testing.assert_array_equal(truth.rotation, arrays["rotation"])
    np.testing.assert_array_equal(truth.translation, arrays["translation"])
    assert {name: arrays[name].shape for name in ("yaw", "pitch", "roll", "jaw")} == dict.fromkeys(
        ("yaw", "pitch", "roll", "jaw"), (FRAMES,)
    )
    assert truth.poses[2].yaw == arrays["yaw"][2]


def test_any_view_can_be_rendered(folder):
    truth = read_truth(folder / "truth" / "train" / f"{FIRST}.npz")
    seen = truth.render(1, yaw_offset=0.4, size=24)
    expected = ToyHead(truth.seed).render(truth.poses[1].turned(0.4), 24)
    np.testing.assert_array_equal(seen.rgb, expected.rgb)
    assert np.abs(seen.rgb - truth.render(1, size=24).rgb).mean() > 0.01


def test_no_two_clips_show_the_same_head(folder, tmp_path):
    other = draw(tmp_path / "other", seed=1)
    seeds = [read_truth(path).seed for root in (folder, other) for path in (root / "truth").rglob("*.npz")]
    assert len(set(seeds)) == len(seeds) == 8


def test_the_same_seed_draws_the_same_bytes(folder, tmp_path):
    assert prints(draw(tmp_path / "again")) == prints(folder)


def test_more_identities_do_not_change_the_others(folder, tmp_path):
    few = prints(draw(tmp_path / "few", identities=1))
    many = prints(folder)
    shared = {name for name in few if name.startswith(("train", "test", "masks"))}
    assert shared and all(few[name] == many[name] for name in shared)


def test_earlier_clips_are_replaced_whole_and_a_strangers_folder_is_not(tmp_path):
    draw(tmp_path / "vox", identities=2)
    draw(tmp_path / "vox", identities=1, test_identities=0)
    assert [path.name for path in (tmp_path / "vox" / "train").iterdir()] == [FIRST]
    assert not (tmp_path / "vox" / "test").exists()
    stranger = tmp_path / "thesis"
    stranger.mkdir()
    (stranger / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match="without demo data"):
        draw(stranger)
    assert (stranger / "thesis.tex").read_text() == "years of work"
    assert {path.name for path in tmp_path.iterdir()} == {"vox", "thesis"}


def test_an_empty_folder_is_filled_and_a_file_is_not_replaced(tmp_path):
    (tmp_path / "empty").mkdir()
    draw(tmp_path / "empty", identities=1)
    assert (tmp_path / "empty" / "train").is_dir()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="without demo data"):
        draw(tmp_path / "file")


@pytest.mark.parametrize(
    ("error", "told"), [(KeyboardInterrupt(), KeyboardInterrupt), (OSError("no space left"), UserError)]
)
def test_nothing_is_left_of_a_drawing_that_failed(tmp_path, monkeypatch, error, told):
    def fail(*_):
        raise error

    monkeypatch.setattr(toy_clips, "write_png", fail)
    with pytest.raises(told):
        draw(tmp_path / "vox")
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_demo_survives_a_failure(tmp_path, monkeypatch):
    before = prints(draw(tmp_path / "vox", identities=1))
    monkeypatch.setattr(ToyHead, "render", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        draw(tmp_path / "vox", identities=2)
    assert prints(tmp_path / "vox") == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"identities": 0}, "0 identities"),
        ({"frames": 0}, "0 frames"),
        ({"size": 4}, "4 pixels"),
        ({"seed": -1}, "-1 as seed"),
        ({"test_identities": -1}, "-1 test identities"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        draw(tmp_path / "vox", **changes)


def test_other_files_are_not_taken_for_truth(folder, tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 not much of a zip file")
    np.savez(tmp_path / "other.npz", yaw=np.zeros(3))
    for path in (
        tmp_path / "broken.npz",
        tmp_path / "other.npz",
        tmp_path / "missing.npz",
        folder / "vox-metadata.csv",
    ):
        with pytest.raises(DataError, match="the truth about a clip"):
            read_truth(path)


@pytest.mark.parametrize(("asked", "size"), [(None, 64), (20, 20)])
def test_the_command_line_draws_them(tmp_path, monkeypatch, asked, size):
    calls = []
    monkeypatch.setattr(head_clips, "draw_head_clips", lambda *args, **options: calls.append((args, options)))
    DemoData(tmp_path, format="voxceleb", size=asked, seed=3).run()
    assert calls == [((tmp_path,), {"identities": 12, "size": size, "seed": 3, "test_identities": 2})]
