"""What each part of the method contributes on somebody's data, measured by leaving it out."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nerfstudio_avatars.avatars.ablation.experiment import Setting, kept_result, run_variant
from nerfstudio_avatars.avatars.ablation.report import ablation_table, default_target
from nerfstudio_avatars.avatars.ablation.variants import FIXED_POSES, FULL, VARIANTS, Variant
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.files import check_folder, write_json, write_text


@dataclass
class Comparison:
    """Variants of `instant-avatar` to be trained and compared."""

    data: Path
    """Folder that holds the data of one person."""
    dataparser: Literal["people-snapshot", "surreal"] = "people-snapshot"
    """Dataparser that reads the data."""
    output: Path = Path("outputs/ablate")
    """Folder to write the runs, ablation.md and ablation.json to; variants that are finished there are kept."""
    steps: int = 1000
    """Number of steps to train each variant for."""
    seeds: tuple[int, ...] = (0,)
    """Random seeds to train each variant with; from two on, the table says which differences are within the noise."""
    only: tuple[str, ...] = ()
    """Names of the variants to train; by default all. `full` is the one that the others are compared with."""
    checkpoints: int = 5
    """Number of checkpoints that each training writes, to find the time it takes to reach a PSNR.
    More of them make this time more precise, but writing them counts as training time."""
    target_psnr: float | None = None
    """PSNR in decibels that the time to reach is reported for; by default 1 dB below what `full` ends with."""
    curve_pictures: int = 8
    """Number of held-out pictures to measure at each checkpoint."""
    pictures: int | None = None
    """Number of held-out pictures to measure in each group at the end, evenly spread; by default all.
    The Broyden variants take seconds per picture on a CPU."""
    method: Literal["auto", "instant-avatar", "instant-avatar-cpu"] = "auto"
    """Method to train: `auto` chooses instant-avatar on a GPU, and instant-avatar-cpu without one."""
    refine_poses: bool = True
    """Whether `full` refines the poses; turn this off for data whose poses are exact."""
    options: str = ""
    """Further ns-train options for all variants, as in --options="--pipeline.model.avatar.max-samples 128"."""
    dataparser_options: str = ""
    """Options to pass to the dataparser, as in --dataparser-options="--downscale-factor 4"."""
    warm_up: bool = True
    """Whether to train a few steps first, so that compiling kernels does not count for any variant."""
    force: bool = False
    """Whether to train variants again that are already finished."""

    def compare(self) -> tuple[str, Path]:
        """Trains the variants that are not finished, and writes the table.

        Returns:
            The table as Markdown, and the file that it was written to.

        Raises:
            UserError: unknown variants, values that make no sense, results of other settings, or a failed training.
        """
        setting = self._setting()
        chosen = choose(self.only, setting.method, self.refine_poses)
        check_folder(self.output)
        results = self._results(setting, chosen)
        target = default_target(results) if self.target_psnr is None else self.target_psnr
        seeds = ", ".join(map(str, self.seeds))
        said = f"{setting.method}, {setting.data.name}, {setting.steps} steps, seeds {seeds}"
        table, file = ablation_table(results, chosen, target, said), self.output / "ablation.md"
        write_text(file, table)
        report = {"setting": said, "target_psnr": target, "results": results}
        write_json(self.output / "ablation.json", report)
        return table, file

    def _setting(self) -> Setting:
        for name, least in (("steps", 2), ("checkpoints", 1), ("curve_pictures", 1)):
            if getattr(self, name) < least:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: expected at least {least}.")
        if self.pictures is not None and self.pictures < 1:
            raise UserError(f"--pictures {self.pictures}: expected at least 1.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"--seeds {self.seeds}: expected whole numbers that differ.")
        if not self.data.is_dir():
            raise UserError(
                f"{self.data}: no such folder. Expected one person's data; `ns-avatar demo-data` draws some."
            )
        import torch

        from nerfstudio_avatars.avatars.run import chosen_method

        return Setting(
            method=chosen_method(self.method, torch.cuda.is_available()),
            data=self.data,
            dataparser=self.dataparser,
            steps=self.steps,
            checkpoints=self.checkpoints,
            curve_pictures=self.curve_pictures,
            pictures=self.pictures,
            options=(*(() if self.refine_poses else FIXED_POSES), *shlex.split(self.options)),
            dataparser_options=tuple(shlex.split(self.dataparser_options)),
        )

    def _results(self, setting: Setting, chosen: tuple[Variant, ...]) -> list[dict[str, Any]]:
        places = {
            (variant, seed): self.output / variant.name / f"seed-{seed}" for seed in self.seeds for variant in chosen
        }
        # All kept results are read first, so that one with other settings is reported before hours are spent.
        kept = {
            key: None if self.force else kept_result(folder / "result.json", setting, *key)
            for key, folder in places.items()
        }
        if self.warm_up and any(result is None for result in kept.values()):
            self._warm_up(setting)
        results = []
        for (variant, seed), folder in places.items():
            result = kept[variant, seed]
            if result is None:
                result = run_variant(setting, variant, seed, folder)
                print(f"Trained {variant.name}, seed {seed}, for {result['train_seconds']:.1f} s: {folder}")
            results.append(result)
        return results

    def _warm_up(self, setting: Setting) -> None:
        from nerfstudio_avatars.avatars.nerfstudio_commands import WARM_UP_STEPS, train

        folder = self.output / "warm-up"
        steps = min(WARM_UP_STEPS, setting.steps)
        options = setting.command_line(VARIANTS[0], self.seeds[0])
        log = folder / "train.log"
        train(setting.method, setting.data, folder, "warm-up", steps, options, log, "Compiling kernels")


def choose(only: tuple[str, ...], method: str, refine_poses: bool = True) -> tuple[Variant, ...]:
    """The variants to train, without those that would not change the method.

    Raises:
        UserError: if a name is unknown, or nothing is left.
    """
    names = {variant.name for variant in VARIANTS}
    unknown = [name for name in only if name not in names]
    if unknown:
        raise UserError(
            f"--only {' '.join(unknown)}: there is no such variant. Expected some of {', '.join(sorted(names))}."
        )
    wanted = tuple(variant for variant in VARIANTS if not only or variant.name in only)
    poses = "poses-refined" if refine_poses else "poses-fixed"
    chosen = tuple(variant for variant in wanted if method not in variant.already and variant.name != poses)
    if not chosen:
        raise UserError(f"--only {' '.join(only)}: {method} already works like this. Add another variant, or `{FULL}`.")
    return chosen
