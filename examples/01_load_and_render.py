"""Loads a trained person and renders one pose: python examples/01_load_and_render.py RUN walking.png"""

import sys

from PIL import Image

from nerfstudio_avatars import Avatar


def main(run: str, output: str = "walking.png") -> None:
    """Renders the person in the middle of a step, seen from the side, without a background."""
    avatar = Avatar.load(run)
    walk = avatar.motion("walk")
    picture = avatar.render(walk[10], azimuth=60, size=270)
    Image.fromarray(picture).save(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
