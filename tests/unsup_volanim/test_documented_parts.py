"""The options that docs/heads.md gives for mouths that follow build, and train to their end, at a tiny size."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
import tyro

from nerfstudio_avatars.methods import unsup_volanim, unsup_volanim_tiny
from tests.helpers.documented import ROOT, blocks, commands

STEPS = 8


def _documented(method: str) -> list[str]:
    """The words after the method in the command of the page that composes parts."""
    found = [
        command.words
        for block in blocks([ROOT / "docs" / "heads.md"])
        if block.language == "bash"
        for command in commands(block)
        if command.words[:2] == ("ns-train", method) and "--pipeline.model.network.render.skinning" in command.words
    ]
    assert len(found) == 1
    return list(found[0][2:])


def _asked_for(method: str, more: list[str]):
    known = {one.config.method_name: deepcopy(one.config) for one in (unsup_volanim, unsup_volanim_tiny)}
    union = tyro.extras.subcommand_type_from_defaults(known)
    return tyro.cli(tyro.conf.SuppressFixed[tyro.conf.FlagConversionOff[union]], args=[method, *more])


@pytest.mark.parametrize("method", ["unsup-volanim", "unsup-volanim-tiny"])
def test_the_documented_parts_train(method, head_clips, tmp_path):
    config = _asked_for(method, _documented(method))
    network, schedule = config.pipeline.model.network, config.pipeline.model.schedule
    assert network.render.skinning == "compose" and schedule.articulation == "table" and network.parts > 2
    config.output_dir, config.experiment_name, config.timestamp = tmp_path, "heads", "run"
    config.max_num_iterations, config.vis, config.machine.device_type = STEPS, "tensorboard", "cpu"
    config.steps_per_eval_image, config.steps_per_save = 0, 1000
    manager, model = config.pipeline.datamanager, config.pipeline.model
    manager.data = manager.dataparser.data = config.data = head_clips
    manager.dataparser.image_size = 32
    manager.identities_per_batch, manager.frames_per_identity = 2, 2
    network.points_per_edge, network.render.samples = 2, 6
    network.generator.code_size, network.generator.widths = 3, (8, 4)
    network.detector.input_size, network.detector.widths = 32, (8, 12)
    network.relative.input_size, network.relative.widths, network.relative.hidden = 16, (8, 8), 12
    schedule.bootstrap_size, schedule.bootstrap_levels, schedule.patch = 16, 1, 16
    schedule.coarse_size = schedule.fine_patch = 16
    model.search.candidates, model.search.size, model.search.samples = 4, 8, 6
    model.perceptual = "off"
    trainer = config.setup()
    trainer.setup()
    learnt = trainer.pipeline.model
    before = [one.detach().clone() for one in learnt.network.relative.parameters()]
    trainer.train()
    assert learnt.network.parts == network.parts, "it is articulated"
    assert bool(learnt.table.split) and len(learnt.table.visited_rows()), "and parts have moved in the table"
    assert any(not torch.equal(old, new) for old, new in zip(before, learnt.network.relative.parameters(), strict=True))
    assert all(one.isfinite().all() for one in learnt.network.parameters())
