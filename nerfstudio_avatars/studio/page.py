"""The studio's web page: a server, its tabs, and the loop that draws for it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import viser
import viser.transforms as vtf

from nerfstudio_avatars.studio.camera_path_panel import add_camera_paths
from nerfstudio_avatars.studio.handles import SCALE
from nerfstudio_avatars.studio.kind_show import KindShow
from nerfstudio_avatars.studio.kind_tabs import add_kind_tabs
from nerfstudio_avatars.studio.look_panel import LookPanel
from nerfstudio_avatars.studio.motion_panel import MotionPanel
from nerfstudio_avatars.studio.origin import Origin
from nerfstudio_avatars.studio.person_show import PersonShow
from nerfstudio_avatars.studio.pose_panel import PosePanel
from nerfstudio_avatars.studio.render_loop import RenderLoop
from nerfstudio_avatars.studio.scene_overlay import SceneOverlay
from nerfstudio_avatars.studio.sight import Sight
from nerfstudio_avatars.studio.take_panel import TakePanel
from nerfstudio_avatars.studio.training_panel import TrainingPanel

_SHARP_QUALITY, _MOVING_QUALITY = 92, 80
"""JPEG qualities of pictures that stay, and of those that are soon followed by another."""
_WAITING = (
    "The first picture comes in a moment. After an installation, kernels are compiled first, which takes a minute."
)
_DIGITS = 6
"""Decimals of a page's camera, in metres and radians."""
_REFRESH_SECONDS = 0.25
"""Time between two updates of the frame's slider while a motion plays, in seconds."""


