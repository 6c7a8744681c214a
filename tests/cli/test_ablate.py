"""The ablation: its variants, what is kept, times and noise in closed form, and the command on a tiny sequence."""

import dataclasses
import json
import math
from copy import deepcopy
from pathlib import Path

import pytest
import tyro

from nerfstudio_avatars.avatars.ablation import experiment, measured_training
from nerfstudio_avatars.avatars.ablation.comparison import choose
from nerfstudio_avatars.avatars.ablation.experiment import Setting, kept_result, shown_figures
from nerfstudio_avatars.avatars.ablation.learning_curve import CurvePoint, seconds_to
from nerfstudio_avatars.avatars.ablation.report import ablation_table, default_target, noise
from nerfstudio_avatars.avatars.ablation.variants import VARIANTS, Variant
from nerfstudio_avatars.avatars.nerfstudio_commands import TrainedRun
from nerfstudio_avatars.cli.ablate import Ablate
from nerfstudio_avatars.errors import UserError

FULL, OTHER = VARIANTS[0], VARIANTS[3]


@pytest.fixture
def setting(tmp_path):
    return Setting("instant-avatar-cpu", tmp_path, "people-snapshot", steps=30, checkpoints=4, curve_pictures=2)


# Variants -------------------------------------------------------------------------------------------------------------


def test_names_are_unique_and_the_first_is_the_full_method():
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS)
    assert FULL.name == "full" and FULL.options == ()


def _flat(config, path=""):
    if not dataclasses.is_dataclass(config):
        return {path: config}
    fields = (field.name for field in dataclasses.fields(config))
    return {key: value for name in fields for key, value in _flat(getattr(config, name), f"{path}.{name}").items()}


def test_every_variant_changes_what_it_says_and_nothing_else():
    from nerfstudio_avatars.instant_avatar.model import InstantAvatarModelConfig
    from nerfstudio_avatars.methods import instant_avatar_cpu

    model = instant_avatar_cpu.config.pipeline.model
    before = _flat(model)
    for variant in VARIANTS:
        arguments = [text.replace("--pipeline.model.", "--") for text in variant.options]
        as_nerfstudio = (tyro.conf.FlagConversionOff,)
        config = tyro.cli(InstantAvatarModelConfig, default=deepcopy(model), args=arguments, config=as_nerfstudio)
        after = _flat(config)
        named = {text.split(".")[-1].replace("-", "_") for text in variant.options if text.startswith("--")}
        changed = {key.split(".")[-1] for key in before if before[key] != after[key]}
        already = "instant-avatar-cpu" in variant.already or variant.name == "poses-refined"
        assert changed == (set() if already else named), variant.name


def test_what_the_method_already_is_is_left_out():
    names = {variant.name for variant in choose((), "instant-avatar-cpu")}
    assert "cells-30mm" not in names and "cells-20mm" in names and len(names) == len(VARIANTS) - 2
    assert {variant.name for variant in choose((), "instant-avatar-cpu", refine_poses=False)} ^ names == {
        "poses-fixed",
        "poses-refined",
    }
    assert [variant.name for variant in choose(("cells-15mm", "full"), "instant-avatar")] == ["full", "cells-15mm"]


def test_unknown_and_empty_choices_are_refused():
    with pytest.raises(UserError, match="--only nothing: there is no such variant. Expected some of .*full"):
        choose(("nothing",), "instant-avatar")
    with pytest.raises(UserError, match="already works like this"):
        choose(("cells-20mm",), "instant-avatar")


def test_the_command_line_ends_with_the_dataparser(setting):
    surreal = dataclasses.replace(setting, dataparser="surreal", dataparser_options=("--clip", "c1"), options=("--a",))
    line = surreal.command_line(OTHER, seed=3)
    assert line[-6:] == ["--a", "--pipeline.model.regulariser-weight", "0", "surreal", "--clip", "c1"]
    assert line[line.index("--machine.seed") + 1] == "3" and line[line.index("--steps-per-save") + 1] == "8"


@pytest.mark.parametrize("wrong", [{"steps": 1}, {"checkpoints": 0}, {"seeds": ()}, {"seeds": (1, 1)}, {"data": None}])
def test_impossible_requests_are_refused(wrong, tmp_path):
    options = {"data": tmp_path, "output": tmp_path / "out"} | wrong
    if options["data"] is None:
        options["data"] = tmp_path / "nowhere"
    with pytest.raises(UserError, match="xpected"):
        Ablate(**options).run()


# What is kept ---------------------------------------------------------------------------------------------------------


def test_results_of_another_setting_are_refused(setting, tmp_path):
    file = tmp_path / "result.json"
    assert kept_result(file, setting, FULL, 0) is None
    file.write_text(json.dumps({"setting": setting.key(FULL, 0), "x": 1}))
    assert kept_result(file, setting, FULL, 0)["x"] == 1
    with pytest.raises(UserError, match="steps 30, now 40"):
        kept_result(file, dataclasses.replace(setting, steps=40), FULL, 0)
    file.write_text("{")
    with pytest.raises(UserError, match="result.json: not a result written by `ns-avatar ablate`"):
        kept_result(file, setting, FULL, 0)


# Times, noise, table --------------------------------------------------------------------------------------------------

CURVE = [CurvePoint(10, 1.0, 20.0), CurvePoint(20, 3.0, 24.0), CurvePoint(30, 5.0, 23.0)]


@pytest.mark.parametrize(("target", "seconds"), [(19.0, 1.0), (20.0, 1.0), (21.0, 1.5), (24.0, 3.0), (24.1, None)])
def test_times_are_straight_between_checkpoints(target, seconds):
    assert seconds_to(target, CURVE) == seconds


