"""Held-out figures: grouping, protocols, what differs from papers, the table, and the command on a tiny run."""

import dataclasses
import json
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from nerfstudio_avatars.avatars.evaluation import differences as differing
from nerfstudio_avatars.avatars.evaluation.report import RunReport, as_json, as_markdown, labels
from nerfstudio_avatars.avatars.evaluation.table import Row, mean_rows, rows_of, show
from nerfstudio_avatars.avatars.markdown import markdown_table
from nerfstudio_avatars.avatars.measure import evenly, follow, measure
from nerfstudio_avatars.avatars.protocols import GAUSSIANS, INSTANT_AVATAR, OURS, PROTOCOLS, Refinement
from nerfstudio_avatars.cli.evaluate import Evaluate
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.instant_avatar.data.snapshot_splits import published_split


class Model:
    config = SimpleNamespace()

    def get_outputs_for_camera(self, camera):
        return {"rgb": torch.full((2, 2, 3), float(camera))}

    def get_image_metrics_and_images(self, outputs, _batch):
        figures = {"psnr_white": outputs["rgb"].mean().item()}
        # A figure that only some pictures have must not be averaged over the others.
        return figures | ({"rare": 1.0} if figures["psnr_white"] == 30 else {}), {"img": outputs["rgb"] / 30}


def _run(metadata, folder="run"):
    loader = [(10 * (index + 1), {"image_idx": index}) for index in range(3)]
    dataset = SimpleNamespace(metadata=metadata)
    manager = SimpleNamespace(eval_dataset=dataset, fixed_indices_eval_dataloader=loader)
    checkpoint = SimpleNamespace(parent=SimpleNamespace(parent=folder))
    return SimpleNamespace(model=Model(), datamanager=manager, step=7, checkpoint=checkpoint)


MIXED = {"pictures": SimpleNamespace(groups=("novel_view", "novel_pose", "novel_view"), frames=(4, 8, 12))}


def test_each_group_has_its_own_mean():
    answer = measure(_run(MIXED))
    assert answer.groups == {
        "novel_view": {"images": 2, "psnr_white": 20.0},
        "novel_pose": {"images": 1, "psnr_white": 20.0},
    }
    assert answer.render_fps > 0


def test_data_without_groups_is_one_group():
    assert measure(_run({})).groups == {"test": {"images": 3, "psnr_white": pytest.approx(20.0)}}


def test_only_the_groups_asked_for_are_rendered_and_each_picture_is_kept(tmp_path):
    measured = measure(_run(MIXED), ("novel_view",), tmp_path)
    assert measured.frames == {"novel_view": [4, 12]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["novel_view-000004.png", "novel_view-000012.png"]
    assert np.asarray(Image.open(tmp_path / "novel_view-000004.png")).flat[0] == 85  # a third of 255


def test_data_without_the_groups_of_a_protocol_are_refused():
    with pytest.raises(UserError, match="run: its held-out pictures belong to test. Expected some of novel_pose"):
        measure(_run({}), ("novel_pose",))


# Protocols ------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Fitting:
    steps: int = 5
    rays: int = 6
    lr: float = 7.0
    reach: int = 8


@dataclasses.dataclass
class Options:
    test_pose_refinement: Fitting = dataclasses.field(default_factory=Fitting)
    refine_poses: bool = True
    background: str = "white"


def _followed(protocol, **options):
    poses = SimpleNamespace(frame_correction=torch.ones(2, 75), start=torch.ones(2, 75))
    model = SimpleNamespace(config=Options(**options), poses=poses)
    follow(protocol, model)
    return model


def test_our_protocol_changes_nothing():
    model = _followed(OURS)
    assert model.config == Options() and bool((model.poses.frame_correction == 1).all())


def test_the_paper_fits_given_poses_also_where_training_trusted_them():
    model = _followed(INSTANT_AVATAR, refine_poses=False)
    assert model.config == Options(Fitting(steps=20, rays=4096, lr=1e-5, reach=8), True, "white")
    assert not model.poses.frame_correction.any() and not model.poses.start.any()


def test_gaussians_are_measured_on_black_in_given_poses():
    model = _followed(GAUSSIANS)
    assert model.config == Options(Fitting(steps=0), False, "black")
    assert not model.poses.frame_correction.any() and not model.poses.start.any()


def test_no_quality_figure_of_a_paper_is_printed():
    for protocol in PROTOCOLS.values():
        assert all(claim.source and "PSNR" not in claim.what and "dB" not in claim.value for claim in protocol.claims)


# What differs ---------------------------------------------------------------------------------------------------------


def _papers_own_run():
    split = published_split("male-3-casual")
    return differing.RunFacts(
        subject="male-3-casual",
        method="instant-avatar-paper",
        steps=3420,
        train_frames=tuple(split["train"]),
        test_frames=tuple(split["test"]),
        size=(540, 540),
        body="smpl",
        poses_corrected=False,
        paper_poses=True,
    )


def test_the_papers_own_setting_differs_in_nothing():
    assert differing.differences(_papers_own_run(), INSTANT_AVATAR) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"test_frames": (1, 2)}, "frames: 2 for test, which are not the paper's 55"),
        ({"subject": "me"}, "frames: not a subject of the paper, so the run's own held-out frames"),
        ({"size": (90, 120)}, "pictures: 120x90; the paper's are 540x540"),
        ({"paper_poses": False}, "poses: the data's own"),
        ({"body": "standin"}, "body: standin; the paper's is SMPL"),
        ({"poses_corrected": True}, "poses: refined in training"),
        ({"method": "instant-avatar"}, "method: instant-avatar with this package's settings, 3420 steps"),
    ],
)
def test_each_difference_is_told(change, said):
    (line,) = differing.differences(dataclasses.replace(_papers_own_run(), **change), INSTANT_AVATAR)
    assert line.startswith(said)


