"""A mesh over the picture, which the browser itself moves: it goes on while the next picture is drawn.

The page is told where the bones are thirty times a second; `assets/studio.js` moves them there with each of its frames.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import torch
import viser
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES, BodyState
from nerfstudio_avatars.studio.handles import SCALE
from nerfstudio_avatars.studio.overlay_meshes import Overlay, SkinnedMesh, overlay_mesh
from nerfstudio_avatars.studio.person_show import PersonShow

_COLOURS: dict[Overlay, tuple[int, int, int]] = {
    "body": (40, 110, 160),
    "mesh": (60, 150, 90),
    "occupied cells": (220, 130, 40),
}
_OPACITY = 0.45
_NAMES = 8
"""Number of names that meshes take in turn: viser's page forgets the bones of a mesh that follows one of its own name,
and viser keeps the last mesh of each name for pages that come later."""
_BEAT = 1 / 30
"""Time between two places of the bones that the page is told while a motion plays, in seconds."""


class SceneOverlay:
    """Skinned in the browser, which is told where the bones are.

    Args:
        server: the page.
        show: the person.
        tick: lets time pass until now.
    """

    def __init__(self, server: viser.ViserServer, show: PersonShow, tick: Callable[[], None]) -> None:
        self._server, self._show, self._tick = server, show, tick
        self._kind: Overlay = "nothing"
        self._added = 0
        self._made: SkinnedMesh | None = None
        self._mesh: viser.MeshSkinnedHandle | None = None
        self._betas = torch.zeros(10)
        """Shape of the mesh."""
        self._centres = np.zeros((len(JOINT_NAMES), 3))
        """Where its bones rest, in metres."""
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        threading.Thread(target=self._follow, daemon=True, name="overlay").start()

    def choose(self, kind: Overlay) -> None:
        """Shows one, or nothing.

        Raises:
            UserError: if there is no such thing yet; what was shown then stays.
        """
        made = None
        if kind != "nothing":
            with self._show.shared.using():
                made = overlay_mesh(self._show.model, kind)
        self._kind = kind
        self._put(made)

    def learnt(self) -> None:
        """The model has changed, and with it its cells."""
        if self._kind == "occupied cells":
            self.choose(self._kind)

    def refresh(self) -> None:
        """Moves it into the pose that is shown now, unless it plays: then it moves by itself."""
        if not self._plays:
            self._move()

    @property
    def _plays(self) -> bool:
        return self._show.moving and self._show.compared is None and bool(self._server.get_clients())

    def _move(self) -> None:
        with self._lock:
            if self._mesh is None or self._made is None:
                return
            state = self._show.shown(whole_frames=False)
            if not torch.equal(state.betas, self._betas):
                self._mesh.remove()
                self._mesh = self._add(self._made, state.betas)
            visible = self._show.compared is None
            if self._mesh.visible != visible:
                self._mesh.visible = visible
            with torch.no_grad():
                transforms = self._transforms(state.to(self._show.model.device)).cpu().double()
            matrices = transforms[:, :3, :3].numpy()
            turns = np.roll(Rotation.from_matrix(matrices).as_quat(), 1, axis=-1)
            places = np.einsum("jik,jk->ji", matrices, self._centres) + transforms[:, :3, 3].numpy()
            with self._server.atomic():
                for bone, turn, place in zip(self._mesh.bones, turns, places * SCALE, strict=True):
                    bone.wxyz, bone.position = turn, place

    def _put(self, made: SkinnedMesh | None) -> None:
        with self._lock:
            if self._mesh is not None:
                self._mesh.remove()
            self._made = made
            self._mesh = None if made is None else self._add(made, self._show.shown().betas)
        if made is None:
            self._wanted.clear()
        else:
            self._wanted.set()
        self._move()

    def _transforms(self, state: BodyState) -> Float[Tensor, "24 4 4"]:
        model = self._show.model
        if self._show.stage.reshaped(state):
            return self._show.stage.reshaping.transforms(state.betas, state.packed())
        return model.poses.transforms_of(state)

    def _add(self, made: SkinnedMesh, betas: Float[Tensor, "10"]) -> viser.MeshSkinnedHandle:
        self._betas = betas
        self._added += 1
        vertices = made.vertices
        if not torch.equal(betas, self._show.model.poses.betas.cpu()):
            own = torch.from_numpy(vertices), torch.from_numpy(made.weights)
            vertices = vertices + self._show.stage.reshaping.canonical_offsets(betas, *own).numpy()
        # Each rests amid what it moves: halfway between two places its flesh is nearly where it should be.
        self._centres = made.weights.T @ vertices / np.maximum(made.weights.sum(0), 1e-9)[:, None]
        return self._server.scene.add_mesh_skinned(
            f"/overlay/{self._added % _NAMES}",
            vertices * SCALE,
            made.faces,
            np.tile([1.0, 0.0, 0.0, 0.0], (len(JOINT_NAMES), 1)),
            self._centres * SCALE,
            made.weights,
            color=_COLOURS[self._kind],
            opacity=_OPACITY,
            flat_shading=self._kind == "occupied cells",
        )

    def _follow(self) -> None:
        """Moves it all the time while a motion plays: pictures take longer."""
        due = time.monotonic()
        while True:
            self._wanted.wait()
            if self._plays:
                self._tick()
                self._move()
            # One that came late is followed sooner; those that were missed are not made up for.
            now = time.monotonic()
            due = max(due + _BEAT, now - _BEAT)
            time.sleep(max(due - now, 0.002))
