"""What the page says of a training that runs, and the button that lets it rest."""

from __future__ import annotations

from typing import Any

import viser


class TrainingPanel:
    """Adds its widgets where the panel stands.

    Args:
        server: the page.
        trainer: nerfstudio's.
    """

    def __init__(self, server: viser.ViserServer, trainer: Any) -> None:
        self._trainer = trainer
        self._folder = server.gui.add_folder("Training")
        with self._folder:
            self._step = server.gui.add_markdown("Step 0")
            self._pause = server.gui.add_button("Pause training", icon=viser.Icon.PLAYER_PAUSE)
            self._resume = server.gui.add_button("Resume training", icon=viser.Icon.PLAYER_PLAY, visible=False)
        self._pause.on_click(lambda _: self._set("paused"))
        self._resume.on_click(lambda _: self._set("training"))

    def tell(self, step: int) -> None:
        """Says how far it is.

        Args:
            step: the last one done.
        """
        self._step.content = f"Step {step + 1} of {self._trainer.config.max_num_iterations}"

    def remove(self) -> None:
        """The training is over."""
        self._folder.remove()

    def _set(self, state: str) -> None:
        if self._trainer.training_state != "completed":
            self._trainer.training_state = state
            self._pause.visible, self._resume.visible = state == "training", state == "paused"
