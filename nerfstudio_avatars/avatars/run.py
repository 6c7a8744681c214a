"""Opening a trained run. Loading its `config.yml` can build any object, so the file is checked first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.nerfstudio_glue.run_folder import anchored, find_config, last_checkpoint, step_of

if TYPE_CHECKING:
    from nerfstudio.data.datamanagers.base_datamanager import DataManager
    from nerfstudio.models.base_model import ModelConfig
    from nerfstudio.pipelines.base_pipeline import Pipeline

    from nerfstudio_avatars.nerfstudio_glue.trainer import AvatarTrainerConfig

PYTHON_TAG = "tag:yaml.org,2002:python/"
PLAIN_KINDS = frozenset({"tuple", "none", "bool", "str", "unicode", "bytes", "int", "long", "float", "complex"})
CLASS_KINDS = frozenset({"object", "object/new", "object/apply", "name"})
TRUSTED_FUNCTIONS = frozenset({"nerfstudio.data.utils.nerfstudio_collate.nerfstudio_collate"})
"""Functions that nerfstudio's own configurations name."""
TRUSTED_PACKAGES = ("nerfstudio.", "nerfstudio_avatars.", "pathlib.", "torch.optim.")


def foreign_tags(text: str) -> list[str]:
    """The tags of a YAML document that could build anything but a nerfstudio configuration.

    Allowed are plain values, paths, torch's number types, and *classes* of nerfstudio, of this package and of torch's
    optimizers. Functions are not allowed, except for the one that nerfstudio's own datamanagers name, because
    nerfstudio has others, including one that runs a shell command.
    """
    tags = (getattr(event, "tag", None) for event in yaml.parse(text, Loader=yaml.SafeLoader))
    return sorted({tag.removeprefix(PYTHON_TAG) for tag in tags if tag and not _is_trusted(tag)})


def _is_trusted(tag: str) -> bool:
    if not tag.startswith(PYTHON_TAG):
        return tag == "!" or tag.startswith("tag:yaml.org,2002:")
    kind, _, target = tag.removeprefix(PYTHON_TAG).partition(":")
    if kind in PLAIN_KINDS:
        return not target
    if kind not in CLASS_KINDS:
        return False
    if kind == "name" and target.startswith("torch.") and target.count(".") == 1:
        return target.removeprefix("torch.").rstrip("0123456789") in {"float", "bfloat", "int", "uint", "bool"}
    if kind == "name" and target in TRUSTED_FUNCTIONS:
        return True
    # Classes are spelled with a capital, after any leading underscores; functions and modules are not.
    return target.startswith(TRUSTED_PACKAGES) and target.rpartition(".")[2].lstrip("_")[:1].isupper()


