"""`ns-avatar demo-volanim`: draws toy heads, learns to move them from their videos alone, shows and measures it."""

from __future__ import annotations

import os
import platform
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nerfstudio_avatars.cli.errors import UserError

if TYPE_CHECKING:
    from nerfstudio.pipelines.base_pipeline import Pipeline
    from torch import Tensor

    from nerfstudio_avatars.cli.nerfstudio_commands import TrainedRun

METHOD = "unsup-volanim-tiny"


@dataclass
class DemoVolanim:
    """Trains the tiny `unsup-volanim` on toy heads whose poses and depth are known, and writes a page and a report."""

    output: Path = Path("outputs/demo-volanim")
    """Folder for everything."""
    steps: int = 2400
    """Length of the training."""
    floor_steps: int = 400
    """Steps of the run that regresses poses directly, for comparison; 0: none."""
    ceiling_steps: int = 600
    """Steps of the run that is given the true poses, for comparison; 0: none."""
    identities: int = 12
    """Heads to learn from."""
    seed: int = 0
    """Of the training."""

    def run(self) -> None:
        """Does it all; prints the page's path and the figures last."""
        if self.steps < 10:  # noqa: PLR2004
            raise UserError(f"--steps {self.steps}: expected at least 10.")
        from nerfstudio_avatars.cli.json_file import write_json
        from nerfstudio_avatars.cli.nerfstudio_commands import train
        from nerfstudio_avatars.cli.volanim_page import write_page

        start = time.perf_counter()
        data = self._draw()
        folder, logs = self.output / "runs", self.output / "logs"
        shutil.rmtree(folder, ignore_errors=True)
        options = ["--steps-per-eval-image", "0", "--pipeline.seed", str(self.seed), "--machine.seed", str(self.seed)]
        options += ["--steps-per-save", str(self.steps)]
        main = train(METHOD, data, folder, "heads", self.steps, options, logs / "train.log", "Learning from videos")
        print(f"Trained {METHOD} for {main.train_seconds:.0f} s, {self.steps} steps: {main.config}")
        # Neither training nor drawing keeps all cores busy: the second training runs beside the first one's figures.
        with ThreadPoolExecutor(1) as beside:
            direct = [*options, "--pipeline.model.network.pose", "direct"]
            direct_log = logs / "direct.log"
            floor = self.floor_steps and beside.submit(
                train, METHOD, data, folder, "direct", self.floor_steps, direct, direct_log, "Without PnP"
            )
            report = self._measured(main, data)
            if floor:
                report["direct_regression"] = self._measured(floor.result(), data)
        if self.ceiling_steps:
            report["true_poses"] = self._ceiling(main.config, data)
        report["demo_seconds"] = time.perf_counter() - start
        write_json(self.output / "report.json", report)
        page = write_page(self.output, report)
        print(f"Source, driver, result, new views, depth and parts: {page}")
        print(" ".join(f"{key} {value:.4g}" for key, value in report.items() if isinstance(value, float)))

    def _draw(self) -> Path:
        from nerfstudio_avatars.data.demo.head_clips import draw_head_clips

        data = self.output / "data"
        draw_head_clips(data, identities=self.identities)
        print(f"Drew {self.identities} toy heads, and two more that are never trained on: {data}")
        return data

    def _measured(self, trained: TrainedRun, data: Path) -> dict:
        """Figures on held-out frames, and for the main run the pictures."""
        from nerfstudio_avatars.cli.run_config import load_run
        from nerfstudio_avatars.cli.volanim_figures import HeadExam
        from nerfstudio_avatars.cli.volanim_page import draw_sheet, drive_video, inversion_sheet

        run = load_run(trained.config)
        exam = HeadExam(run.pipeline.model, data, held_out_rows(run.pipeline))
        figures = exam.figures()
        if trained.config.parents[2].name == "heads":
            draw_sheet(exam, self.output / "heads.png")
            drive_video(exam, self.output / "driven.mp4")
            figures |= inversion_sheet(run.pipeline, data, self.output / "inverted.png")
        return figures | {
            "steps": trained.steps,
            "train_seconds": trained.train_seconds,
            "device": f"{run.pipeline.device} ({platform.machine()}, {os.cpu_count()} cores)",
            "method": METHOD,
        }

    def _ceiling(self, config: Path, data: Path) -> dict:
        """The same network from the start, given the true pose of every frame."""
        from nerfstudio_avatars.cli.run_config import load_run
        from nerfstudio_avatars.cli.volanim_figures import HeadExam

        pipeline = load_run(config).pipeline
        start = time.perf_counter()
        train_on_true_poses(pipeline, data, self.ceiling_steps)
        seconds = time.perf_counter() - start
        exam = HeadExam(pipeline.model, data, held_out_rows(pipeline), true_poses=True)
        return exam.figures() | {"steps": self.ceiling_steps, "train_seconds": seconds}


def held_out_rows(pipeline: Pipeline) -> Tensor:
    """Clip and frame numbers of the frames evaluated on."""
    assert pipeline.datamanager.eval_dataset is not None
    return pipeline.datamanager.eval_dataset.metadata["frame_ids"]


def train_on_true_poses(pipeline: Pipeline, data: Path, steps: int) -> None:
    """Trains a pipeline's network anew with the poses that the toys were drawn in: what perfect poses would give."""
    import torch

    from nerfstudio_avatars.cli.volanim_figures import true_pose
    from nerfstudio_avatars.data.demo.head_clips import read_truth
    from nerfstudio_avatars.models.animation_training import AnimationAids, AnimationBatch, animation_step
    from nerfstudio_avatars.models.volumetric_animation import VolumetricAnimation

    torch.manual_seed(0)
    model = pipeline.model
    metadata = pipeline.datamanager.train_dataset.metadata  # type: ignore[union-attr]
    clips = metadata["clips"]
    truth = {
        number: read_truth(data / "truth" / "train" / f"{clips[number].name}.npz") for number in clips.of_split("train")
    }
    network = model.network = VolumetricAnimation(model.config.network, len(metadata["identities"])).to(model.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3, betas=(0.5, 0.999))
    aids = AnimationAids(detect=False, patch=model.config.schedule.patch)
    model.forget_pictures()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 3e-3 * 0.1 ** max(0.0, 2.5 * step / steps - 1.5)
        _, batch = pipeline.datamanager.next_train(step)
        poses = [true_pose(truth[int(c)], [int(f)], 1) for c, f in zip(batch["clip"], batch["frame"], strict=True)]
        joined = type(poses[0])(torch.cat([p.rotation for p in poses]), torch.cat([p.translation for p in poses]))
        joined = joined.to(model.device)
        frames = batch["image"].permute(0, 3, 1, 2), batch["mask"].permute(0, 3, 1, 2)
        identities = torch.unique_consecutive(batch["identity"])
        inputs = AnimationBatch(*frames, identities, torch.zeros(len(poses), dtype=torch.long, device=model.device))
        losses = animation_step(network, inputs, model.config.losses, aids, true_poses=joined).losses
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
