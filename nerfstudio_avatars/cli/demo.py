"""`ns-avatar demo`: from a drawn video to a moving person."""

from __future__ import annotations

from dataclasses import dataclass

from nerfstudio_avatars.avatars.person_demo import GROUPS, PersonDemo


@dataclass
class Demo(PersonDemo):
    """Draws a video of a person, trains an avatar on it, and writes a page with videos and figures."""

    def run(self) -> None:
        """Runs all steps, and prints the path of the page and the figures last."""
        page, report = self.make()
        print(f"The avatar, its videos and its held-out comparisons: {page}")
        for group in GROUPS:
            figures = " ".join(
                f"{key} {report[f'{group}_{key}']:.4g}" for key in ("psnr", "ssim", "box_psnr", "box_ssim")
            )
            print(f"{group} (on white): {figures}")
        speeds = " ".join(f"{key} {report[key]:.4g}" for key in ("train_seconds", "render_fps"))
        print(f"{speeds} device {report['device']}")