def test_our_own_protocol_has_no_paper_to_differ_from():
    facts = dataclasses.replace(_papers_own_run(), body="standin")
    assert differing.differences(facts, OURS) == []


# The table ------------------------------------------------------------------------------------------------------------


def test_a_table_is_padded_to_one_width():
    expected = "| who | dB |\n".replace("dB", " dB") + "| --- | --: |\n| me  |   7 |\n| you | 123 |"
    assert markdown_table(["who", "dB"], [["me", "7"], ["you", "123"]]) == expected


def _figures(psnr):
    return {"images": 2, "given_psnr_white": psnr, "refined_psnr_white": psnr + 1, "given_psnr_black": psnr + 2}


def test_a_protocol_picks_its_poses_background_and_lpips():
    means = _figures(20.0) | {"refined_lpips_alex_white": 0.5, "refined_lpips_alex_unnormalised_white": 0.25}
    assert rows_of("s", {"novel_view": means}, INSTANT_AVATAR) == [
        Row("s", "novel_view", "given", "white", 2, {"psnr": 20.0}),
        Row("s", "novel_view", "refined", "white", 2, {"psnr": 21.0, "lpips": 0.25}),
    ]
    assert rows_of("s", {"novel_view": means}, GAUSSIANS) == [
        Row("s", "novel_view", "given", "black", 2, {"psnr": 22.0})
    ]


def test_means_count_each_subject_once_and_only_like_with_like():
    rows = [
        Row("a", "novel_view", "given", "white", 2, {"psnr": 20.0, "lpips": 0.1}),
        Row("b", "novel_view", "given", "white", 6, {"psnr": 30.0}),
        Row("b", "novel_pose", "given", "white", 6, {"psnr": 10.0}),
    ]
    assert mean_rows(rows) == [Row("mean of 2", "novel_view", "given", "white", 8, {"psnr": 25.0})]


def test_what_could_not_be_measured_has_a_footnote():
    figures = {"psnr": 20.0, "ssim": 0.9, "lpips": 0.1, "psnr_box": 15.0, "ssim_box": 0.8}
    text = show([Row("a", "novel_view", "given", "white", 2, figures)], {"st_lpips": "no package"})
    assert text.splitlines()[2].split() == (
        "| a | novel_view | given | white | 2 | 20.00 | 0.9000 | 0.1000 | n/a [1] | 15.00 | 0.8000 |".split()
    )
    assert text.endswith("\n\n[1] ST-LPIPS: no package.")


def _report(subject, psnr, differences=()):
    return RunReport(f"runs/{subject}", subject, {"novel_view": _figures(psnr)}, {}, 2.0, 9, list(differences))


