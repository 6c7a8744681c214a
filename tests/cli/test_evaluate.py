"""Grouping of held-out figures."""

from types import SimpleNamespace

import pytest
import torch

from nerfstudio_avatars.cli.evaluate import evaluate_loaded


class Model:
    def get_outputs_for_camera(self, camera):
        return {"rgb": torch.full((2, 2, 3), float(camera))}

    def get_image_metrics_and_images(self, outputs, _batch):
        figures = {"psnr_white": outputs["rgb"].mean().item()}
        # A figure that only some pictures have must not be averaged over the others.
        return figures | ({"rare": 1.0} if figures["psnr_white"] == 30 else {}), {}


def _run(metadata):
    loader = [(10 * (index + 1), {"image_idx": index}) for index in range(3)]
    dataset = SimpleNamespace(metadata=metadata)
    manager = SimpleNamespace(eval_dataset=dataset, fixed_indices_eval_dataloader=loader)
    return SimpleNamespace(pipeline=SimpleNamespace(model=Model(), datamanager=manager), step=7)


def test_each_group_has_its_own_mean():
    answer = evaluate_loaded(_run({"group": ["novel_view", "novel_pose", "novel_view"]}))
    assert answer["groups"] == {
        "novel_view": {"images": 2, "psnr_white": 20.0},
        "novel_pose": {"images": 1, "psnr_white": 20.0},
    }
    assert answer["step"] == 7 and answer["render_fps"] > 0


def test_data_without_groups_is_one_group():
    assert evaluate_loaded(_run({}))["groups"] == {"test": {"images": 3, "psnr_white": pytest.approx(20.0)}}
