"""Fits an SMPL body to the landmarks and masks of a video, all frames at once.

This follows SMPLify (Bogo et al. 2016) and adds what a slow turn in front of a fixed camera offers: the body is seen
from all sides, it stands, and MediaPipe estimates the 3D directions of its limbs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from scipy.spatial import cKDTree
from torch import Tensor

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES
from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.linear_blend_skinning import blend_transforms, joint_transforms
from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix, compose_axis_angle, matrix_to_axis_angle
from nerfstudio_avatars.bodies.smpl_body import SmplBody
from nerfstudio_avatars.instant_avatar.data.vertical import upward
from nerfstudio_avatars.instant_avatar.poses.pose_smoothing import likeness_of_neighbours
from nerfstudio_avatars.media.rasteriser import rasterise
from nerfstudio_avatars.media.vertex_normals import vertex_normals
from nerfstudio_avatars.process.body_landmarks import SeenBody
from nerfstudio_avatars.process.skin_colours import SkinColours

JOINTS = {
    11: "left_shoulder", 12: "right_shoulder", 13: "left_elbow", 14: "right_elbow", 15: "left_wrist",
    16: "right_wrist", 23: "left_hip", 24: "right_hip", 25: "left_knee", 26: "right_knee", 27: "left_ankle",
    28: "right_ankle",
}  # fmt: skip
"""Joints of the body that MediaPipe's landmarks show."""
TRUNK = (11, 12, 23, 24)
BONES = ((11, 13), (13, 15), (12, 14), (14, 16), (23, 25), (25, 27), (24, 26), (26, 28), (12, 11), (24, 23))
"""Pairs of landmarks whose direction in space is trusted."""
_VAGUE = {11: 0.5, 12: 0.5, 23: 0.3, 24: 0.3}
"""Weights of landmarks that are not at the joints they are named after."""
_STIFFNESS = {"spine": 20.0, "collar": 20.0, "neck": 5.0, "head": 5.0, "ankle": 5.0, "wrist": 10.0, "hand": 50.0}
_STIFFNESS |= {"foot": 50.0, "hip": 5.0, "knee": 20.0}
"""Factor by which these joints are held in their rest pose more than others."""
_STIFF = 1e-3
"""Weight of the square of an angle: without it, raised collars make up for lowered shoulders."""
_HELD = 0.12
"""Angle in radians from its mean beyond which a joint moves for certain."""
_STEADY = 10.0
"""Weight of changes of the turn from frame to frame: people turn steadily."""
_LENS = 1e-3
"""Weight of the square of the logarithm by which the focal length leaves the first guess."""
PLACE, POSE, _SHAPE, _COLOURS = range(4)
_LANDMARKS = {PLACE: 10.0, POSE: 10.0, _SHAPE: 3.0, _COLOURS: 3.0}
"""Weight of landmarks. In side views those of the far leg are too high, by which it would be placed far too deep; so
they count less where masks, which are more exact, count too."""
_HOLD = {POSE: 0.05, _SHAPE: 0.8, _COLOURS: 0.8}
"""Weight that pulls poses to their mean, because people hold a pose while turning, and side views show its depth. It is
small until each pose is near."""
STEPS = {PLACE: 60, POSE: 160, _SHAPE: 160, _COLOURS: 300}
"""Adam steps of the stages: place and orientation; pose; shape, with silhouettes; all, and clothes, with colours."""
_RATE = {PLACE: 0.03, POSE: 0.03, _SHAPE: 0.03, _COLOURS: 0.012}
"""Learning rates, radians and metres. The last stage begins near its end, and colours of another place lead astray."""
_BETAS_RATE, _CLOTHES_RATE = 3.3, 0.1
"""Factors on them, for the shape, and for clothes."""
_WARM_UP = {PLACE: 0, POSE: 0, _SHAPE: 20, _COLOURS: 75}
"""Steps in which the rate grows: Adam's first steps are as long for a small gradient as for a large one."""
_KEEP = 2.0
"""Weight that keeps poses near those that masks and landmarks told: plain sleeves look alike at many places."""
_THIN, _SMOOTH = 5.0, 200.0
"""Weights of the square of the distance between clothes and skin, and of its difference from that nearby, in metres."""
_LOOK_EVERY, _BLUR = 25, (0.02, 0.006)
"""Steps between two looks at what each frame shows of the skin, and how far pictures are blurred at the first and the
last of them, in metres."""
_CONTOUR_POINTS = 240
"""Points on the contour of each mask."""
_SKIN_POINTS = 2000
"""Number of vertices to compare with the masks."""


