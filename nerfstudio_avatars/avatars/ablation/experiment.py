"""Training a variant with one seed, measuring it, and storing the result."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nerfstudio_avatars.avatars.ablation.variants import Variant
from nerfstudio_avatars.avatars.nerfstudio_commands import TrainedRun
from nerfstudio_avatars.avatars.protocols import Poses
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.files import write_text

_SHOWN: tuple[Poses, ...] = ("neighbours", "given")
"""Held-out poses in order of preference: as shown by ns-eval, without using test pixels."""


@dataclass(frozen=True)
class Setting:
    """The settings that all variants share; results with other settings are never mixed in."""

    method: str
    data: Path
    dataparser: str
    steps: int
    checkpoints: int
    curve_pictures: int
    pictures: int | None = None
    options: tuple[str, ...] = ()
    """Options of ns-train for every variant."""
    dataparser_options: tuple[str, ...] = ()

    @property
    def steps_per_save(self) -> int:
        """Steps between checkpoints."""
        return max(-(-self.steps // self.checkpoints), 1)

    def command_line(self, variant: Variant, seed: int) -> list[str]:
        """The options of ns-train after the method, the data and the folders. The dataparser's come last."""
        fixed = ["--steps-per-eval-image", "0", "--steps-per-eval-all-images", "0", "--machine.seed", str(seed)]
        saving = ["--steps-per-save", str(self.steps_per_save), "--save-only-latest-checkpoint", "False"]
        parser = [self.dataparser, *self.dataparser_options]
        return [*fixed, *saving, *self.options, *variant.options, *parser]

    def key(self, variant: Variant, seed: int) -> dict[str, Any]:
        """The settings that determine a result."""
        common = {"method": self.method, "data": self.data.resolve().as_posix(), "steps": self.steps}
        measured = {"curve_pictures": self.curve_pictures, "pictures": self.pictures}
        return common | measured | {"command_line": self.command_line(variant, seed)}


def kept_result(file: Path, setting: Setting, variant: Variant, seed: int) -> dict[str, Any] | None:
    """An earlier result, if there is one.

    Raises:
        UserError: if it belongs to another setting.
    """
    if not file.is_file():
        return None
    try:
        result = json.loads(file.read_text("utf8"))
        found = {name: result["setting"][name] for name in setting.key(variant, seed)}
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise UserError(
            f"{file}: not a result written by `ns-avatar ablate` ({error}). Delete it, or use --force."
        ) from error
    expected = setting.key(variant, seed)
    other = [f"{name} {found[name]!r}, now {value!r}" for name, value in expected.items() if found[name] != value]
    if other:
        raise UserError(
            f"{file}: a result with other settings: {'; '.join(other)}. "
            "Choose another --output, or use --force to train again."
        )
    return result


def run_variant(setting: Setting, variant: Variant, seed: int, folder: Path) -> dict[str, Any]:
    """Trains, measures, and writes `result.json` last and in one step, so that an existing result is complete.

    Args:
        setting: shared by all variants.
        variant: the change to make.
        seed: the seed of the training.
        folder: for this variant and seed; earlier runs in it are deleted.
    """
    from nerfstudio_avatars.avatars.ablation.measured_training import peak_gpu_memory, train_measured

    shutil.rmtree(folder, ignore_errors=True)
    trained, memory = train_measured(
        method=setting.method,
        data=setting.data,
        runs=folder / "runs",
        name=variant.name,
        steps=setting.steps,
        options=setting.command_line(variant, seed),
        log=folder / "train.log",
        title=f"{variant.name}, seed {seed}",
    )
    result = {"variant": variant.name, "seed": seed, "setting": setting.key(variant, seed)}
    result |= {"peak_memory_mib": memory, "peak_gpu_memory_mib": peak_gpu_memory(trained.config.parent)}
    result |= {"train_seconds": trained.train_seconds, "steps_per_second": setting.steps / trained.train_seconds}
    result |= _figures(trained, setting)
    write_text(folder / "result.json", json.dumps(result, indent=2) + "\n")
    return result


def _figures(trained: TrainedRun, setting: Setting) -> dict[str, Any]:
    from nerfstudio_avatars.avatars.ablation.learning_curve import learning_curve
    from nerfstudio_avatars.avatars.measure import follow, measure
    from nerfstudio_avatars.avatars.protocols import Protocol
    from nerfstudio_avatars.avatars.run import load_run

    run = load_run(trained.config, need_data=True)
    follow(Protocol("ours", "ablation", ("white", "black"), _SHOWN), run.model)
    began = (trained.config.parent / "dataparser_transforms.json").stat().st_mtime
    curve = learning_curve(run, began, setting.curve_pictures)
    measured = measure(run, most=setting.pictures)
    for point in run.checkpoint.parent.glob("step-*.ckpt"):
        if point != run.checkpoint:
            point.unlink()  # Measured; only the last is of further use.
    groups = {
        group: {key: value for key, value in means.items() if not key.startswith("refined_")}
        for group, means in measured.groups.items()
    }
    return {"curve": [asdict(point) for point in curve], "groups": groups, "render_fps": measured.render_fps}


def shown_figures(means: dict[str, float], names: tuple[str, ...] = ("psnr", "ssim")) -> dict[str, float]:
    """The means of a group on white, in the poses that ns-eval shows."""
    poses = next((poses for poses in _SHOWN if f"{poses}_{names[0]}_white" in means), _SHOWN[-1])
    return {name: means[f"{poses}_{name}_white"] for name in names if f"{poses}_{name}_white" in means}
