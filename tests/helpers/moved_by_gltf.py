"""A skinned mesh as the specification of glTF moves it, in numpy and scipy."""

import numpy as np
from scipy.spatial.transform import Rotation


def moved_by_the_file(file, animation, frame):
    """Vertices at a key frame of an animation, (vertices, 3)."""
    nodes, skin = file.json["nodes"], file.json["skins"][0]
    local = {number: dict(node) for number, node in enumerate(nodes)}
    for channel in animation["channels"]:
        values = file.array(animation["samplers"][channel["sampler"]]["output"])
        local[channel["target"]["node"]][channel["target"]["path"]] = values[frame]
    world, todo = {}, [(root, np.eye(4)) for root in file.json["scenes"][0]["nodes"]]
    while todo:
        number, above = todo.pop()
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_quat(local[number].get("rotation", [0, 0, 0, 1])).as_matrix()
        matrix[:3, 3] = local[number].get("translation", [0, 0, 0])
        world[number] = above @ matrix
        todo += [(child, world[number]) for child in nodes[number].get("children", [])]
    inverse = file.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).swapaxes(1, 2)
    bones = np.stack([world[joint] @ inverse[place] for place, joint in enumerate(skin["joints"])])
    part = {name: file.array(number) for name, number in file.json["meshes"][0]["primitives"][0]["attributes"].items()}
    blended = (part["WEIGHTS_0"][..., None, None] * bones[part["JOINTS_0"].astype(int)]).sum(1)
    return (blended @ np.pad(part["POSITION"], ((0, 0), (0, 1)), constant_values=1)[..., None])[:, :3, 0]
