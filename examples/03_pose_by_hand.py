"""Poses a person by hand: python examples/03_pose_by_hand.py RUN waving.png"""

import sys
from dataclasses import replace

import torch
from PIL import Image

from nerfstudio_avatars import Avatar
from nerfstudio_avatars.bodies.body_model import JOINT_NAMES


def main(run: str, output: str = "waving.png") -> None:
    """Raises the left arm of a standing person: axis-angle, radians, relative to the parent joint."""
    avatar = Avatar.load(run)
    standing = avatar.video[0]
    angles = standing.body_pose.reshape(23, 3).clone()
    angles[JOINT_NAMES.index("left_shoulder") - 1] = torch.tensor([0.0, 0.0, 0.9])
    waving = replace(standing, body_pose=angles.flatten())
    Image.fromarray(avatar.render(waving, size=270)).save(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
