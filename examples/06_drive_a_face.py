"""Moves a face by another's video: python examples/06_drive_a_face.py RUN me.jpg clip.mp4 moved.mp4"""

import sys

from nerfstudio_avatars import LearntKind


def main(run: str, picture: str, clip: str, output: str = "moved.mp4") -> None:
    """Finds who is in the picture, which takes a minute, and moves them as the clip's changes say."""
    heads = LearntKind.load(run)
    me = heads.identity(picture)
    count = heads.film(me, clip, output, relative=True)
    print(f"{count} pictures: {output}")


if __name__ == "__main__":
    main(*sys.argv[1:])
