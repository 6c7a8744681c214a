"""Where what a page shows comes from: files beside it, and the data that it was learnt from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerfstudio_avatars.avatars.run import LoadedRun, run_of, training_pictures
from nerfstudio_avatars.export import PORTABLE
from nerfstudio_avatars.instant_avatar.data.person_scene import SplitPictures


@dataclass(frozen=True)
class Origin:
    """A run, finished or not, or a portable avatar."""

    config: Path
    """The run's config.yml, or the file of a portable avatar. What is saved goes into its folder."""
    opened: LoadedRun | None = None
    """The run, if it has been opened as one."""
    pictures: SplitPictures | None = None
    """The training pictures, if they have been opened."""
    data: Path | None = None
    """Where the training data are; by default, where the run says."""

    @property
    def folder(self) -> Path:
        """Where poses and camera paths are saved."""
        return self.config.parent

    @property
    def name(self) -> str:
        """The name of the experiment, or of the portable avatar."""
        return self.config.stem if self.config.suffix.lower() == PORTABLE else self.config.parents[2].name

    def run(self, model: Any) -> LoadedRun:
        """The run.

        Args:
            model: that of the run.
        """
        return self.opened or run_of(model, self.config)

    def training_pictures(self, model: Any) -> SplitPictures:
        """The training pictures.

        Args:
            model: that of the run.

        Raises:
            UserError: the data are not there, or other ones.
        """
        return self.pictures or training_pictures(self.run(model), self.data)