@dataclass(frozen=True)
class FittedBody:
    """The fitted body, in OpenCV's camera axes (x right, y down, z forward)."""

    motion: BodySequence
    landmark_error: float | None
    """Mean distance in pixels between the landmarks of the body and those detected; None if none were detected."""
    silhouettes: list[np.ndarray]
    """The mask of the body in each frame, (height, width)."""
    overlaps: Float[np.ndarray, " frames"]
    """Intersection over union of silhouettes and masks; clothes and hair keep it below one."""
    zoom: float = 1.0
    """The focal length that was found, over the one that was given."""


class BodyFit:
    """Fits a body to a video.

    Args:
        body: faces +z at rest, y up, as SMPL does.
        seen: one person in every frame.
        intrinsic: in pixels; the centre of the first pixel is at one half.
        find_lens: whether the focal length is only a first guess. A person who turns shows it: it decides how much
            larger the nearer foot is than the farther one.
        pictures: in which places of the skin are to look alike in all frames; None leaves that out.
    """

    def __init__(
        self,
        body: SmplBody,
        seen: Sequence[SeenBody],
        intrinsic: Float[np.ndarray, "3 3"],
        find_lens: bool = False,
        pictures: Sequence[UInt8[np.ndarray, "h w 3"]] | None = None,
    ) -> None:
        self._body, self._seen, self._intrinsic, self._find_lens = body, seen, intrinsic, find_lens
        self._focal = float(intrinsic[0, 0])
        self._centre = torch.from_numpy(intrinsic[:2, 2]).float()
        vertices, joints = (one.detach() for one in body.rest(torch.zeros(10)))
        features = skin_landmarks(vertices, body.weights)
        self._landmarks = [*JOINTS, *features]
        self._joints = [JOINT_NAMES.index(name) for name in JOINTS.values()]
        skin = torch.linspace(0, len(vertices) - 1, _SKIN_POINTS).long()
        self._rows = torch.cat([torch.tensor(list(features.values())), skin])
        masks = [one.mask for one in seen]
        self._colours = None if pictures is None else SkinColours(pictures, masks, body.faces.numpy(), skin)
        self._points = torch.from_numpy(np.stack([one.points for one in seen])).float()
        self._places = torch.from_numpy(np.stack([one.places for one in seen])).float()
        self._visible = torch.from_numpy(np.stack([one.visibility for one in seen])).float()[:, self._landmarks]
        self._outside, self._contours = _silhouettes(seen)
        self._size = torch.tensor(self._outside.shape[:1:-1])
        """Width and height of the pictures."""
        self._stiffness = torch.tensor([_stiffness(name) for name in JOINT_NAMES[1:]]).repeat_interleave(3)

        trunk = joints[[JOINT_NAMES.index(JOINTS[number]) for number in TRUNK]]
        self._upright = self._first_orientations(trunk)
        self._transl = self._first_places(trunk, joints[0])
        self._alike = likeness_of_neighbours(matrix_to_axis_angle(self._upright))
        self._turn, self._pose = torch.zeros(len(seen), 3), torch.zeros(len(seen), 69)
        self._before = self._pose
        """The pose at the beginning of a stage."""
        self._betas = torch.zeros(10)
        self._zoom = torch.zeros(())
        """Logarithm of the focal length over the first guess; distances grow with it, so that the person keeps their
        size in the picture."""
        self._beside = torch.zeros(len(JOINTS), 3)
        """Offsets in metres of landmarks from the joints they are named after, in the axes of the bones."""
        rest = vertices.numpy()
        self._out = torch.from_numpy(vertex_normals(rest, body.faces.numpy()))[skin]
        self._near = torch.from_numpy(cKDTree(rest[skin]).query(rest[skin], k=7)[1][:, 1:])
        self._clothes = torch.zeros(len(skin))
        """How far clothes and hair stand off the skin, metres. Without them, a body bends to reach what it shows."""
        self._vertical = torch.tensor([0.0, -1.0, 0.0])
        """Upwards in camera axes, because the camera may look down."""

    def run(self, progress: Callable[[int, int], None] | None = None) -> FittedBody:
        """Fits the body, and measures the result.

        Args:
            progress: called with the number of steps done, and their total.
        """
        places, lens = [self._turn, self._transl, self._vertical], [self._zoom] if self._find_lens else []
        # Colours would move lens and shape far, which masks tell better.
        free = {
            PLACE: places,
            POSE: [*places, self._pose, *lens],
            _SHAPE: [*places, self._pose, *lens, self._betas, self._beside],
            _COLOURS: [*places, self._pose, self._beside, self._clothes],
        }
        stages = {stage: steps for stage, steps in STEPS.items() if stage != _COLOURS or self._colours}
        done = 0
        for stage, steps in stages.items():
            self._before = self._pose.detach().clone()
            rate, others = _RATE[stage], {id(self._betas): _BETAS_RATE, id(self._clothes): _CLOTHES_RATE}
            groups = [{"params": [one.requires_grad_()], "lr": rate * others.get(id(one), 1.0)} for one in free[stage]]
            optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _share_of_rate(steps, _WARM_UP[stage]))
            for step in range(steps):
                if stage == _COLOURS and self._colours and step % _LOOK_EVERY == 0:
                    self._look(self._colours, step / steps)
                optimizer.zero_grad()
                self._loss(stage).backward()
                optimizer.step()
                schedule.step()
                done += 1
                if progress:
                    progress(done, sum(stages.values()))
            for one in free[stage]:
                one.requires_grad_(False)
        return self._result()

    # The body, and what is seen of it ---------------------------------------------------------------------------------

    def _posed(self) -> tuple[Float[Tensor, "frames 24 3"], Float[Tensor, "frames l 3"], Float[Tensor, "frames s 3"]]:
        """Joints, landmarks and skin in camera axes."""
        vertices, joints = self._body.rest(self._betas)
        still = torch.zeros_like(self._transl)
        transforms = joint_transforms(joints, self._turn, self._pose, still, self._body.parents)
        place = self._place()

        def placed(rotation: Tensor, translation: Tensor, points: Tensor) -> Tensor:
            moved = (rotation @ points[..., None])[..., 0] + translation - joints[0]
            return moved @ self._upright.mT + (joints[0] + place)[:, None]

        rotation, translation = transforms[..., :3, :3], transforms[..., :3, 3]
        beside = placed(rotation[:, self._joints], translation[:, self._joints], joints[self._joints] + self._beside)
        blended = blend_transforms(self._body.weights[self._rows], transforms)
        features = len(self._landmarks) - len(JOINTS)
        worn = F.pad(self._clothes[:, None] * self._out, (0, 0, features, 0))
        skin = placed(blended[..., :3, :3], blended[..., :3, 3], vertices[self._rows] + worn)
        landmarks = torch.cat([beside, skin[:, :features]], 1)
        return placed(rotation, translation, joints), landmarks, skin[:, features:]

    @torch.no_grad()
    def _look(self, colours: SkinColours, progress: float) -> None:
        """Finds what each frame shows of the skin in its present pose; the progress goes from 0 to 1."""
        motion = self._motion()
        skin = np.stack([self._body.pose(motion.state(frame)).vertices.numpy() for frame in range(len(motion))])
        colours.look(skin, self._camera(), _BLUR[0] * (_BLUR[1] / _BLUR[0]) ** progress)

    def _project(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 2"]:
        return self._focal * self._zoom.exp() * points[..., :2] / points[..., 2:].clamp(min=0.1) + self._centre

    def _place(self) -> Float[Tensor, "frames 3"]:
        """Translations in metres."""
        return torch.cat([self._transl[:, :2], self._transl[:, 2:] * self._zoom.exp()], 1)

    def _loss(self, stage: int) -> Float[Tensor, ""]:
        """The loss; all distances are in metres at the depth of the person."""
        joints, landmarks, skin = self._posed()
        metres = (self._transl[:, 2].detach().clamp(min=0.3) / self._focal)[:, None]
        weight = self._visible * torch.tensor([_VAGUE.get(number, 1.0) for number in self._landmarks])
        away = (self._project(landmarks) - self._points[:, self._landmarks]).norm(dim=-1)
        loss = _LANDMARKS[stage] * (weight * _robust(away * metres, 0.1)).mean()

        known = dict(zip(JOINTS, joints[:, self._joints].unbind(1), strict=True))
        directions = torch.stack([F.normalize(known[b] - known[a], dim=-1) for a, b in BONES], 1)
        told = torch.stack([F.normalize(self._places[:, b] - self._places[:, a], dim=-1) for a, b in BONES], 1)
        loss = loss + 0.02 * (1 - (directions * told).sum(-1)).mean()
        loss = loss + 0.05 * (1 - upward(joints) @ F.normalize(self._vertical, dim=0)).mean()
        if len(joints) > 2:
            bend = (joints[2:] - 2 * joints[1:-1] + joints[:-2]).square().sum(-1).mean()
            loss = loss + self._alike * (2 * bend + _STEADY * self._unsteadiness())
        if stage >= POSE:
            loss = loss + _LENS * self._zoom.square()
            knees = [JOINT_NAMES.index(name) - 1 for name in ("left_knee", "right_knee")]
            backwards = (-self._pose.unflatten(1, (23, 3))[:, knees, 0]).clamp(min=0)
            stiff, moved = self._stiffness * self._pose.square(), (self._pose - self._pose.mean(0)).square()
            held = _HOLD[stage] * moved / (1 + moved / _HELD**2)
            loss = loss + (_STIFF * stiff + held).sum(-1).mean() + 0.05 * backwards.square().mean()
        if stage >= _SHAPE:
            loss = loss + 2e-4 * self._betas.square().sum() + 0.3 * self._beside.square().sum()
            places = self._project(skin)
            loss = loss + self._silhouette_loss(places, metres)
            if stage == _COLOURS and self._colours:
                rough = self._clothes[:, None] - self._clothes[self._near]
                loss = loss + _THIN * self._clothes.square().mean() + _SMOOTH * rough.square().mean()
                loss = loss + _KEEP * (self._pose - self._before).square().sum(-1).mean()
                loss = loss + self._colours.disagreement(places / self._size)
        return loss

    def _unsteadiness(self) -> Float[Tensor, ""]:
        """Mean square change of the turn from one frame to the next, in radians: hips are seen too roughly for more."""
        orientation = self._upright @ axis_angle_to_matrix(self._turn)
        step = orientation[:-1].mT @ orientation[1:]
        about = torch.stack(
            [step[:, 2, 1] - step[:, 1, 2], step[:, 0, 2] - step[:, 2, 0], step[:, 1, 0] - step[:, 0, 1]], -1
        )
        return (about.diff(dim=0) / 2).square().sum(-1).mean()

    def _silhouette_loss(self, skin: Float[Tensor, "frames s 2"], metres: Float[Tensor, "frames 1"]) -> Tensor:
        """Skin outside the mask counts strongly; a contour far from the skin may be that of a coat."""
        grid = 2 * skin / self._size - 1
        outside = F.grid_sample(self._outside, grid[:, None], padding_mode="border", align_corners=False)[:, 0, 0]
        nearest = (self._contours - self._nearest(skin)).norm(dim=-1)
        return 20 * _robust(outside * metres, 0.1).mean() + 4 * _robust(nearest * metres, 0.04).mean()

    def _nearest(self, skin: Float[Tensor, "frames s 2"]) -> Float[Tensor, "frames points 2"]:
        """The skin that is nearest to each point of the contours."""
        pairs = zip(skin.detach().numpy(), self._contours.numpy(), strict=True)
        found = np.stack([cKDTree(points).query(contour)[1] for points, contour in pairs])
        return skin.gather(1, torch.from_numpy(found)[..., None].expand(-1, -1, 2))

    # How it begins, and what comes out --------------------------------------------------------------------------------

    def _first_orientations(self, trunk: Float[Tensor, "4 3"]) -> Float[Tensor, "frames 3 3"]:
        """Rotations from rest to camera, from 3D shoulders and hips (Kabsch 1976)."""
        rest, told = trunk - trunk.mean(0), self._places[:, list(TRUNK)]
        u, _, vt = torch.linalg.svd((told - told.mean(1, keepdim=True)).mT @ rest)
        signs = torch.ones(len(told), 3)
        signs[:, 2] = torch.linalg.det(u @ vt)
        return u @ torch.diag_embed(signs) @ vt

    def _first_places(self, trunk: Float[Tensor, "4 3"], pelvis: Float[Tensor, "3"]) -> Float[Tensor, "frames 3"]:
        """Translations that put the trunk of the rest body in the right place: (x + t) = ray (z + t_z), linear."""
        x = (trunk - pelvis) @ self._upright.mT + pelvis
        ray = (self._points[:, list(TRUNK)] - self._centre) / self._focal
        factors = torch.zeros(*ray.shape, 3)
        factors[..., 0, 0] = factors[..., 1, 1] = 1
        factors[..., 2] = -ray
        right = ray * x[..., 2:] - x[..., :2]
        return torch.linalg.lstsq(factors.flatten(1, 2), right.flatten(1, 2)[..., None]).solution[..., 0]

    @torch.no_grad()
    def _result(self) -> FittedBody:
        away = (self._project(self._posed()[1]) - self._points[:, self._landmarks]).norm(dim=-1)
        error = float((away * self._visible).sum() / self._visible.sum())
        motion, masks = self._motion(), [one.person for one in self._seen]
        alike = compared(self._body, motion, masks, self._camera())
        return FittedBody(motion, error, *alike, zoom=float(self._zoom.exp()))

    def _motion(self) -> BodySequence:
        return BodySequence(
            betas=self._betas,
            global_orient=compose_axis_angle(matrix_to_axis_angle(self._upright), self._turn),
            body_pose=self._pose,
            transl=self._place(),
            gender=self._body.gender,
            body=self._body.name,
        )

    def _camera(self) -> Float[np.ndarray, "3 3"]:
        """The camera matrix with the focal length that was found, in pixels."""
        camera = np.diag([float(self._zoom.exp())] * 2 + [1.0]) @ self._intrinsic
        camera[:2, 2] = self._intrinsic[:2, 2]
        return camera


@torch.no_grad()
def compared(
    body: SmplBody, motion: BodySequence, masks: Sequence[Bool[np.ndarray, "h w"]], intrinsic: Float[np.ndarray, "3 3"]
) -> tuple[list[Bool[np.ndarray, "h w"]], Float[np.ndarray, " frames"]]:
    """Silhouettes of a body, and their intersection over union with masks.

    Args:
        body: the body that moves.
        motion: in camera axes.
        masks: of each frame.
        intrinsic: in pixels; the centre of the first pixel is at one half.
    """
    at_centres, faces = intrinsic - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]), body.faces.numpy()
    silhouettes, overlaps = [], []
    for frame, mask in enumerate(masks):
        vertices = body.pose(motion.state(frame)).vertices.double().numpy()
        silhouettes.append(rasterise(vertices, faces, at_centres, mask.shape[1], mask.shape[0]).face >= 0)
        overlaps.append((silhouettes[-1] & mask).sum() / max((silhouettes[-1] | mask).sum(), 1))
    return silhouettes, np.array(overlaps)


