"""The studio in the place of nerfstudio's viewer, in `ns-train` and in `ns-viewer`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.viewer.viewer import Viewer

from nerfstudio_avatars.studio.origin import Origin
from nerfstudio_avatars.studio.page import Page
from nerfstudio_avatars.studio.server import address_of, open_server
from nerfstudio_avatars.studio.shows import show_of


class StudioViewer(Viewer):
    """The studio in the place of nerfstudio's viewer, with what trainer and commands ask of one."""

    def __init__(
        self,
        config: ViewerConfig,
        log_filename: Path,
        datapath: Path,
        pipeline: Any,
        trainer: Any = None,
        train_lock: AbstractContextManager | None = None,
        share: bool = False,
    ) -> None:
        self.pipeline = pipeline
        model = getattr(pipeline.model, "module", pipeline.model)
        show = show_of(model, train_lock)
        # A finished run may be opened without its data.
        trained_on = pipeline.datamanager.train_dataset
        pictures = trained_on.metadata.get("pictures") if trained_on is not None else None
        origin = Origin(log_filename.parent / "config.yml", pictures=pictures)
        self.viser_server = open_server(config.websocket_host, config.websocket_port or config.websocket_port_default)
        self.page = Page(self.viser_server, show, origin, config.image_format, trainer)
        address = address_of(self.viser_server)
        tunnel = self.viser_server.request_share_url() if share else None
        self.viewer_info = [f"Viewer: {address}" + (f" or {tunnel}" if tunnel else "")]

    def init_scene(
        self, train_dataset: Any, train_state: Literal["training", "paused", "completed"], eval_dataset: Any = None
    ) -> None:
        """Does nothing, because the person is the scene."""

    def update_scene(self, step: int, num_rays_per_batch: int | None = None) -> None:
        """Called between two training steps, and once by `ns-viewer`."""
        self.page.step_done(step)

    def training_complete(self) -> None:
        """Called after the last step."""
        self.page.training_is_over()
