"""nerfstudio's own commands on runs that were copied, renamed, and have lost their data."""

import json

import pytest
import torch
from nerfstudio.scripts.render import RenderCameraPath, RenderInterpolated, SpiralRender
from nerfstudio.utils.eval_utils import eval_setup
from PIL import Image

from nerfstudio_avatars.errors import UserError

pytestmark = pytest.mark.slow

MATRIX = [-1.0, 0, 0, 0, 0, 0, 1, 4.5, 0, 1, 0, 0, 0, 0, 0, 1]


@pytest.fixture
def camera_path(tmp_path):
    camera = {"camera_to_world": MATRIX, "fov": 40, "aspect": 1, "render_time": 0.5}
    content = {"camera_type": "perspective", "seconds": 1, "camera_path": [camera]}
    path = tmp_path / "camera.json"
    path.write_text(json.dumps(content | {"render_height": 24, "render_width": 24}))
    return path


@pytest.mark.parametrize("run", ["orphan", "volanim_orphan"])
def test_a_camera_path_is_rendered(run, camera_path, tmp_path, request):
    config = request.getfixturevalue(run) / "config.yml"
    RenderCameraPath(
        load_config=config, camera_path_filename=camera_path, output_path=tmp_path / "out", output_format="images"
    ).main()
    (picture,) = (tmp_path / "out").glob("*.jpg")
    assert Image.open(picture).size == (24, 24)


@pytest.mark.parametrize("run", ["orphan", "volanim_orphan"])
@pytest.mark.parametrize("command", [SpiralRender, RenderInterpolated])
def test_paths_around_kept_cameras_are_rendered(run, command, tmp_path, request):
    options = {"seconds": 0.1} if command is SpiralRender else {"interpolation_steps": 1, "pose_source": "train"}
    command(
        load_config=request.getfixturevalue(run) / "config.yml",
        output_path=tmp_path / "out",
        output_format="images",
        downscale_factor=4,
        **options,
    ).main()
    assert list((tmp_path / "out").glob("*.jpg"))


@pytest.mark.parametrize("run", ["orphan", "volanim_orphan"])
def test_the_viewer_opens(run, request, tmp_path):
    from nerfstudio.viewer.viewer import Viewer

    from nerfstudio_avatars.studio.sight import Sight
    from nerfstudio_avatars.studio.viewer import StudioViewer

    config, pipeline, _, step = eval_setup(request.getfixturevalue(run) / "config.yml", test_mode="test")
    config.viewer.websocket_port = None
    log = config.get_base_dir() / config.viewer.relative_log_filename
    viewer = Viewer(config.viewer, log, pipeline.datamanager.get_datapath(), pipeline)
    try:
        viewer.init_scene(pipeline.datamanager.train_dataset, "completed", pipeline.datamanager.eval_dataset)
        viewer.update_scene(step)
        assert isinstance(viewer, StudioViewer)
        side, sight = 48, Sight((1.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, -4.5, 0.0, 1.0, 0.0, 0.0), 0.7, 1.5)
        picture = viewer.page.show.draw(sight, side, lambda: False)
        assert picture.shape == (32, 48, 3) and picture.std() > 0
    finally:
        viewer.page.stop()


def test_held_out_pictures_are_asked_for_in_vain_and_it_is_said(orphan):
    _, pipeline, _, _ = eval_setup(orphan / "config.yml", test_mode="test")
    with pytest.raises(UserError, match="checkpoints hold no held-out pictures.*Move them back"):
        pipeline.get_average_eval_image_metrics()


def test_with_the_data_a_copied_run_is_evaluated_as_before(person_config, tmp_path):
    """Its last checkpoint counts, whatever its folder is called, though the configuration names an earlier one."""
    import shutil

    copy = shutil.copytree(person_config.parent, tmp_path / "copied")
    _, pipeline, checkpoint, _ = eval_setup(copy / "config.yml", test_mode="test")
    assert checkpoint.parent == copy / "nerfstudio_models"
    camera, batch = pipeline.datamanager.fixed_indices_eval_dataloader.get_camera(0)
    with torch.no_grad():
        figures, _ = pipeline.model.get_image_metrics_and_images(
            pipeline.model.get_outputs_for_camera(camera),
            next(iter(pipeline.datamanager.fixed_indices_eval_dataloader))[1],
        )
    assert figures["given_psnr_white"] > 5
