"""Saves a posed person as triangles: python examples/04_save_a_mesh.py RUN me.ply"""

import sys

from nerfstudio_avatars import Avatar


def main(run: str, output: str = "me.ply") -> None:
    """Writes vertices with colours, metres, z up; .obj works as well."""
    avatar = Avatar.load(run)
    mesh = avatar.mesh(avatar.motion("dance_a")[40])
    mesh.save(output)
    print(f"{len(mesh.vertices)} vertices, {len(mesh.faces)} triangles: {output}")


if __name__ == "__main__":
    main(*sys.argv[1:])
