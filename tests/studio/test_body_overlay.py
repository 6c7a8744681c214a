"""The body over the picture: what a browser makes of it by skinning is the posed body."""

import contextlib
from types import SimpleNamespace

import numpy as np
import torch
import viser.transforms as vtf

from nerfstudio_avatars.motion import load_motion
from nerfstudio_avatars.studio.body_overlay import BodyOverlay
from nerfstudio_avatars.studio.handles import SCALE
from nerfstudio_avatars.studio.session import Clip, Session


class Scene:
    """Keeps the mesh, as a browser gets it."""

    def add_mesh_skinned(self, name, vertices, faces, turns, places, weights, **_):
        bones = [SimpleNamespace(wxyz=turn, position=place) for turn, place in zip(turns, places, strict=True)]
        self.mesh = SimpleNamespace(bones=bones, visible=True)
        self.vertices, self.weights, self.rest = vertices, weights, places
        return self.mesh

    def skinned(self):
        """Three.js's skinning: each bone takes the vertices along that it moves, from where they rest."""
        moved = np.zeros_like(self.vertices)
        for number, bone in enumerate(self.mesh.bones):
            turned = (self.vertices - self.rest[number]) @ vtf.SO3(np.asarray(bone.wxyz)).as_matrix().T + bone.position
            moved += self.weights[:, [number]] * turned
        return moved


def test_it_stands_where_the_posed_body_does(standin, unchecked_types):
    walk = load_motion("walk")
    session = Session(Clip.of(walk), walk.state(0), standin.rest(torch.zeros(10))[1][0])
    person = SimpleNamespace(body=standin, motion=walk)
    scene = Scene()
    server = SimpleNamespace(scene=scene, atomic=contextlib.nullcontext)
    overlay = BodyOverlay(server, SimpleNamespace(session=session, model=SimpleNamespace(person=person)))
    overlay.switch(True)
    for frame in (0, 17):
        session.playback.seek(frame)
        overlay.refresh()
        expected = standin.pose(walk.state(frame)).vertices.numpy() * SCALE
        # Only the pose's correctives are left out.
        assert np.abs(scene.skinned() - expected).max() < 0.02 * SCALE
    before = scene.skinned()
    overlay.switch(False)
    session.playback.seek(30)
    overlay.refresh()
    assert not scene.mesh.visible and np.array_equal(scene.skinned(), before)