def test_what_all_runs_differ_in_is_said_once():
    text = as_markdown([_report("a", 20.0, ["shared", "mine"]), _report("b", 22.0, ["shared"])], INSTANT_AVATAR)
    assert text.count("- shared\n") == 1 and "- a: mine\n" in text and "mean of 2" in text
    assert "is not printed, because no copy" in text and all(caveat in text for caveat in INSTANT_AVATAR.caveats)


def test_json_keeps_the_keys_of_a_single_run():
    one = as_json([_report("a", 20.0)], OURS)
    assert one["groups"] == {"novel_view": _figures(20.0)} and one["render_fps"] == 2.0 and one["step"] == 9
    two = as_json([_report("a", 20.0), _report("a", 22.0)], OURS)
    assert "groups" not in two and [run["subject"] for run in two["runs"]] == ["a", "a"]
    assert [row["subject"] for row in two["table"] if row["poses"] == "refined"] == ["a #1", "a #2", "mean of 2"]


def test_a_subject_that_comes_twice_is_numbered():
    assert labels([_report("a", 1.0), _report("b", 1.0), _report("a", 1.0)]) == ["a #1", "b", "a #2"]


# The command ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    """A finished, useless run's config.yml: 24 pixels, three held-out views, ten new poses."""
    from nerfstudio_avatars.demo import draw_demo_sequence
    from nerfstudio_avatars.methods import instant_avatar_cpu

    folder = tmp_path_factory.mktemp("evaluate")
    draw_demo_sequence(folder / "person", size=48)
    config = deepcopy(instant_avatar_cpu.config)
    config.data, config.output_dir, config.experiment_name, config.timestamp = folder / "person", folder, "x", "run"
    config.max_num_iterations, config.vis, config.steps_per_eval_image = 4, "tensorboard", 0
    config.logging.local_writer.enable = False
    config.pipeline.datamanager.data = config.data
    config.pipeline.datamanager.dataparser.test = "9:89:40"
    config.save_config()
    trainer = config.setup()
    trainer.setup()
    trainer.train()
    return config.get_base_dir() / "config.yml"


@pytest.mark.slow
def test_the_command_writes_figures_table_and_comparisons(tiny_run, tmp_path, capsys, monkeypatch):
    quick = dataclasses.replace(INSTANT_AVATAR, refinement=Refinement(steps=1, rays=64, lr=1e-5))
    monkeypatch.setitem(PROTOCOLS, quick.name, quick)
    Evaluate((tiny_run,), "instant-avatar-paper", tmp_path).run()
    figures = json.loads((tmp_path / "evaluation.json").read_text())
    text = (tmp_path / "evaluation.md").read_text()
    assert {(row["group"], row["poses"], row["background"]) for row in figures["table"]} == {
        (group, poses, "white") for group in ("novel_view", "novel_pose") for poses in ("given", "refined")
    }
    assert text in capsys.readouterr().out
    assert "- pictures: 24x24; the paper's are 540x540" in text
    (run,) = figures["runs"]
    assert run["frames"] == {"novel_view": [9, 49, 89], "novel_pose": list(range(120, 130))}
    names = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert names == {f"{group}-{frame:06d}.png" for group, frames in run["frames"].items() for frame in frames}
    assert Image.open(next((tmp_path / "pictures").iterdir())).size == (72, 24)


@pytest.mark.slow
def test_a_json_file_takes_the_figures_alone(tiny_run, tmp_path):
    Evaluate((tiny_run,), "3dgs-avatar", tmp_path / "e.json").run()
    groups = json.loads((tmp_path / "e.json").read_text())["groups"]
    assert set(groups) == {"novel_view", "novel_pose"} and "refined_psnr_black" not in groups["novel_view"]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_run_must_be_named():
    with pytest.raises(UserError, match="--load-config"):
        Evaluate(()).run()


def test_runs_of_the_other_method_are_sent_to_their_own_verb(volanim_config, tmp_path):
    with pytest.raises(UserError, match="a run of unsup-volanim-tiny.*evaluate-animation"):
        Evaluate((volanim_config,), output=tmp_path / "out").run()
    assert not (tmp_path / "out").exists()


def test_some_of_many_are_spread_evenly():
    assert evenly([3, 5, 8, 9, 12], 3) == {3, 8, 12}
    assert evenly([3, 5], 3) == evenly([3, 5], None) == {3, 5}
    assert evenly([7, 8], 1) == {7}
