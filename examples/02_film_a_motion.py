"""Films a person in any motion file: python examples/02_film_a_motion.py RUN motion.bvh film.mp4"""

import sys

from nerfstudio_avatars import Avatar


def main(run: str, motion: str = "cartwheel", output: str = "film.mp4", size: str = "270") -> None:
    """Walks around the person once while they move for two seconds."""
    avatar = Avatar.load(run)
    moves = avatar.motion(motion)
    count = avatar.film(moves, output, camera="turning", seconds=2, fps=12, height=int(size), width=int(size))
    print(f"{count} pictures: {output}")


if __name__ == "__main__":
    main(*sys.argv[1:])
