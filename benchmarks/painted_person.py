"""A model in mid-training without any data on disk: the stand-in body turning in A-pose, painted by a formula."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

from stand_in import StandIn, note  # first: it settles how torch's threads wait

# isort: split
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.engine.callbacks import TrainingCallbackAttributes, TrainingCallbackLocation
from torch import Tensor

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.instant_avatar.model import InstantAvatarModel
from nerfstudio_avatars.instant_avatar.person import Person
from nerfstudio_avatars.methods import instant_avatar_cpu

# nerfstudio 1.1.5 indexes tensors with lists of tensors, and torch says so at every picture.
warnings.filterwarnings("ignore", message="Using a non-tuple sequence", category=UserWarning)

FRAMES = 12
FOCAL_PER_PIXEL = 1332 / 540
DISTANCE = 5.2
INSIDE_SHARE = 0.95


def paint(canonical: Tensor) -> Tensor:
    """Colours of canonical points of the unit cube: stripes and checks of a few centimetres."""
    return 0.5 + 0.5 * torch.sin(canonical * torch.tensor([90.0, 130.0, 110.0]) + canonical.roll(1, -1) * 40)


class PaintedPerson:
    """The registered CPU method's model before a turning person, and the batches that it is trained with."""

    def __init__(self, refine_poses: bool, size: int = 270) -> None:
        person = StandIn()
        turns = torch.arange(FRAMES) * 2 * math.pi / FRAMES
        upright = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # y up -> z up
        orient = torch.stack([rotation_vector(about_z(float(turn)) @ upright) for turn in turns])
        sequence = BodySequence(
            betas=torch.zeros(10),
            global_orient=orient,
            body_pose=person.canonical_pose[3:72].repeat(FRAMES, 1),
            transl=-person.rest_joints[:1].repeat(FRAMES, 1),
            fps=30.0,
            gender="neutral",
            body="standin",
        )
        config = instant_avatar_cpu.config
        frames = torch.arange(FRAMES)
        self.config = replace(config.pipeline.model, refine_poses=refine_poses)
        self.optimizers_config = config.optimizers
        data = config.pipeline.datamanager
        self.frames_per_batch, self.rays_per_frame = data.frames_per_batch, data.rays_per_frame
        box = SceneBox(aabb=torch.tensor([[-1.0, -1, -1.5], [1, 1, 1.5]]))
        metadata = {"person": Person(sequence, person.body, frames, box, self.camera(0, size))}
        self.model: InstantAvatarModel = self.config.setup(scene_box=box, num_train_data=FRAMES, metadata=metadata)
        self.steps = 0
        self.optimizers = [
            self.optimizers_config[name]["optimizer"].setup(params=parameters)
            for name, parameters in self.model.get_param_groups().items()
        ]
        self.callbacks = self.model.get_training_callbacks(
            TrainingCallbackAttributes(optimizers=None, grad_scaler=None, pipeline=None, trainer=None)
        )
        note("drawing the painted person")
        self.model.eval()
        self.pictures = [self._picture(frame, size) for frame in range(FRAMES)]
        self.model.train()

    def camera(self, frame: int, size: int) -> Cameras:
        """A still camera five metres before the person, square picture."""
        pose = torch.tensor([[[1.0, 0, 0, 0], [0, 0, -1, -DISTANCE], [0, 1, 0, 0]]])
        focal = FOCAL_PER_PIXEL * size
        return Cameras(
            pose, focal, focal, size / 2, size / 2, size, size, camera_type=CameraType.PERSPECTIVE,
            times=torch.tensor([[frame / (FRAMES - 1)]]), metadata={"frame": torch.tensor([[frame]])},
        )  # fmt: skip

    def _picture(self, frame: int, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Origins, directions, RGBA and the pixels to draw rays from."""
        camera = self.camera(frame, size)
        with torch.no_grad():
            seen = self.model.get_outputs_for_camera(camera)
        rays = camera.generate_rays(camera_indices=0)
        mask = (seen["accumulation"] > 0.5).float()
        rgba = torch.cat([paint(seen["canonical"]), mask], -1).reshape(-1, 4)
        grown = torch.nn.functional.max_pool2d(mask[None, ..., 0], 13, stride=1, padding=6)[0].flatten()
        return rays.origins.reshape(-1, 3), rays.directions.reshape(-1, 3), rgba, grown.nonzero()[:, 0]

    def batch(self) -> tuple[RayBundle, dict[str, Tensor]]:
        """Rays of two frames, most of them inside the grown mask."""
        chosen = torch.randperm(FRAMES)[: self.frames_per_batch]
        origins, directions, colours, frames = [], [], [], []
        for frame in chosen.tolist():
            o, d, rgba, inside = self.pictures[frame]
            pixels = torch.cat(
                [
                    inside[torch.randint(len(inside), (int(INSIDE_SHARE * self.rays_per_frame),))],
                    torch.randint(len(o), (self.rays_per_frame - int(INSIDE_SHARE * self.rays_per_frame),)),
                ]
            )
            origins.append(o[pixels])
            directions.append(d[pixels])
            colours.append(rgba[pixels])
            frames.append(torch.full((len(pixels), 1), frame))
        frame_of_ray = torch.cat(frames)
        bundle = RayBundle(
            origins=torch.cat(origins),
            directions=torch.cat(directions),
            pixel_area=torch.ones(len(frame_of_ray), 1),
            camera_indices=frame_of_ray,
            metadata={"frame": frame_of_ray},
        )
        return bundle, {"image": torch.cat(colours), "frame": chosen}

    def step(self, bundle: RayBundle, batch: dict[str, Tensor]) -> float:
        """One training step as nerfstudio's trainer makes it, callbacks included."""
        for callback in self.callbacks:
            callback.run_callback_at_location(self.steps, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
        self.steps += 1
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss = sum(self.model.get_loss_dict(self.model(bundle), batch).values())
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        return float(loss.detach())

    def train(self, steps: int) -> None:
        """Trains towards the paint, so that the empty space is known to be empty."""
        note(f"training {steps} steps")
        for _ in range(steps):
            self.step(*self.batch())


def about_z(angle: float) -> Tensor:
    """Rotation matrix about z, radians."""
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def rotation_vector(matrix: Tensor) -> Tensor:
    """Axis-angle of a rotation matrix."""
    from scipy.spatial.transform import Rotation

    return torch.from_numpy(Rotation.from_matrix(matrix.double().numpy()).as_rotvec()).float()
