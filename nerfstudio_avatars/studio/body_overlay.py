"""The body model over the picture: whether the avatar stands where its skeleton does can be seen."""

from __future__ import annotations

import numpy as np
import viser
import viser.transforms as vtf

from nerfstudio_avatars.studio.handles import SCALE
from nerfstudio_avatars.studio.person_show import PersonShow

_COLOUR, _OPACITY = (40, 110, 160), 0.4


class BodyOverlay:
    """Skinned in the browser, which is told the joints' places with every picture.

    Args:
        server: the page.
        show: the person.
    """

    def __init__(self, server: viser.ViserServer, show: PersonShow) -> None:
        self._server, self._show = server, show
        self._mesh: viser.MeshSkinnedHandle | None = None

    def switch(self, shown: bool) -> None:
        """Shows or hides it."""
        if shown and self._mesh is None:
            self._mesh = self._add()
        if self._mesh is not None:
            self._mesh.visible = shown
            self.refresh()

    def refresh(self) -> None:
        """Moves it into the pose shown now."""
        if self._mesh is None or not self._mesh.visible:
            return
        posed = self._show.model.person.body.pose(self._show.session.state())
        turns = posed.joint_transforms[:, :3, :3].detach().numpy().astype(np.float64)
        places = posed.joints.detach().numpy() * SCALE
        with self._server.atomic():
            for bone, turn, place in zip(self._mesh.bones, turns, places, strict=True):
                bone.wxyz, bone.position = vtf.SO3.from_matrix(turn).wxyz, place

    def _add(self) -> viser.MeshSkinnedHandle:
        person = self._show.model.person
        vertices, joints = person.body.rest(person.motion.betas)
        return self._server.scene.add_mesh_skinned(
            "/body",
            vertices.detach().numpy() * SCALE,
            person.body.faces.numpy(),
            np.tile([1.0, 0.0, 0.0, 0.0], (len(joints), 1)),
            joints.detach().numpy() * SCALE,
            person.body.weights.numpy(),
            color=_COLOUR,
            opacity=_OPACITY,
        )
