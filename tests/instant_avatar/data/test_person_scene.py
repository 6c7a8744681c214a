"""How small pictures may become."""

import pytest
from snapshot_folders import SIZE, write_preprocessed

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.instant_avatar.data.people_snapshot import PeopleSnapshotDataParserConfig


def _outputs(folder, factor):
    config = PeopleSnapshotDataParserConfig(data=folder, downscale_factor=factor, body="standin")
    return config.setup().get_dataparser_outputs("train")


@pytest.mark.parametrize(
    ("factor", "told"),
    [
        (0, "1 or more"),
        (-2, "1 or more"),
        (0.5, "1 or more"),
        (float("nan"), "1 or more"),
        (float("inf"), "1 or more"),
        (600, "48x48 pixels become 0x0.*at least 16"),
        (3.2, "48x48 pixels become 15x15.*at least 16"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_factors_that_leave_no_picture_are_refused(tmp_path, factor, told):
    with pytest.raises(DataError, match=f"(?s)--downscale-factor.*{told}.*fix:"):
        _outputs(write_preprocessed(tmp_path / "one"), factor)


def test_the_smallest_pictures_are_shrunk_to_what_their_cameras_say(tmp_path):
    outputs = _outputs(write_preprocessed(tmp_path / "one"), 3)
    assert outputs.metadata["pictures"].source.load([0]).shape == (1, SIZE // 3, SIZE // 3, 4)
    assert (int(outputs.cameras.height[0]), int(outputs.cameras.width[0])) == (SIZE // 3, SIZE // 3)