def check_config(path: Path, trust: bool = False) -> None:
    """Refuses a configuration that could run foreign code.

    Raises:
        UserError: if there is any and `trust` is not set, naming what was found.
    """
    try:
        found = foreign_tags(path.read_text("utf8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a YAML file ({error}). Expected the config.yml that ns-train wrote.") from error
    if found and not trust:
        raise UserError(
            f"{path}: opening this file would build objects that are no part of a nerfstudio configuration: "
            f"{', '.join(found)}. Expected only classes of nerfstudio, nerfstudio_avatars, pathlib and torch.optim. "
            "If you know and trust where it comes from, say --trust."
        )


@dataclass(frozen=True)
class RunConfig:
    """What of a run's config.yml is needed to show what was learnt. What only training needs is not built."""

    path: Path
    method: str
    model: ModelConfig
    data: Path | None
    """The folder that the run was trained on, where it is now; it need not be there."""
    relative_model_dir: Path
    named_folder: Path
    """Where the training wrote its checkpoints."""


def read_config(path: Path, trust: bool = False) -> RunConfig:
    """Reads what `RunConfig` has from a config.yml.

    Raises:
        UserError: if it is no run's configuration, or not trusted.
    """
    document = _document(path, trust)

    def part(*names: str) -> Any:
        return _built(_inner(document, names))

    names = [part(name) for name in ("output_dir", "experiment_name", "method_name", "timestamp", "relative_model_dir")]
    model = part("pipeline", "model")
    if not hasattr(getattr(model, "_target", None), "kept_scene"):
        raise UserError(
            f"{path}: a run of {names[2]}. Expected one of this package's methods, such as instant-avatar or "
            "unsup-volanim: other methods' avatars cannot be moved."
        )
    data = part("pipeline", "datamanager", "data") or part("pipeline", "datamanager", "dataparser", "data")
    data = anchored(Path(data), path, names[2], Path(names[0])) if data else None
    return RunConfig(path, names[2], model, data, Path(names[4]), Path(*map(str, names)))


def read_trainer_config(path: Path, trust: bool = False) -> AvatarTrainerConfig:
    """Reads a whole config.yml, as nerfstudio's own commands do.

    Raises:
        UserError: if it is no run's configuration, or not trusted.
    """
    return _built(_document(path, trust))


def _document(path: Path, trust: bool) -> yaml.Node:
    check_config(path, trust)
    document = yaml.compose(path.read_text("utf8"), Loader=yaml.Loader)
    if (
        document is None
        or _inner(document, ("pipeline", "model")) is None
        or _inner(document, ("method_name",)) is None
    ):
        raise UserError(f"{path}: no method_name and pipeline in it. Expected the config.yml that ns-train wrote.")
    return document


def _inner(node: yaml.Node | None, names: Sequence[str]) -> yaml.Node | None:
    """A part of a YAML document, by the keys that lead to it; None where there is none."""
    for name in names:
        if not isinstance(node, yaml.MappingNode):
            return None
        node = next((value for key, value in node.value if key.value == name), None)
    return node


def _built(node: yaml.Node | None) -> Any:
    if node is None:
        return None
    loader = yaml.Loader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def check_data(data: Path | None, path: Path) -> None:
    """Held-out pictures, and clips that move others, are in the data only.

    Args:
        data: of the run.
        path: of its config.yml.

    Raises:
        UserError: if they do not exist.
    """
    if data is not None and not data.exists():
        typed = f" That is a path from {Path.cwd()}: start the command where ns-train was started."
        raise UserError(
            f"{data}: no such file or folder. Expected the data that {path} was trained on, where they were then."
            f"{'' if data.is_absolute() else typed} Put them back, or a link to them."
        )


@dataclass(frozen=True)
class LoadedRun:
    """A trained run, ready to render."""

    config: RunConfig
    model: Any
    """An `InstantAvatarModel` or an `UnsupVolanimModel`."""
    checkpoint: Path
    step: int
    """The last one that was trained, counted from 0."""
    opened_pipeline: Pipeline | None = None
    """The model's, with its data, if these were asked for."""

    @property
    def pipeline(self) -> Pipeline:
        """Model and data, as nerfstudio holds them."""
        if self.opened_pipeline is None:
            raise RuntimeError("the run was opened without its data: load_run(path, need_data=True)")
        return self.opened_pipeline

    @property
    def datamanager(self) -> DataManager:
        """The run's data."""
        return self.pipeline.datamanager


def load_run(path: Path | str, trust: bool = False, need_data: bool = False) -> LoadedRun:
    """Opens a trained run with its last checkpoint, from whatever folder the command is given in.

    The checkpoints beside the configuration are the run's, whatever its folder is called and wherever it was moved to;
    the folder that the configuration names is looked into only if there are none. Whoever wants pictures of an avatar
    needs nothing else.

    Args:
        path: the run's folder, or the config.yml in it.
        trust: open the configuration even if it names things from outside nerfstudio and this package.
        need_data: whether to open the data too, and with them the whole pipeline, as evaluation and training need it.

    Raises:
        UserError: if the configuration is missing or not trusted, or there is no checkpoint, or the data are gone and
            were asked for.
    """
    import torch

    from nerfstudio_avatars.nerfstudio_glue.patches import spare_tensorboard

    # Before anything of nerfstudio's is imported.
    spare_tensorboard()

    from nerfstudio_avatars.nerfstudio_glue.kept_scene import built_model, kept_state, load_weights, read_checkpoint

    path = find_config(Path(path))
    config = read_config(path, trust)
    checkpoint = last_checkpoint(path, config.relative_model_dir, config.named_folder)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if need_data:
        check_data(config.data, path)
        trainer = read_trainer_config(path, trust)
        trainer.open(path)
        pipeline = trainer.pipeline.setup(device=device, test_mode="test")
        model = pipeline.model
    else:
        pipeline, model = None, None
    state = read_checkpoint(checkpoint)
    if model is None:
        model = built_model(config.model, config.model._target.kept_scene(kept_state(state), config.data), device)
    load_weights(model, state, checkpoint)
    (pipeline or model).eval()
    return LoadedRun(config, model, checkpoint, step_of(checkpoint), pipeline)
