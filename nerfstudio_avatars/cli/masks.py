"""`ns-avatar masks`: separates people from the background in clips that come without masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.progress import progress_bar


@dataclass
class Masks:
    """Writes a mask of the person for every frame in a folder of clips, where `unsup-volanim` looks for it.

    Made for clips that show one person each.
    """

    data: Annotated[Path, tyro.conf.Positional]
    """Folder of the data set, as given to `ns-train --data`."""

    def run(self) -> None:
        """Writes the masks, with a progress bar."""
        from nerfstudio_avatars.process.person_masks import write_person_masks

        if not self.data.is_dir():
            found = "is a file" if self.data.exists() else "no such folder"
            raise UserError(
                f"{self.data}: {found}. Expected the folder of a data set, as given to ns-train --data: "
                "ns-avatar masks FOLDER."
            )

        with progress_bar("Clips") as bar:
            try:
                count = write_person_masks(self.data, bar)
            except ModuleNotFoundError as error:
                raise UserError(str(error)) from error
        print(f"Wrote {count} masks: {self.data / 'masks'}")
