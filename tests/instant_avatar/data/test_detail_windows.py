"""Windows about head and hands, against projections of known points."""

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from nerfstudio_avatars.demo import draw_demo_sequence
from nerfstudio_avatars.instant_avatar.data.detail_windows import detail_masks, middle_of_head, window_about
from nerfstudio_avatars.instant_avatar.data.people_snapshot import PeopleSnapshotDataParserConfig

FOCAL = 100.0


def camera(height=80, width=120):
    """At (0, 5, 0), looking along -y, z up, as the cameras of a scene are."""
    pose = torch.tensor([[-1.0, 0, 0, 0], [0, 0, 1, 5], [0, 1, 0, 0]])
    return Cameras(pose[None], FOCAL, FOCAL, width / 2, height / 2, width, height)[0]


def test_a_window_is_a_square_of_its_size_about_the_point():
    rows, columns = window_about(torch.tensor([0.5, 1.0, 0.25]), 0.4, camera(), (80, 120))
    # Four metres before the camera a metre is 25 pixels, and +x is to the left.
    assert (rows.start + rows.stop) / 2 == pytest.approx(40 - 0.25 * 25, abs=0.5)
    assert (columns.start + columns.stop) / 2 == pytest.approx(60 - 0.5 * 25, abs=0.5)
    assert rows.stop - rows.start == pytest.approx(10, abs=1) and columns.stop - columns.start == pytest.approx(
        10, abs=1
    )


@pytest.mark.parametrize("point", [(9.0, 0.0, 9.0), (-9.0, 0.0, -9.0), (0.0, 4.99, 0.0)])
def test_a_window_stays_within_the_picture(point):
    rows, columns = window_about(torch.tensor(point), 0.4, camera(), (80, 120))
    assert 0 <= rows.start < rows.stop <= 80 and rows.stop - rows.start >= 8
    assert 0 <= columns.start < columns.stop <= 120 and columns.stop - columns.start >= 8


def test_a_persons_head_and_hands_are_within_their_masks(tmp_path):
    data = draw_demo_sequence(tmp_path, size=96, frames=16)
    outputs = PeopleSnapshotDataParserConfig(data=data, downscale_factor=1).setup().get_dataparser_outputs("train")
    person, pictures = outputs.metadata["person"], outputs.metadata["pictures"]
    masks = detail_masks(person, outputs.cameras, pictures.frames)
    shown = pictures.load()[..., 3] > 127
    for mask, whole, frame in zip(masks, shown, pictures.frames, strict=True):
        top = int(whole.any(1).nonzero()[0])
        assert mask[top + 2][whole[top + 2]].all(), "hair"
        assert 0.05 < mask.float().mean() < 0.25 and not mask[whole.any(1).nonzero()[-1]].any(), "feet"
        head = middle_of_head(person.body.pose(person.motion.state(frame)))
        assert head[2] == pytest.approx(0.75, abs=0.15)
