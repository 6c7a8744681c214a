"""A body that turns before a camera, and what a perfect network would see of it."""

import numpy as np
import torch

from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.media.rasteriser import rasterise
from nerfstudio_avatars.process.body_fit import JOINTS, skin_landmarks
from nerfstudio_avatars.process.body_landmarks import LANDMARKS, SeenBody
from nerfstudio_avatars.process.framing import whole

HEIGHT, WIDTH = 200, 160
FIELD_OF_VIEW = 50.0
WHOLE = whole(HEIGHT, WIDTH, HEIGHT)


def turning_states(frames: int, tilt: float = 0.15) -> list[BodyState]:
    """A whole turn in A-pose, arms moving a little, before a camera that looks down by `tilt` radians."""
    camera = axis_angle_to_matrix(torch.tensor([tilt, 0.0, 0.0])) @ axis_angle_to_matrix(torch.tensor([torch.pi, 0, 0]))
    states = []
    for frame in range(frames):
        turn = axis_angle_to_matrix(torch.tensor([0.0, 2 * torch.pi * frame / frames, 0.0]))
        pose = torch.zeros(23, 3)
        pose[15, 2], pose[16, 2] = -0.9 + 0.1 * np.sin(frame), 0.9
        pose[17, 1] = -0.3
        betas = torch.zeros(10)
        betas[0] = 1.0
        orient = matrix_to_axis_angle(camera @ turn)
        states.append(BodyState(betas, orient, pose.flatten(), torch.tensor([0.05, 0.25, 2.6])))
    return states


def seen_bodies(states: list[BodyState]) -> list[SeenBody]:
    """Landmarks just where they are, in the picture and in space, and exact masks."""
    body, camera = load_standin(), WHOLE.camera_matrix(FIELD_OF_VIEW)
    features = skin_landmarks(body.rest(torch.zeros(10))[0], body.weights)
    at_centres = camera - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    seen = []
    for state in states:
        posed = body.pose(state)
        vertices = posed.vertices.double().numpy()
        places = np.zeros((LANDMARKS, 3))
        places[list(JOINTS)] = posed.joints[[body.joint_names.index(name) for name in JOINTS.values()]]
        places[list(features)] = vertices[list(features.values())]
        projected = places @ camera.T
        known = np.isin(np.arange(LANDMARKS), [*JOINTS, *features])
        points = projected[:, :2] / np.where(known, places[:, 2], 1)[:, None]
        mask = rasterise(vertices, body.faces.numpy(), at_centres, WIDTH, HEIGHT).face >= 0
        hips = (places[23] + places[24]) / 2
        seen.append(SeenBody(points, known.astype(float), places - hips, (255 * mask).astype(np.uint8)))
    return seen


def painted_pictures(states: list[BodyState]) -> list[np.ndarray]:
    """What a camera films of the body, whose skin has spots of some centimetres, before grey."""
    body, camera = load_standin(), WHOLE.camera_matrix(FIELD_OF_VIEW)
    waves = np.random.default_rng(0).normal(0, 1, (3, 3))
    waves *= 40 / np.linalg.norm(waves, axis=1, keepdims=True)
    paint = 0.5 + 0.4 * np.sin(body.rest(torch.zeros(10))[0].double().numpy() @ waves.T)
    at_centres, faces = camera - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]), body.faces.numpy()
    pictures = []
    for state in states:
        hits = rasterise(body.pose(state).vertices.double().numpy(), faces, at_centres, WIDTH, HEIGHT)
        seen = (paint[faces[hits.face]] * hits.barycentric[..., None]).sum(2)
        pictures.append((255 * np.where(hits.face[..., None] >= 0, seen, 0.5)).round().astype(np.uint8))
    return pictures
