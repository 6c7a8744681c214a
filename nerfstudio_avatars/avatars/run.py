"""Opening a trained run. Loading its `config.yml` can build any object, so the file is checked first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import yaml

from nerfstudio_avatars.errors import UserError

if TYPE_CHECKING:
    from nerfstudio.engine.trainer import TrainerConfig
    from nerfstudio.pipelines.base_pipeline import Pipeline

PYTHON_TAG = "tag:yaml.org,2002:python/"
PLAIN_KINDS = frozenset({"tuple", "none", "bool", "str", "unicode", "bytes", "int", "long", "float", "complex"})
CLASS_KINDS = frozenset({"object", "object/new", "object/apply", "name"})
TRUSTED_FUNCTIONS = frozenset({"nerfstudio.data.utils.nerfstudio_collate.nerfstudio_collate"})
"""Functions that nerfstudio's own configurations name."""
TRUSTED_PACKAGES = ("nerfstudio.", "nerfstudio_avatars.", "pathlib.", "torch.optim.")


@dataclass(frozen=True)
class LoadedRun:
    """A trained run, ready to render."""

    config: TrainerConfig
    pipeline: Pipeline
    checkpoint: Path
    step: int


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


def find_config(path: Path) -> Path:
    """The `config.yml` meant by a path to it or to the folder of a run.

    Raises:
        UserError: if there is none.
    """
    config = path / "config.yml" if path.is_dir() else path
    if not config.is_file():
        raise UserError(f"{config}: no such file. Expected the config.yml that ns-train writes into a run's folder.")
    return config


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


def anchor_data(config: TrainerConfig, outputs: Path) -> None:
    """Finds data whose path is relative to the folder that training was started in.

    Args:
        config: the configuration of the run, as written.
        outputs: the present folder of all runs, which was relative to the same folder.
    """
    typed, manager = config.output_dir, config.pipeline.datamanager
    data = getattr(manager, "data", None)
    if data is None or data.exists() or data.is_absolute() or typed.is_absolute():
        return
    started_in = Path(*outputs.parts[: len(outputs.parts) - len(typed.parts)])
    if started_in / typed == outputs and (started_in / data).exists():
        config.data = manager.data = started_in / data


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints that nerfstudio wrote to a folder, in order of steps; empty if there is no such folder."""
    return sorted(folder.glob(f"step-{'[0-9]' * 9}.ckpt"))


def step_of(checkpoint: Path) -> int:
    """The step that a file such as `step-000001499.ckpt` was saved at."""
    return int(checkpoint.stem.removeprefix("step-"))


def check_data(config: TrainerConfig, path: Path) -> None:
    """Checks that the data exist: opening a run reads them to build the model.

    Args:
        config: the configuration of the run.
        path: the path of its config.yml.

    Raises:
        UserError: if they do not exist.
    """
    manager = config.pipeline.datamanager
    data = getattr(manager, "data", None) or getattr(getattr(manager, "dataparser", None), "data", None)
    if data is not None and not data.exists():
        typed = f" That is a path from {Path.cwd()}: start the command where ns-train was started."
        raise UserError(
            f"{data}: no such file or folder. Expected the data that {path} was trained on, where they were then."
            f"{'' if data.is_absolute() else typed} Put them back, or a link to them."
        )


def load_run(path: Path, trust: bool = False, test_mode: Literal["test", "val", "inference"] = "test") -> LoadedRun:
    """Opens a trained run with its last checkpoint, from any working directory.

    Checkpoints beside the configuration belong to the run, even if its folder was renamed or moved; the folder that the
    configuration names is only used if there are none.

    Raises:
        UserError: if the configuration is missing or not trusted, or if checkpoints or data are missing.
    """
    path = find_config(path)
    check_config(path, trust)

    from nerfstudio.utils.eval_utils import eval_setup

    run_folder = path.resolve().parent

    def anchor(config: TrainerConfig) -> TrainerConfig:
        """Makes the run independent of the working directory it was trained in, and of the name of its folder."""
        if run_folder.parent.name == config.method_name and len(run_folder.parents) > 2:  # noqa: PLR2004
            anchor_data(config, run_folder.parents[2])
        own = path.absolute().parent / config.relative_model_dir
        checkpoints = checkpoints_in(own)
        if not checkpoints:
            checkpoints = checkpoints_in(config.get_checkpoint_dir())
            if not checkpoints:
                raise UserError(f"{own}: no checkpoint there. Expected step-*.ckpt; train the run to its end first.")
            print(f"No checkpoint beside {path}; taken from where its training wrote them: {checkpoints[-1]}")
        # An absolute folder stands for itself, whatever run's folder nerfstudio puts before it.
        config.relative_model_dir = checkpoints[-1].parent.absolute()
        config.load_step = step_of(checkpoints[-1])
        check_data(config, path)
        return config

    config, pipeline, checkpoint, step = eval_setup(path, test_mode=test_mode, update_config_callback=anchor)
    return LoadedRun(config, pipeline, checkpoint, step)
