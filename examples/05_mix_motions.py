"""Leads from one motion into another: python examples/05_mix_motions.py RUN mixed.npz"""

import sys
from dataclasses import replace

import torch

from nerfstudio_avatars import Avatar


def main(run: str, output: str = "mixed.npz") -> None:
    """Walks, and is running a second later: half a second of each, and 12 frames between. Any verb reads the file."""
    avatar = Avatar.load(run)
    walk, sprint = (avatar.motion(name).resampled(24) for name in ("walk", "run"))
    between = [walk[11].towards(sprint[0], step / 13) for step in range(1, 13)]
    frames = [*(walk[n] for n in range(12)), *between, *(sprint[n] for n in range(12))]
    parts = {
        name: torch.stack([getattr(one, name) for one in frames]) for name in ("global_orient", "body_pose", "transl")
    }
    replace(walk, **parts).save(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
