"""How far drawn clothes stand away, by masks of a body whose true clothes are known."""

from pathlib import Path

import numpy as np
import pytest
import torch
from turning_bodies import FIELD_OF_VIEW, HEIGHT, WHOLE, WIDTH, turning_states

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES
from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.linear_blend_skinning import skin
from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import Mesh, SkinningVolume
from nerfstudio_avatars.instant_avatar.avatar import CanonicalAvatarConfig
from nerfstudio_avatars.instant_avatar.data.loose_clothes import reach_of_masks
from nerfstudio_avatars.instant_avatar.data.recording import Recording
from nerfstudio_avatars.media.rasteriser import rasterise
from nerfstudio_avatars.media.vertex_normals import vertex_normals

FRAMES, WIDE = 12, 0.2


@pytest.fixture(scope="module")
def body():
    return load_standin()


def parts(body, *names):
    return torch.isin(body.weights.argmax(-1), torch.tensor([JOINT_NAMES.index(name) for name in names]))


@pytest.fixture(scope="module")
def outer_thighs(body):
    """Vertices on the outer side of the thighs, away from hips and knees."""
    rest, joints = (one.detach() for one in body.rest(torch.zeros(10)))
    hip, knee = (joints[JOINT_NAMES.index(f"left_{name}"), 1] for name in ("hip", "knee"))
    between = (rest[:, 1] < hip - 0.1) & (rest[:, 1] > knee + 0.1)
    return parts(body, "left_hip", "right_hip") & between & (rest[:, 0].abs() > 0.12)


def recording(body, thickness):
    """A turn in clothes of a thickness (vertices), in metres."""
    states = turning_states(FRAMES)
    turn = BodySequence(
        states[0].betas,
        **{
            name: torch.stack([getattr(one, name) for one in states])
            for name in ("global_orient", "body_pose", "transl")
        },
    )
    rest = body.rest(turn.betas)[0].detach()
    out = torch.from_numpy(vertex_normals(rest.double().numpy(), body.faces.numpy())).float()
    dressed = rest + thickness[:, None] * out
    camera = WHOLE.camera_matrix(FIELD_OF_VIEW)
    camera[:2, 2] -= 0.5

    def masks(frames):
        for frame in frames:
            vertices = skin(dressed, body.weights, body.pose(turn.state(frame)).joint_transforms)
            seen = rasterise(vertices.double().numpy(), body.faces.numpy(), camera, WIDTH, HEIGHT).face >= 0
            yield (255 * seen).astype(np.uint8)

    frames = list(range(FRAMES))
    whole = (np.broadcast_to(camera, (FRAMES, 3, 3)), np.broadcast_to(np.eye(4), (FRAMES, 4, 4)), HEIGHT, WIDTH)
    splits = {"train": frames, "val": frames, "test": frames}
    return Recording(Path(), "turning", turn, *whole, splits, lambda frames: iter(()), masks), turn


def test_wide_trousers_are_wide_and_arms_are_not(body, outer_thighs):
    thickness = torch.where(parts(body, "left_hip", "right_hip"), WIDE, 0.0)
    reach = reach_of_masks(*recording(body, thickness), body)
    # A pixel is 1.2 cm, and thighs are only seen from the side in some frames.
    assert 0.6 * WIDE < reach[outer_thighs].median() < 1.1 * WIDE
    far = parts(body, "head", "left_wrist", "right_wrist", "left_ankle", "right_ankle", "left_elbow", "right_elbow")
    assert reach[far].median() < 0.02


def test_tight_clothes_leave_the_band_as_it_is(body):
    reach = reach_of_masks(*recording(body, torch.full((len(body.weights),), 0.015)), body)
    assert reach.max() < 0.05 and CanonicalAvatarConfig(band=0.08).loose(reach) is None


def test_an_avatar_reaches_where_its_clothes_are_and_nowhere_else(body, outer_thighs):
    config = CanonicalAvatarConfig(band=0.06)
    rest = body.rest(torch.zeros(10))[0].detach()
    reach = torch.where(outer_thighs, WIDE, 0.0)
    loose = config.loose(reach)
    assert loose[outer_thighs].min() == pytest.approx(WIDE + 0.02 - 0.06) and loose[~outer_thighs].max() == 0
    volume, tight = (
        SkinningVolume(Mesh(rest, body.faces, body.weights, of), spacing=0.06, band=config.band) for of in (loose, None)
    )
    normals = torch.from_numpy(vertex_normals(rest.double().numpy(), body.faces.numpy())).float()
    away = rest + 0.12 * normals
    head = parts(body, "head")
    assert (tight.distance_at(away[outer_thighs]) > 0.06).float().mean() > 0.9
    assert (volume.distance_at(away[outer_thighs]) < 0.06).float().mean() > 0.9
    # The nodes of the two grids are in other places.
    assert (volume.distance_at(away[head]) - tight.distance_at(away[head])).abs().mean() < 3e-3
    assert not CanonicalAvatarConfig(band=0.06, follow_clothes=False).loose(reach)


def test_without_masks_nobody_knows(body):
    assert CanonicalAvatarConfig().loose(None) is None
