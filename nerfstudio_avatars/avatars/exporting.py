"""Takes an avatar, or a motion, out of the program: into files that other programs open."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.export import PORTABLE
from nerfstudio_avatars.motion.choices import Root, UpOrAuto
from nerfstudio_avatars.whole_files import whole_file

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float

    from nerfstudio_avatars.avatars.run import LoadedRun
    from nerfstudio_avatars.bodies.body_model import BodyModel
    from nerfstudio_avatars.bodies.body_sequence import BodySequence
    from nerfstudio_avatars.instant_avatar.model import InstantAvatarModel
    from nerfstudio_avatars.motion.joint_map import JointMap

Format = Literal["glb", "page", "vrm", "mesh", "splats", "avatar", "motion"]

ENDINGS: dict[Format, tuple[str, ...]] = {
    "glb": (".glb",),
    "page": (".html",),
    "vrm": (".vrm",),
    "mesh": (".ply", ".obj"),
    "splats": (".gvrm", ".spz", ".ply", ".glb"),
    "avatar": (PORTABLE,),
    "motion": (".bvh", ".npz", ".glb"),
}
"""What the files of each format may be called; the first is the usual one. An ending alone tells the first format
here that has it."""

_WALK = "walk"
"""The motion that a person takes along by default."""
_NOBODY = "not stated"
"""The author of a VRM, which has to have one."""

_HIDDEN_TEXTURE = 512

_SIZES = {
    "triangles": (100, 2_000_000),
    "splats": (100, 2_000_000),
    "texture_size": (64, 8192),
    "picture_size": (16, 4096),
}


@dataclass(kw_only=True)
class ExportOptions:
    """What to take out, and how."""

    format: Format | None = None
    """Format to write, which by default the output's ending tells.
    With `glb`, the person becomes a mesh with texture, skeleton and motions, which Blender, engines and browsers open.
    With `page`, one .html file shows that mesh in any browser, without a request to anywhere.
    With `vrm`, a VRM 1.0 file says besides which joint is which human bone, and forbids all use but the maker's.
    With `mesh`, .ply or .obj hold the first pose of the motion as triangles with colours.
    With `splats`, .gvrm holds Gaussian splats that a skeleton moves, and .spz splats in the first pose of the motion.
    Where `splats` is given, .ply and .glb hold splats in that pose too, instead of a mesh.
    With `avatar`, one file (.avatar) holds the person, and opens wherever a run does.
    With `motion`, the motion alone is written, as .bvh, as .npz, or as .glb with a skeleton but no body."""
    motion: tuple[str, ...] = ()
    """Motions to take out: shipped ones (walk, run, dance_a, cartwheel, spinkick, crawl), or motion files.
    The name `training` stands for the motion in the person's own video, as the training refined it.
    By default a person takes walk along. Of `unsup-volanim`, driving clips, as `ns-avatar drive` takes them."""
    identity: str | None = None
    """Identity of an `unsup-volanim` run to take out, as `ns-avatar drive` takes them; by default the first."""
    relative: bool = False
    """Whether driving clips start from the pose in the identity's first picture, and only apply changes of pose."""
    static: bool = False
    """Whether to write the first pose of the motion alone into a .glb file, without a skeleton."""
    triangles: int = 40_000
    """Number of triangles that a .glb or .html file may have."""
    splats: int = 60_000
    """Number of Gaussian splats to use."""
    texture_size: int = 1024
    """Number of texels to use along each side of the texture; of `unsup-volanim`, 1024 at most."""
    picture_size: int = 540
    """Number of pixels along each side of the avatar's own pictures, which the texture or splats are fitted to.
    Of `unsup-volanim`, at most four times those of its training."""
    npz: Literal["instant-avatar", "amass"] = "instant-avatar"
    """Layout to write .npz files in; `amass` has the joints of SMPL-H, with straight hands."""
    root: Root = "on_ground"
    """Place of the motions: with `on_ground`, the lowest point of each motion is moved to the ground.
    With `as_is` they follow their files, and `in_place` keeps the pelvis fixed, as on a treadmill."""
    fps: float | None = None
    """Frame rate to write the motions at, in frames per second; by default each keeps its own."""
    up: UpOrAuto = "auto"
    """Axis that points up in the motion files; `auto` finds it by how the body stands and moves, else by the format."""
    person: str | None = None
    """Name or number of the person to take from a motion file that holds several; by default the one in most frames."""
    joint_map: Path | None = None
    """JSON file of SMPL's joints and a skeleton's names for them, to read BVH or glTF files with."""
    maker: str = ""
    """Name of whoever made the avatar, to be kept in the file."""
    licence: str | None = None
    """Licence to state in the file, in your own words; by default it says that none was stated.
    It is the likeness of a person, who should be asked."""

    def check(self) -> None:
        """Raises `UserError` for a value that is out of range."""
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise UserError(f"--fps {self.fps}: expected a number above zero.")
        for name, (low, high) in _SIZES.items():
            if not low <= getattr(self, name) <= high:
                option = name.replace("_", "-")
                raise UserError(f"--{option} {getattr(self, name)}: expected a number between {low} and {high}.")

    def notice(self) -> str:
        """What files say of their maker and licence."""
        return ". ".join(one for one in (self.maker, self.licence) if one)

    def format_of(self, output: Path) -> Format:
        """The format that is written to a file.

        Raises:
            UserError: the file's ending tells none, or does not suit the chosen format.
        """
        ending = output.suffix.lower()
        told = self.format or next((name for name, endings in ENDINGS.items() if ending in endings), None)
        if told is None or ending not in ENDINGS[told]:
            known = ENDINGS[told] if told else tuple(ending for endings in ENDINGS.values() for ending in endings)
            raise UserError(f"{output}: expected a name that ends in {' or '.join(dict.fromkeys(known))}.")
        return told