class Page:
    """A web page that shows a model and its controls.

    Args:
        server: from `open_server`; pages may have opened already.
        show: what is drawn.
        origin: where it comes from.
        picture_format: of pictures that are sent.
        trainer: if a training runs.
    """

    def __init__(
        self,
        server: viser.ViserServer,
        show: PersonShow | KindShow,
        origin: Origin,
        picture_format: Literal["jpeg", "png"] = "jpeg",
        trainer: Any = None,
    ) -> None:
        self.server, self.show, self._origin, self._picture_format = server, show, origin, picture_format
        self.server.gui.set_panel_label(origin.name)
        self.loop = RenderLoop(show, self._send)
        self._set_training(trainer is not None)
        self._refreshed = 0.0
        self._path_tab: Any = SimpleNamespace(preview_render=False)
        self._refreshed_too: list[Callable[[], None]] = []
        self._with_each_picture: list[Callable[[], None]] = []
        self._overlay: SceneOverlay | None = None
        self._waiting: viser.GuiMarkdownHandle | None = self.server.gui.add_markdown(_WAITING)
        self._training = TrainingPanel(self.server, trainer) if trainer is not None else None
        # Pages that are open lay out the panel once, not for each of its parts.
        with self.server.atomic():
            self._add_tabs()
        self.server.on_client_connect(self._connected)
        self.server.on_client_disconnect(lambda client: self.loop.leave(client.client_id))
        self.loop.start()

    def _add_tabs(self) -> None:
        gui, show, changed, origin = self.server.gui, self.show, self.loop.changed, self._origin
        front = gui.add_button(
            "Front view", icon=viser.Icon.USER, hint="Shows all of it from the front, as the key Home does."
        )
        front.on_click(lambda event: self._open_view(event.client))
        tabs = gui.add_tab_group()
        if isinstance(show, PersonShow):
            with tabs.add_tab("Motion", viser.Icon.RUN):
                motion = MotionPanel(self.server, show, changed)
            with tabs.add_tab("Pose", viser.Icon.STRETCHING):
                pose = PosePanel(self.server, show, origin.folder / "poses", self._changed_by_hand)
            with tabs.add_tab("Look", viser.Icon.PALETTE):
                self._overlay = SceneOverlay(self.server, show, self.loop.tick)
                pictures = partial(origin.training_pictures, show.model)
                look = LookPanel(self.server, show, changed, self.loop.schedule, self._overlay, pictures)
            with tabs.add_tab("Take", viser.Icon.DOWNLOAD):
                TakePanel(self.server, show, self._sight, origin)
            self._refreshed_too = [motion.refresh, pose.refresh]
            self._with_each_picture = [self._overlay.refresh, look.refresh]
        else:
            self._refreshed_too = add_kind_tabs(self.server, tabs, show, self.loop, self._sight)
        # nerfstudio's viewer takes seconds to import: whoever waits for the first picture need not wait for that.
        self._later = threading.Thread(target=self._add_camera_paths, args=(tabs,), daemon=True)

    def _add_camera_paths(self, tabs: viser.GuiTabGroupHandle) -> None:
        with tabs.add_tab("Camera path", viser.Icon.ROUTE):
            self._path_tab = add_camera_paths(self.server, self._origin.config, self._origin.folder)

    def _refresh(self) -> None:
        for refresh in self._refreshed_too:
            refresh()

    def _changed_by_hand(self) -> None:
        self._refresh()
        self.loop.changed()

    # Pages ------------------------------------------------------------------------------------------------------------

    def _connected(self, client: viser.ClientHandle) -> None:
        self._open_view(client)
        client.camera.on_update(lambda _: self.loop.watch(client.client_id, self._sight(client)))
        self.loop.watch(client.client_id, self._sight(client))

    def _open_view(self, client: viser.ClientHandle | None) -> None:
        if client is None:
            return
        view = self.show.opening_view(client.camera.aspect)
        with client.atomic():
            client.camera.fov = view.field_of_view
            client.camera.up_direction = (0.0, 0.0, 1.0)
            client.camera.position = np.array(view.position) * SCALE
            client.camera.look_at = np.array(view.look_at) * SCALE

    def _sight(self, client: viser.ClientHandle) -> Sight:
        """The page's camera; in a preview of a camera path, the path's."""
        camera = client.camera
        turn = (vtf.SO3(camera.wxyz) @ vtf.SO3.from_x_radians(np.pi)).as_matrix()
        place = np.asarray(camera.position)[:, None] / SCALE
        preview = self._path_tab if self._path_tab.preview_render else None
        # A page that says again where its camera is differs in the last digits, for which nothing is drawn anew.
        return Sight(
            camera_to_world=tuple(np.concatenate([turn, place], 1).round(_DIGITS).flatten().tolist()),
            field_of_view=round(float(preview.preview_fov if preview else camera.fov), _DIGITS),
            aspect=round(float(preview.preview_aspect if preview else camera.aspect), _DIGITS),
        )

    def _send(self, page: int, picture: np.ndarray, sharp: bool) -> None:
        client = self.server.get_clients().get(page)
        if client is None:
            return
        quality = _SHARP_QUALITY if sharp else _MOVING_QUALITY
        client.scene.set_background_image(
            _padded(picture, client.camera.aspect), self._picture_format, jpeg_quality=quality
        )
        if self._waiting is not None:
            self._waiting.remove()
            self._waiting = None
            self._later.start()
        for follow in self._with_each_picture:
            follow()
        if time.monotonic() - self._refreshed > _REFRESH_SECONDS:
            self._refreshed = time.monotonic()
            self._refresh()

    # Training ---------------------------------------------------------------------------------------------------------

    def step_done(self, step: int) -> None:
        """Called between two training steps: now and then the page shows what has been learnt."""
        if self.loop.learnt():
            self._learnt()
            if self._training is not None:
                self._training.tell(step)
        self.loop.give_way()

    def _learnt(self) -> None:
        shown = self.show.stage if isinstance(self.show, PersonShow) else self.show
        shown.learnt()
        if self._overlay is not None:
            self._overlay.learnt()

    def training_is_over(self) -> None:
        """From now on, every picture is drawn in full."""
        self._set_training(False)
        self._learnt()
        if self._training is not None:
            self._training.remove()
        self.loop.changed()

    def _set_training(self, training: bool) -> None:
        self.loop.schedule.training = training
        self.show.shared.training = training

    def stop(self) -> None:
        """Ends the page."""
        self.loop.stop()
        self.server.stop()


def _padded(picture: np.ndarray, aspect: float) -> np.ndarray:
    """The picture in the middle of one as wide as the page, which stretches what it is given."""
    height, width = picture.shape[:2]
    across, along = int(max(0, (aspect * height - width) // 2)), int(max(0, (width / aspect - height) // 2))
    if max(across, along) <= max(height, width) * 0.01 or not math.isfinite(aspect):
        return picture
    return np.pad(picture, ((along, along), (across, across), (0, 0)))
