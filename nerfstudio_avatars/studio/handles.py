"""Handles in the picture: a ball at every joint, and rings and arrows at the one that was clicked."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import viser
import viser.transforms as vtf

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES
from nerfstudio_avatars.bodies.rotations import matrix_to_axis_angle
from nerfstudio_avatars.studio.limb_reach import LIMBS, reach
from nerfstudio_avatars.studio.person_show import PersonShow
from nerfstudio_avatars.studio.session import OWN_POSE

SCALE = 10.0
"""Units of the scene in a metre: nerfstudio's, which its camera paths count on."""
RADIUS, _RINGS = 0.018, 0.25
"""Radius of the balls, and size of the rings, in metres."""
COLOUR = (40, 110, 160)
STILL_SECONDS = 0.4
"""Time after a drag in which its rings stay where the mouse has put them, in seconds."""
_MOVED = 1e-3
"""Distance above which a drag moves a joint and does not turn it, in metres."""


class Handles:
    """Shown while an own pose is.

    Args:
        server: the page.
        show: the person.
        changed: called after each drag.
    """

    def __init__(self, server: viser.ViserServer, show: PersonShow, changed: Callable[[], None]) -> None:
        self._server, self._show, self._changed = server, show, changed
        self._shown = False
        self._chosen: str | None = None
        self._rings: viser.TransformControlsHandle | None = None
        self._dragged = -1e9
        self._balls: dict[str, viser.MeshHandle] = {}

    def switch(self, shown: bool) -> None:
        """Shows or hides them."""
        self._shown = shown
        if shown:
            self._show.session.edit()
        self.refresh()

    def refresh(self) -> None:
        """Puts them where the joints are now."""
        visible = self._shown and self._show.session.chosen == OWN_POSE
        if visible and not self._balls:
            self._add_balls()
        if not self._balls:
            return
        posed = self._show.model.person.body.pose(self._show.shown())
        places = posed.joints.detach().numpy() * SCALE
        for joint, ball in enumerate(self._balls.values()):
            ball.visible = visible
            if not np.allclose(ball.position, places[joint], atol=1e-3):
                ball.position = places[joint]
        if self._rings is None:
            return
        self._rings.visible = visible
        if self._chosen is not None and time.monotonic() - self._dragged > STILL_SECONDS:
            joint = JOINT_NAMES.index(self._chosen)
            turn = vtf.SO3.from_matrix(posed.joint_transforms[joint, :3, :3].detach().numpy().astype(np.float64)).wxyz
            if not (np.allclose(self._rings.position, places[joint]) and np.allclose(self._rings.wxyz, turn)):
                self._rings.position, self._rings.wxyz = places[joint], turn

    def choose(self, joint: str) -> None:
        """Puts rings at a joint, and arrows at the pelvis, at wrists and at ankles.

        Args:
            joint: one of the body's own names.
        """
        if self._rings is not None:
            self._rings.remove()
        moves = joint in LIMBS or joint == "pelvis"
        self._chosen, self._dragged = joint, -1e9
        self._rings = self._server.scene.add_transform_controls(
            "/handles/rings", scale=_RINGS * SCALE, disable_axes=not moves, disable_sliders=True, depth_test=False
        )
        self._rings.on_update(self._drag)
        self.refresh()

    def _add_balls(self) -> None:
        for name in JOINT_NAMES:
            ball = self._server.scene.add_icosphere(f"/handles/{name}", RADIUS * SCALE, COLOUR, subdivisions=2)
            ball.on_click(partial(self._clicked, name))
            self._balls[name] = ball

    def _clicked(self, joint: str, _: viser.SceneNodePointerEvent) -> None:
        self.choose(joint)

    def _drag(self, rings: viser.TransformControlsHandle) -> None:
        if self._chosen is None:
            return
        self._dragged = time.monotonic()
        place = torch.from_numpy(np.asarray(rings.position) / SCALE).float()
        turn = torch.from_numpy(vtf.SO3(np.asarray(rings.wxyz)).as_matrix()).float()
        self.drag(self._chosen, place, turn)
        self._changed()

    def drag(self, joint: str, place: torch.Tensor, turn: torch.Tensor) -> None:
        """Moves or turns a joint.

        Args:
            joint: one of the body's own names.
            place: (3,), where it is to be, in metres.
            turn: (3, 3), its rotation in the world.
        """
        body, session = self._show.model.person.body, self._show.session
        number = JOINT_NAMES.index(joint)
        with session.lock:
            editor = session.edit()
            state = session.shaped(editor.state)
            posed = body.pose(state)
            offset = place - posed.joints[number].detach()
            moved = bool(offset.norm() > _MOVED)
            if moved and joint in LIMBS:
                editor.set_rotations(reach(state, body, joint, place), self._dragged)
            elif moved and joint == "pelvis":
                editor.move(offset, self._dragged)
            else:
                parent = posed.joint_transforms[body.parents[number], :3, :3] if number else torch.eye(3)
                editor.set_rotations({joint: matrix_to_axis_angle(parent.detach().T @ turn)}, self._dragged)
