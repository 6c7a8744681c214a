"""Opening a trained run: its `config.yml` is read as plain data, and its checkpoint as weights only."""

from __future__ import annotations

import functools
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.export import PORTABLE
from nerfstudio_avatars.files import regular_file
from nerfstudio_avatars.nerfstudio_glue import config_file
from nerfstudio_avatars.nerfstudio_glue.run_folder import anchored, find_config, last_checkpoint

if TYPE_CHECKING:
    from nerfstudio.cameras.cameras import Cameras
    from nerfstudio.data.datamanagers.base_datamanager import DataManager
    from nerfstudio.models.base_model import ModelConfig
    from nerfstudio.pipelines.base_pipeline import Pipeline

    from nerfstudio_avatars.export.portable import Provenance
    from nerfstudio_avatars.instant_avatar.data.person_scene import SplitPictures


@dataclass(frozen=True)
class RunConfig:
    """The parts of a run's config.yml that rendering needs. Parts that only training needs are not built."""

    path: Path
    method: str
    model: ModelConfig
    data: Path | None
    """The folder that the run was trained on, where it is now; it need not be there."""
    relative_model_dir: Path
    named_folder: Path
    """Where the training wrote its checkpoints."""


def _read_run_config(path: Path) -> RunConfig:
    """Reads a `RunConfig` from a config.yml. Nothing that the file names is built or called.

    Raises:
        UserError: if it is not the configuration of a run of this package's methods.
    """
    from nerfstudio_avatars.instant_avatar.model import InstantAvatarModelConfig
    from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModelConfig

    config = config_file.read_outline(path, (InstantAvatarModelConfig, UnsupVolanimModelConfig))
    method, data = config.method_name, config.data
    data = anchored(data, path, method, config.output_dir) if data else None
    names = (config.output_dir, config.experiment_name or "", method, config.timestamp, config.relative_model_dir)
    return RunConfig(path, method, config.model, data, config.relative_model_dir, Path(*map(str, names)))


@functools.cache
def our_methods() -> config_file.KnownMethods:
    """The methods of this package, with its dataparsers. Unlike nerfstudio's registry, they import no other method."""
    from nerfstudio.plugins.registry_dataparser import DataParserSpecification
    from nerfstudio.plugins.types import MethodSpecification

    from nerfstudio_avatars import dataparsers, methods

    return config_file.KnownMethods.of(
        [one.config for one in vars(methods).values() if isinstance(one, MethodSpecification)],
        [one.config for one in vars(dataparsers).values() if isinstance(one, DataParserSpecification)],
    )


PersonMethod = Literal["auto", "instant-avatar", "instant-avatar-cpu", "instant-avatar-paper"]
"""A method for one person, or `auto`."""


def chosen_method(method: str, on_gpu: bool) -> str:
    """The method for one person that `auto` stands for; every other name stands for itself."""
    if method != "auto":
        return method
    return "instant-avatar" if on_gpu else "instant-avatar-cpu"


def default_steps(method: str) -> int:
    """Number of steps that a method of this package is trained for, unless one asks for another."""
    return our_methods().configs[method].max_num_iterations


def _check_data(data: Path | None, path: Path) -> None:
    """Checks that the data exist, which held-out pictures and driving clips come from.

    Args:
        data: the data of the run.
        path: the path of its config.yml.

    Raises:
        UserError: if they do not exist.
    """
    if data is not None and not data.exists():
        typed = f" The path is relative to {Path.cwd()}: run the command in the folder that ns-train was started in."
        raise UserError(
            f"{data}: no such file or folder. Expected the data that {path} was trained on, in their original place."
            f"{'' if data.is_absolute() else typed} Move them back, or link to them."
        )


