"""`ns-avatar create`: from your video to an avatar, in one command."""

from __future__ import annotations

from dataclasses import dataclass

from nerfstudio_avatars.avatars.creation import Creation


@dataclass
class Create(Creation):
    """Makes an avatar of the person in your video, with files to keep and a page that shows it.

    Film one person who turns around slowly before a camera that stands still. The video is processed, an avatar is
    trained on it, measured, and written as .avatar, .glb and .html. A video that cannot work is refused.
    """

    def run(self) -> None:
        """Runs all stages that are not done yet, and prints where the results are."""
        page, account = self.create()
        main = account["evaluation"]["found"]["main"]
        psnr = next(value for key, value in main.items() if key.endswith("_psnr") and "box" not in key)
        name = self.folder / self.folder.absolute().name
        print(f"Held-out pictures: {psnr:.2f} dB. Files: {name}.avatar, {name}.glb, {name}.html")
        print(f"The avatar, its videos and its held-out comparisons: {page}")