def export(run: LoadedRun | None, output: Path, options: ExportOptions) -> str:
    """Writes one file.

    Args:
        run: of whom to take out. A motion file becomes another one without: on the stand-in's skeleton.
        output: the file.
        options: what to write.

    Returns:
        What was written, in a few words.

    Raises:
        UserError: something that needs a trained person without one, or a file that cannot be written.
    """
    from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModel

    options.check()
    told = options.format_of(output)
    if run is not None and isinstance(run.model, UnsupVolanimModel):
        return _of_parts(run, told, output, options)
    if options.identity is not None or options.relative:
        raise UserError("--identity, --relative: these are for runs of unsup-volanim, which has learnt many.")
    options = replace(options, motion=options.motion or (_WALK,))
    if told == "avatar":
        return _write_portable(_trained(run, output), output, options)
    if told in ("page", "vrm") or (told == "glb" and not options.static):
        return _write_rigged(_trained(run, output).model, output, options)
    if output.suffix.lower() == ".gvrm":
        return _write_skinned_splats(_trained(run, output).model, output, options)
    if len(options.motion) != 1:
        raise UserError(f"--motion {' '.join(options.motion)}: expected one motion, because {output} holds only one.")
    if told == "splats":
        return _write_still_splats(_trained(run, output).model, output, options)
    if told == "glb":
        return _write_static(_trained(run, output).model, output, options)
    if told == "mesh":
        return _write_mesh(_trained(run, output).model, output, options)
    return _write_motion(None if run is None else run.model, output, options.motion[0], options)


def _of_parts(run: LoadedRun, told: Format, output: Path, options: ExportOptions) -> str:
    from nerfstudio_avatars.avatars.exporting_parts import PartsExport, export_parts

    if told == "avatar":
        if options.identity is not None or options.motion:
            raise UserError(f"{output}: holds all that the run has learnt. Leave --identity and --motion out.")
        return _write_portable(run, output, options)
    if told not in ("glb", "page"):
        raise UserError(
            f"{output}: {run.checkpoint} is a run of unsup-volanim, which has no skeleton and no motions of bodies. "
            "Expected a name that ends in .glb, .html or .avatar; ns-avatar drive --save-motion writes a clip's motion."
        )
    chosen = PartsExport(
        identity=options.identity,
        clips=options.motion,
        relative=options.relative,
        static=options.static,
        triangles=options.triangles,
        texture_size=options.texture_size,
        picture_size=options.picture_size,
        notice=options.notice(),
    )
    return export_parts(run.model, output, chosen)