@dataclass(frozen=True)
class LoadedRun:
    """A trained run, ready to render."""

    config: RunConfig
    model: Any
    """An `InstantAvatarModel` or an `UnsupVolanimModel`."""
    checkpoint: Path
    step: int
    """The last training step, counted from 0."""
    opened_pipeline: Pipeline | None = None
    """The pipeline of model and data, if the data were requested."""
    provenance: Provenance | None = None
    """What a portable avatar tells of where it comes from."""

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline of model and data."""
        if self.opened_pipeline is None:
            raise RuntimeError("the run was opened without its data: load_run(path, need_data=True)")
        return self.opened_pipeline

    @property
    def datamanager(self) -> DataManager:
        """The data manager of the run."""
        return self.pipeline.datamanager


def find_run(path: Path) -> Path:
    """The portable avatar, or the config.yml, that is meant by a path to it or to the folder of a run.

    Raises:
        UserError: if there is none.
    """
    if path.suffix.lower() == PORTABLE:
        return regular_file(path, "an avatar that `ns-avatar export` wrote")
    return find_config(path)


def run_of(model: Any, path: Path) -> LoadedRun:
    """The run of a model that somebody else has opened, such as nerfstudio's viewer or its trainer.

    Args:
        model: an `InstantAvatarModel`.
        path: the run's config.yml.

    Raises:
        UserError: if it is not the configuration of a run of this package's methods.
    """
    return LoadedRun(_read_run_config(path), model, path, model.step)


def training_pictures(run: LoadedRun, data: Path | None = None) -> SplitPictures:
    """The pictures that a person was learnt from, which are only read when they are asked for.

    Args:
        run: opened without its data.
        data: where they are; by default, where the run says. A portable avatar knows no place.

    Raises:
        UserError: there are no data, or other ones than the person was learnt from.
    """
    path, found = run.config.path, data or run.config.data
    if found is None:
        raise UserError(f"{path}: holds no pictures. Name the data that it was trained on with --data.")
    _check_data(found, path)
    if path.suffix.lower() == PORTABLE:
        trainer = deepcopy(our_methods().configs[run.config.method])
    else:
        trainer = config_file.read_trainer_config(path, our_methods())
    parser = trainer.pipeline.datamanager.dataparser
    parser.data = found
    if path.suffix.lower() == PORTABLE:
        _shrink_as_learnt(parser, run.model.person.cameras, path)
    pictures = parser.setup().get_dataparser_outputs("train").metadata["pictures"]
    frames = tuple(run.model.person.train_frames.tolist())
    if pictures.frames != frames:
        raise UserError(
            f"{found}: {len(pictures.frames)} training pictures, not the {len(frames)} that {path} was trained on. "
            "Expected the same data, read with the same options."
        )
    return pictures


def _shrink_as_learnt(parser: Any, cameras: Cameras, path: Path) -> None:
    """Lets a dataparser shrink a person's pictures as it did for a training of which the cameras alone are known.

    Raises:
        UserError: the pictures are smaller than those.
    """
    parser.downscale_factor = 1
    whole = parser.setup().get_dataparser_outputs("train").metadata["pictures"].source
    height, width = int(cameras.height[0]), int(cameras.width[0])
    if whole.height < height or whole.width < width:
        raise UserError(
            f"{parser.data}: pictures of {whole.width}x{whole.height} pixels. {path} was trained on larger ones, of "
            f"{width}x{height}. Expected the same data."
        )
    # Both were rounded to whole pixels, which changes the longer side less.
    parser.downscale_factor = max(whole.height, whole.width) / max(height, width)


def load_run(path: Path | str, need_data: bool = False, data: Path | None = None) -> LoadedRun:
    """Opens a trained run with its last checkpoint, from any working directory.

    Checkpoints beside the configuration belong to the run, even if its folder was renamed or moved; the folder that the
    configuration names is only used if there are none. Rendering needs nothing else.

    Args:
        path: the folder of the run, the config.yml in it, or a portable avatar (.avatar).
        need_data: whether to open the data and the whole pipeline too, as evaluation and training need.
        data: where the data are, of a portable avatar, which knows no path.

    Raises:
        UserError: if the configuration is missing, or names anything but the classes and fields of this package's
            methods, if there is no matching checkpoint, or if requested data are missing.
    """
    import torch

    from nerfstudio_avatars.nerfstudio_glue.patches import spare_tensorboard

    # Before anything of nerfstudio's is imported.
    spare_tensorboard()

    from nerfstudio_avatars.nerfstudio_glue.checkpoints import load_weights, method_of, read_checkpoint, step_of
    from nerfstudio_avatars.nerfstudio_glue.kept_scene import built_model, scene_of

    path = find_run(Path(path))
    if path.suffix.lower() == PORTABLE:
        return _load_portable(path, need_data, data)
    config = _read_run_config(path)
    checkpoint = last_checkpoint(path, config.relative_model_dir, config.named_folder)
    state = read_checkpoint(checkpoint, mapped=True).state
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if need_data:
        _check_data(config.data, path)
        trainer = config_file.read_trainer_config(path, our_methods())
        trainer.open(path)
        pipeline = trainer.pipeline.setup(device=device, test_mode="test")
        model = pipeline.model
    else:
        pipeline, model = (
            None,
            built_model(config.model, scene_of(config.model, state, config.data, checkpoint), device),
        )
    # In nerfstudio's order: schedules first, then what was learnt.
    model.update_to_step(state["step"])
    source = f"{checkpoint} ({method_of(state)})"
    load_weights(model, state["pipeline"], source, f"the run's {config.method}", checkpoint)
    (pipeline or model).eval()
    return LoadedRun(config, model, checkpoint, step_of(checkpoint), pipeline)


def _load_portable(path: Path, need_data: bool, data: Path | None) -> LoadedRun:
    """Opens a portable avatar, with the data that it was trained on if they are needed."""
    import torch

    from nerfstudio_avatars.export.portable import read_portable
    from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModelConfig

    portable = read_portable(path)
    method = portable.provenance.method
    config = RunConfig(path, method, portable.config, data, Path(), path.parent)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not need_data:
        return LoadedRun(
            config, portable.model(device, path), path, portable.provenance.step, provenance=portable.provenance
        )
    if data is None or not data.exists():
        raise UserError(f"{path}: holds no pictures. Name the data that it was trained on with --data; found {data}.")
    trainer = our_methods().configs.get(method)
    if trainer is None:
        raise UserError(f"{path}: was trained with {method!r:.60}, which is none of this package's methods.")
    pipeline_config = deepcopy(trainer.pipeline)
    pipeline_config.datamanager.data, pipeline_config.model = data, portable.config
    parser = pipeline_config.datamanager.dataparser
    if isinstance(portable.config, UnsupVolanimModelConfig):
        parser.image_size = portable.scene.metadata["clips"].size
    else:
        parser.data = data
        _shrink_as_learnt(parser, portable.scene.cameras, path)
    pipeline = pipeline_config.setup(device=device, test_mode="test")
    portable.load_into(pipeline.model, path)
    return LoadedRun(
        config, pipeline.eval().model, path, portable.provenance.step, pipeline, provenance=portable.provenance
    )
