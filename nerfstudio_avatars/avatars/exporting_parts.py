"""Takes somebody whom `unsup-volanim` has learnt out of the program: a mesh with its parts as bones, or a page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nerfstudio_avatars.avatars.driving import chosen_identity, driving_poses, relative_motion
from nerfstudio_avatars.avatars.driving_clip import DrivingClip
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.progress import progress_bar
from nerfstudio_avatars.whole_files import whole_file

if TYPE_CHECKING:
    from torch import Tensor

    from nerfstudio_avatars.avatars.identity import Identity
    from nerfstudio_avatars.avatars.textured import TexturedMesh
    from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModel

_SEEN = 5
"""Number of frames of the first clip that the texture is fitted to where no clip is taken out."""


@dataclass(frozen=True, kw_only=True)
class PartsExport:
    """What to take out of a run, and how; see `ExportOptions`."""

    identity: str | None = None
    clips: tuple[str, ...] = ()
    relative: bool = False
    static: bool = False
    triangles: int = 40_000
    texture_size: int = 1024
    picture_size: int = 256
    notice: str = ""


def export_parts(model: UnsupVolanimModel, output: Path, options: PartsExport) -> str:
    """Writes an identity into a .glb or .html file.

    Args:
        model: trained.
        output: the file.
        options: what to write.

    Returns:
        What was written, in a few words.

    Raises:
        UserError: no such identity or clip, two clips of one name, or a relative motion of somebody of whom there is
            no picture.
    """
    name = options.identity or model.clips.identities[0]
    identity = chosen_identity(model, name)
    clips = {Path(one).stem: clip_of(model, identity, one, options.relative) for one in options.clips}
    if len(clips) < len(options.clips):
        raise UserError(f"--motion {' '.join(options.clips)}: expected clips whose names differ. Rename one of them.")
    if options.static and len(clips) > 1:
        raise UserError(f"--motion {' '.join(options.clips)}: expected one clip at most, because --static has a pose.")
    with progress_bar("Fitting the texture") as bar:
        made = identity_mesh(model, identity.cube, clips, options, bar)
    data = mesh_file(model, made, clips, options, output.stem if output.suffix.lower() == ".html" else None)
    with whole_file(output) as partial:
        partial.write_bytes(data)
    told = f"{len(made.mesh.faces)} triangles, {model.network.parts} parts and {len(clips)} clips"
    return f"{name}: {told}, {output.stat().st_size / 1e6:.1f} MB"


def identity_mesh(
    model: UnsupVolanimModel,
    cube: Tensor,
    clips: dict[str, DrivingClip],
    options: PartsExport,
    progress: Callable[[int, int], object],
) -> TexturedMesh:
    """The mesh of an identity, which is looked at in the poses of some clips, or else of the first one.

    Args:
        model: trained.
        cube: canonical voxels of the identity.
        clips: by name.
        options: sizes.
        progress: called with the number of pictures drawn, and of all.

    Raises:
        UserError: if there is no surface, because the run was hardly trained.
    """
    from nerfstudio_avatars.avatars.textured_parts import textured_parts

    moved = [pose for clip in clips.values() for pose in clip.poses]
    if not moved:
        frames = model.clips.table[0].frames
        seen = sorted({place * (frames - 1) // (_SEEN - 1) for place in range(_SEEN)})
        moved = [model.driving_pose(0, frame) for frame in seen]
    sizes = options.triangles, options.texture_size, options.picture_size
    return textured_parts(model, cube, moved, *sizes, progress)


def mesh_file(
    model: UnsupVolanimModel,
    made: TexturedMesh,
    clips: dict[str, DrivingClip],
    options: PartsExport,
    title: str | None = None,
) -> bytes:
    """The content of a file that holds a mesh with its clips.

    Args:
        model: trained.
        made: of `identity_mesh`.
        clips: by the names that viewers show.
        options: what the file says of its licence, and whether the mesh is static.
        title: of the page, if it is to be one.
    """
    from nerfstudio_avatars.export.mesh_glb import static_glb, texture_bytes
    from nerfstudio_avatars.export.page import avatar_page
    from nerfstudio_avatars.export.part_glb import PartMotion, part_glb
    from nerfstudio_avatars.export.part_mesh import bones_of
    from nerfstudio_avatars.unsup_volanim.root_pose import part_places

    if options.static:
        first = next(iter(clips.values()))[0] if clips else None
        vertices = made.mesh.vertices if first is None else made.mesh.posed(bones_of(first))
        glb = static_glb(made.mesh, vertices, texture_bytes(made.pixels()), options.notice)
    else:
        motions = {name: PartMotion(clip.joined(), clip.fps) for name, clip in clips.items()}
        places = part_places(model.network)
        glb = part_glb(made.mesh, texture_bytes(made.pixels()), places, motions, options.notice)
    return glb if title is None else avatar_page(glb, title).encode()


def clip_of(model: UnsupVolanimModel, identity: Identity, driving: str, relative: bool) -> DrivingClip:
    """The motion of a clip, as it moves an identity.

    Args:
        model: trained.
        identity: who is moved.
        driving: the clip, as `driving_poses` takes it.
        relative: whether it starts from the pose in the identity's first picture.

    Raises:
        UserError: no such clip, or a relative motion of somebody of whom there is no picture.
    """
    clip = driving_poses(model, driving)
    if not relative:
        return clip
    if identity.pose is None:
        raise UserError("--relative: a random identity has no picture, so there is no pose to start from.")
    return DrivingClip(relative_motion(clip.poses, identity.pose), clip.fps)