def test_noise_is_students_interval_over_the_pooled_spread():
    # Squares about the means: 0.5 and 4.5, two degrees of freedom, s^2 = 2.5; t(0.975, 2) = 4.30265.
    expected = 4.30265 * math.sqrt(2.5 * (1 / 2 + 1 / 2))
    assert noise([[1.0, 2.0], [5.0, 8.0], [], [3.0]], 2, 2) == pytest.approx(expected, rel=1e-5)
    assert noise([[1.0], [5.0]], 1, 1) is None


def _result(variant, seed, psnr, speed=10.0):
    means = {"images": 2, "given_psnr_white": psnr - 9, "neighbours_psnr_white": psnr, "neighbours_ssim_white": 0.9}
    curve = [dataclasses.asdict(CurvePoint(10, 2.0, psnr - 2)), dataclasses.asdict(CurvePoint(20, 4.0, psnr))]
    return {
        "variant": variant.name,
        "seed": seed,
        "groups": {"novel_view": means},
        "curve": curve,
        "steps_per_second": speed,
        "render_fps": 2.0,
        "peak_memory_mib": 1000.0,
        "peak_gpu_memory_mib": None,
    }


def test_figures_are_of_the_poses_that_ns_eval_shows():
    assert shown_figures(_result(FULL, 0, 30.0)["groups"]["novel_view"]) == {"psnr": 30.0, "ssim": 0.9}
    assert shown_figures({"given_psnr_white": 7.0}) == {"psnr": 7.0}


def test_the_target_lies_below_what_the_full_method_ends_with():
    assert default_target([_result(FULL, 0, 30.0), _result(FULL, 1, 31.0), _result(OTHER, 0, 40.0)]) == 29.5
    assert default_target([_result(OTHER, 0, 40.0)]) == 39.0


def _lines(results, target=29.0):
    text = ablation_table(results, VARIANTS, target, "x")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    return text, cells[0], cells[2:]


def test_one_seed_gives_differences_and_says_that_noise_is_unknown():
    text, header, rows = _lines([_result(FULL, 0, 30.0), _result(OTHER, 0, 28.0, speed=12.5)])
    titles = ["novel_view PSNR", "novel_view SSIM", "steps/s", "s to 29.0 dB", "pictures/s", "peak RAM, MiB"]
    assert header == ["variant", "seeds", *titles]
    assert rows[0] == ["full", "1", "30.00", "0.9000", "10.0", "3.0", "2.00", "1000"]
    other = ["28.00 (-2.00)", "0.9000 (+0.0000)", "12.5 (+2.5)", "-", "2.00 (+0.00)", "1000 (+0)"]
    assert rows[1] == [OTHER.name, "1", *other]
    assert "With one seed per variant" in text and f"- `{OTHER.name}`: {OTHER.change}" in text


def test_differences_below_the_noise_are_marked():
    far = Variant("paper-grid", "")
    psnrs = {FULL: (30.0, 30.2), OTHER: (29.9, 30.1), far: (20.0, 20.2)}
    results = [_result(variant, seed, psnr) for variant, both in psnrs.items() for seed, psnr in enumerate(both)]
    text, _, rows = _lines(results)
    assert {row[0]: row[2] for row in rows} == {
        "full": "30.10",
        OTHER.name: "30.00 (-0.10~)",
        "paper-grid": "20.10 (-10.00)",
    }
    assert "below the noise between seeds" in text


# Training -------------------------------------------------------------------------------------------------------------


def _train(**_):
    """Stands for a training that takes 64 MiB in a child process."""
    import subprocess
    import sys

    subprocess.run([sys.executable, "-c", "x = bytearray(64 << 20)"], check=True)
    return TrainedRun(Path("config.yml"), 1, 1.0, 1.0)


def test_memory_is_that_of_the_training_process(monkeypatch):
    monkeypatch.setattr(measured_training, "train", _train)
    trained, peak = measured_training._train({})
    assert trained.steps == 1 and peak > 64


def test_gpu_memory_is_read_from_the_log(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    assert measured_training.peak_gpu_memory(tmp_path) is None
    with SummaryWriter(str(tmp_path)) as log:
        for step, value in enumerate((5.0, 9.0, 7.0)):
            log.add_scalar(measured_training.GPU_MEMORY, value, step)
    assert measured_training.peak_gpu_memory(tmp_path) == 9.0


@pytest.mark.slow
def test_the_command_trains_measures_keeps_and_goes_on(tmp_path, capsys, monkeypatch):
    from nerfstudio_avatars.demo import draw_demo_sequence

    draw_demo_sequence(tmp_path / "person", size=48)
    ablate = Ablate(
        tmp_path / "person",
        output=tmp_path / "out",
        steps=6,
        only=("poses-fixed",),
        checkpoints=2,
        curve_pictures=2,
        method="instant-avatar-cpu",
        options="--logging.local-writer.enable False",
        dataparser_options="--test 9:89:40",
        warm_up=False,
    )
    ablate.run()
    (result,) = json.loads((tmp_path / "out" / "ablation.json").read_text())["results"]
    assert [point["steps"] for point in result["curve"]] == [4, 6] and result["peak_memory_mib"] > 100
    assert result["curve"][0]["seconds"] < result["curve"][1]["seconds"]
    assert set(result["groups"]) == {"novel_view", "novel_pose"} and result["peak_gpu_memory_mib"] is None
    assert len(list((tmp_path / "out").rglob("*.ckpt"))) == 1
    first = (tmp_path / "out" / "ablation.md").read_text()
    assert first in capsys.readouterr().out

    monkeypatch.setattr(experiment, "run_variant", None)  # Nothing is trained again.
    monkeypatch.setattr("nerfstudio_avatars.avatars.ablation.comparison.run_variant", None)
    ablate.run()
    assert (tmp_path / "out" / "ablation.md").read_text() == first