def _trained(run: LoadedRun | None, output: Path) -> LoadedRun:
    if run is None:
        raise UserError(f"{output}: is written of a trained person. Name the run with --load-config.")
    return run


def _write_portable(run: LoadedRun, output: Path, options: ExportOptions) -> str:
    from nerfstudio_avatars import __version__
    from nerfstudio_avatars.export.portable import NO_LICENCE, Provenance, write_portable

    if run.provenance is None:
        provenance = Provenance(run.config.method, run.step, options.maker, options.licence or NO_LICENCE)
    else:  # What it was given stays, unless something else is said.
        given = run.provenance
        provenance = replace(given, maker=options.maker or given.maker, licence=options.licence or given.licence)
    write_portable(run.model, replace(provenance, package=__version__), output)
    return f"the avatar, {output.stat().st_size / 1e6:.1f} MB"


def _write_rigged(model: InstantAvatarModel, output: Path, options: ExportOptions) -> str:
    from nerfstudio_avatars.avatars.textured import textured_mesh
    from nerfstudio_avatars.export.mesh_glb import rigged_glb, skeleton_of, texture_bytes
    from nerfstudio_avatars.export.page import avatar_page
    from nerfstudio_avatars.export.vrm import VrmMeta
    from nerfstudio_avatars.motion.loading import out_of_world

    poses = model.poses
    joints, shared = poses.joints(), poses.shared_correction.detach().cpu()
    motions, ending = {}, output.suffix.lower()
    # A VRM is moved by whoever opens it.
    for name in () if ending == ".vrm" else options.motion:
        motion, _ = _exported_motion(model, name, options)
        # What the training has found wrong with every pose; in its own motion it is already.
        motion = motion if name == "training" else replace(motion, body_pose=motion.body_pose + shared)
        motions[Path(name).stem] = out_of_world(motion, "y", joints[0])
    made = textured_mesh(model, options.triangles, options.texture_size, options.picture_size)
    skeleton = skeleton_of(joints, poses.rest_from_canonical().detach().cpu())
    vrm = VrmMeta(output.stem, options.maker or _NOBODY, options.licence or "") if ending == ".vrm" else None
    glb = rigged_glb(made.mesh, texture_bytes(made.pixels()), skeleton, motions, options.notice(), vrm)
    with whole_file(output) as partial:
        partial.write_bytes(avatar_page(glb, output.stem).encode() if ending == ".html" else glb)
    return f"{len(made.mesh.faces)} triangles and {len(motions)} motions, {output.stat().st_size / 1e6:.1f} MB"


def _write_static(model: InstantAvatarModel, output: Path, options: ExportOptions) -> str:
    from nerfstudio_avatars.avatars.textured import posed_vertices, textured_mesh
    from nerfstudio_avatars.export.mesh_glb import static_glb, texture_bytes
    from nerfstudio_avatars.motion.loading import out_of_world

    motion, joints = _exported_motion(model, options.motion[0], options)
    made = textured_mesh(model, options.triangles, options.texture_size, options.picture_size)
    vertices = posed_vertices(model, made.mesh, out_of_world(motion, "y", joints[0])[0])
    with whole_file(output) as partial:
        partial.write_bytes(static_glb(made.mesh, vertices, texture_bytes(made.pixels()), options.notice()))
    return f"{len(made.mesh.faces)} triangles, {output.stat().st_size / 1e6:.1f} MB"


def _write_skinned_splats(model: InstantAvatarModel, output: Path, options: ExportOptions) -> str:
    from nerfstudio_avatars.avatars.splatted import splatted_person
    from nerfstudio_avatars.export.gvrm import gvrm_bytes
    from nerfstudio_avatars.export.mesh_glb import rigged_glb, skeleton_of, texture_bytes
    from nerfstudio_avatars.export.texture_fit import fit_texture
    from nerfstudio_avatars.export.vrm import VrmMeta

    made = splatted_person(model, options.triangles, options.splats, options.picture_size)
    skeleton = skeleton_of(model.poses.joints(), model.poses.rest_from_canonical().detach().cpu())
    # Viewers hide the mesh: its texture is the colours of the vertices.
    texture = texture_bytes((fit_texture(made.mesh, made.colours, (), _HIDDEN_TEXTURE) * 255).round().astype("uint8"))
    vrm = VrmMeta(output.stem, options.maker or _NOBODY, options.licence or "")
    data = gvrm_bytes(
        made.splats, made.mesh, skeleton, rigged_glb(made.mesh, texture, skeleton, {}, options.notice(), vrm)
    )
    with whole_file(output) as partial:
        partial.write_bytes(data)
    return f"{options.splats} splats on a skeleton, {len(data) / 1e6:.1f} MB"


