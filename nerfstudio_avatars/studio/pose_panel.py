"""The tab that makes a pose by hand."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import viser

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.instant_avatar.reshaping import can_be_reshaped
from nerfstudio_avatars.studio.handles import Handles
from nerfstudio_avatars.studio.key_pose_panel import KeyPosePanel
from nerfstudio_avatars.studio.messages import say
from nerfstudio_avatars.studio.person_show import PersonShow
from nerfstudio_avatars.studio.pose_editor import LIMBS, PoseEditor
from nerfstudio_avatars.studio.pose_files import pose_bytes, read_pose, save_pose
from nerfstudio_avatars.studio.shape_panel import ShapePanel
from nerfstudio_avatars.studio.uploads import uploaded

AXES = "xyz"
_TURN = 180.0
"""Largest angle of a slider, degrees."""

Change = Callable[[PoseEditor], object]
CHANGES: dict[str, tuple[viser.IconName, Change]] = {
    "Undo": (viser.Icon.ARROW_BACK_UP, PoseEditor.undo),
    "Redo": (viser.Icon.ARROW_FORWARD_UP, PoseEditor.redo),
    "Mirror": (viser.Icon.FLIP_VERTICAL, PoseEditor.mirror),
    "Copy left to right": (viser.Icon.COPY, partial(PoseEditor.copy_side, side="left")),
    "Copy right to left": (viser.Icon.COPY, partial(PoseEditor.copy_side, side="right")),
    "Reset": (viser.Icon.REFRESH, PoseEditor.reset),
}


class PosePanel:
    """Adds its widgets where the panel stands.

    Args:
        server: the page.
        show: the person.
        folder: where poses are saved.
        changed: called after each change.
    """

    def __init__(self, server: viser.ViserServer, show: PersonShow, folder: Path, changed: Callable[[], None]) -> None:
        self._show, self._folder, self._changed = show, folder, changed
        gui = server.gui
        self._handles = Handles(server, show, self._changed_in_the_picture)
        handles = gui.add_checkbox(
            "Handles",
            False,
            hint="Shows balls at the joints: click one, then drag its rings, or the arrows of hands and feet.",
        )
        handles.on_update(lambda _: self._switch(handles.value))
        with gui.add_folder("Change"):
            for label, (icon, change) in CHANGES.items():
                gui.add_button(label, icon=icon).on_click(partial(self._clicked, change))
        self._sliders: dict[tuple[str, int], viser.GuiInputHandle[float]] = {}
        for limb, joints in LIMBS.items():
            with gui.add_folder(limb, expand_by_default=False):
                for joint in joints:
                    for axis in range(3):
                        self._sliders[joint, axis] = self._slider(gui, joint, axis)
                reset = gui.add_button(f"Reset {limb.lower()}")
                reset.on_click(partial(self._clicked, partial(PoseEditor.reset, joints=joints)))
        if can_be_reshaped(show.model.person.body, show.model.config.avatar):
            ShapePanel(server, show, self._changed_in_the_picture)
        KeyPosePanel(server, show, changed)
        with gui.add_folder("Keep"):
            name = gui.add_text("Name", "pose", hint=f"The pose is saved in {folder}.")
            save = gui.add_button("Save pose", icon=viser.Icon.DEVICE_FLOPPY)
            load = gui.add_upload_button(
                "Load pose", icon=viser.Icon.UPLOAD, hint="Opens a saved pose, or the first pose of any motion file."
            )

        @save.on_click
        def _(event: viser.GuiEvent) -> None:
            self._save(event, name.value)

        @load.on_upload
        def _(event: viser.GuiEvent) -> None:
            person = self._show.model.person
            try:
                with uploaded(load.value) as path:
                    state = read_pose(path, person.motion, person.body)
            except UserError as error:
                say(event, "This pose cannot be read", str(error))
                return
            self._edit(lambda editor: editor.take(state))

        self.refresh()

    def refresh(self) -> None:
        """Moves the sliders to the pose that is edited."""
        with self._show.session.lock:
            editor = self._show.session.editor
            degrees = {
                joint: [math.degrees(angle) for angle in editor.rotation(joint).tolist()] for joint in JOINT_NAMES
            }
        for (joint, axis), slider in self._sliders.items():
            value = round(min(max(degrees[joint][axis], -_TURN), _TURN))
            if slider.value != value:
                slider.value = value

        self._handles.refresh()

    def _switch(self, shown: bool) -> None:
        self._handles.switch(shown)
        self.refresh()
        self._changed()

    def _changed_in_the_picture(self) -> None:
        self.refresh()
        self._changed()

    def _slider(self, gui: viser.GuiApi, joint: str, axis: int) -> viser.GuiInputHandle[float]:
        slider = gui.add_slider(f"{joint} {AXES[axis]}", -_TURN, _TURN, 1.0, 0.0)

        @slider.on_update
        def _(event: viser.GuiEvent) -> None:
            if event.client is not None:
                radians = math.radians(float(slider.value))
                self._edit(lambda editor: editor.turn(joint, axis, radians, time.monotonic()))

        return slider

    def _clicked(self, change: Change, _: viser.GuiEvent) -> None:
        self._edit(change)

    def _edit(self, change: Change) -> None:
        session = self._show.session
        with session.lock:
            change(session.edit())
        self.refresh()
        self._changed()

    def _save(self, event: viser.GuiEvent, name: str) -> None:
        session, person = self._show.session, self._show.model.person
        with session.lock:
            content = pose_bytes(session.state(), person.motion, person.body)
        try:
            path = save_pose(self._folder, name, content)
        except UserError as error:
            say(event, "The pose was not saved", str(error))
            return
        say(event, "Pose saved", str(path), seconds=6)
        if event.client is not None:
            event.client.send_file_download(path.name, content)