def _share_of_rate(steps: int, warm_up: int) -> Callable[[int], float]:
    """Half a cosine down to a tenth, after a linear start."""
    return lambda step: min((step + 1) / (warm_up + 1), 1) * (0.55 + 0.45 * math.cos(math.pi * step / steps))


def _robust(distance: Tensor, scale: float) -> Tensor:
    """The Geman-McClure loss: grows with the square at first, and never beyond the scale."""
    square = (distance / scale).square()
    return scale * square / (1 + square)


def _stiffness(name: str) -> float:
    return next((stiff for part, stiff in _STIFFNESS.items() if part in name), 1.0)


def skin_landmarks(vertices: Float[Tensor, "vertices 3"], weights: Float[Tensor, "vertices 24"]) -> dict[int, int]:
    """MediaPipe's landmarks on the skin, found from the shape of the body: nose, ears, heels, toes."""
    part = weights.argmax(-1)

    def extreme(joints: tuple[str, ...], direction: tuple[int, int, int]) -> int:
        mine = torch.isin(part, torch.tensor([JOINT_NAMES.index(name) for name in joints]))
        along = vertices @ torch.tensor(direction, dtype=vertices.dtype)
        return int(torch.where(mine, along, -torch.inf).argmax())

    found = {0: extreme(("head",), (0, 0, 1)), 7: extreme(("head",), (1, 0, 0)), 8: extreme(("head",), (-1, 0, 0))}
    for side, heel, toe in (("left", 29, 31), ("right", 30, 32)):
        foot = (f"{side}_ankle", f"{side}_foot")
        found |= {heel: extreme(foot, (0, -1, -1)), toe: extreme(foot, (0, 0, 1))}
    return found


def _silhouettes(seen: Sequence[SeenBody]) -> tuple[Float[Tensor, "frames 1 h w"], Float[Tensor, "frames points 2"]]:
    """Distances from the masks, and points on their contours, in pixels."""
    outside, contours = [], []
    for one in seen:
        mask = one.person.astype(np.uint8)
        outside.append(cv2.distanceTransform(1 - mask, cv2.DIST_L2, 3))
        lines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        line = max(lines, key=len)[:, 0].astype(np.float32) + 0.5
        chosen: Int[np.ndarray, " points"] = np.linspace(0, len(line) - 1, _CONTOUR_POINTS).round().astype(int)
        contours.append(line[chosen])
    return torch.from_numpy(np.stack(outside))[:, None].float(), torch.from_numpy(np.stack(contours))