def _write_still_splats(model: InstantAvatarModel, output: Path, options: ExportOptions) -> str:
    from nerfstudio_avatars.avatars.splatted import splatted_person
    from nerfstudio_avatars.export.splat_files import ply_bytes, splat_glb, spz_bytes, upside_down
    from nerfstudio_avatars.motion.loading import out_of_world

    motion, joints = _exported_motion(model, options.motion[0], options)
    made = splatted_person(model, options.triangles, options.splats, options.picture_size)
    splats = made.posed(model, out_of_world(motion, "y", joints[0])[0])
    ending = output.suffix.lower()
    if ending == ".ply":
        data = ply_bytes(upside_down(splats))
    else:
        data = spz_bytes(splats) if ending == ".spz" else splat_glb(splats, options.notice())
    with whole_file(output) as partial:
        partial.write_bytes(data)
    return f"{options.splats} splats, {len(data) / 1e6:.1f} MB"


def _write_mesh(model: InstantAvatarModel, output: Path, options: ExportOptions) -> str:
    from nerfstudio_avatars.avatars.mesh import coloured_mesh, whole_surface

    motion, _ = _exported_motion(model, options.motion[0], options)
    mesh = coloured_mesh(model, whole_surface(model), motion[0])
    mesh.save(output)
    return f"{len(mesh.faces)} triangles"


def _write_motion(model: InstantAvatarModel | None, output: Path, name: str, options: ExportOptions) -> str:
    from nerfstudio_avatars.motion.writing import write_motion

    motion, rest_joints = _exported_motion(model, name, options)
    write_motion(motion, output, rest_joints, options.npz)
    return f"{len(motion)} frames of {name!r} at {motion.fps:g} frames per second"


def _exported_motion(
    model: InstantAvatarModel | None, name: str, options: ExportOptions
) -> tuple[BodySequence, Float[torch.Tensor, "24 3"]]:
    """A motion in the world frame as it is taken out, and the T-pose's joints of the body that it moves, metres."""
    from nerfstudio_avatars.motion.joint_map import read_joint_map
    from nerfstudio_avatars.motion.loading import choose_motion, stage

    joint_map = None if options.joint_map is None else read_joint_map(options.joint_map)
    if model is None:
        motion, body = _motion_alone(name, options, joint_map)
        rest_joints, shape = body.rest(motion.betas * 0)[1], motion.betas * 0
    else:
        video, body = model.person.motion, model.person.body
        rest_joints, shape = model.poses.joints(), video.betas
        motion = model.poses.refined(video)
        if name != "training":
            motion = choose_motion(name, video, body, options.up, options.person, joint_map=joint_map)
    staged = stage(replace(motion, betas=shape), body, options.fps or motion.fps, options.root)
    return replace(staged, betas=motion.betas), rest_joints


def _motion_alone(name: str, options: ExportOptions, joint_map: JointMap | None) -> tuple[BodySequence, BodyModel]:
    """A motion that is nobody's, and the stand-in, whose skeleton it moves: a shape of another body means nothing."""
    from nerfstudio_avatars.bodies.standin import load_standin
    from nerfstudio_avatars.motion.forward_kinematics import standin_joints
    from nerfstudio_avatars.motion.loading import in_world, motion_path
    from nerfstudio_avatars.motion.readers import read_motion

    if name == "training":
        raise UserError("--motion training: this is a trained run's own motion. Name the run with --load-config.")
    joints = standin_joints()
    file = read_motion(motion_path(name), options.person, joints[0], rest_joints=joints, joint_map=joint_map)
    return in_world(file, joints[0], None if options.up == "auto" else options.up), load_standin()
