"""Opening a trained run. Its `config.yml` is read by a loader that builds any object, so it is looked through first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import yaml

from nerfstudio_avatars.cli.errors import UserError

if TYPE_CHECKING:
    from nerfstudio.engine.trainer import TrainerConfig
    from nerfstudio.pipelines.base_pipeline import Pipeline

PYTHON_TAG = "tag:yaml.org,2002:python/"
PLAIN_KINDS = frozenset({"tuple", "none", "bool", "str", "unicode", "bytes", "int", "long", "float", "complex"})
CLASS_KINDS = frozenset({"object", "object/new", "object/apply", "name"})
TRUSTED_FUNCTIONS = frozenset({"nerfstudio.data.utils.nerfstudio_collate.nerfstudio_collate"})
"""Functions that nerfstudio's own configurations refer to."""
TRUSTED_PACKAGES = ("nerfstudio.", "nerfstudio_avatars.", "pathlib.", "torch.optim.")


@dataclass(frozen=True)
class LoadedRun:
    """A trained run, ready to render."""

    config: TrainerConfig
    pipeline: Pipeline
    checkpoint: Path
    step: int


def foreign_tags(text: str) -> list[str]:
    """The tags of a YAML document that could build something else than a nerfstudio configuration.

    Allowed are plain values, paths, torch's number types, and *classes* of nerfstudio, of this package and of torch's
    optimizers. Functions are not, but for the one that nerfstudio's own datamanagers name: nerfstudio has others, among
    them one that runs a shell command.
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
    """The `config.yml` that a file or a run's folder stands for.

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
        UserError: naming what was found, unless `trust` is set.
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
    """Finds data whose path was typed relative to the folder that the training was started in.

    Args:
        config: of the run, as it was written.
        outputs: the folder of all runs, where it is now; as typed, it too was relative to that folder.
    """
    typed, manager = config.output_dir, config.pipeline.datamanager
    data = getattr(manager, "data", None)
    if data is None or data.exists() or data.is_absolute() or typed.is_absolute():
        return
    started_in = Path(*outputs.parts[: len(outputs.parts) - len(typed.parts)])
    if started_in / typed == outputs and (started_in / data).exists():
        config.data = manager.data = started_in / data


def load_run(path: Path, trust: bool = False, test_mode: Literal["test", "val", "inference"] = "test") -> LoadedRun:
    """Opens a trained run with its last checkpoint, from whatever folder the command is given in.

    Raises:
        UserError: if the configuration is missing or not trusted, or there is no checkpoint.
    """
    path = find_config(path)
    check_config(path, trust)

    from nerfstudio.utils.eval_utils import eval_setup

    run_folder = path.resolve().parent

    def anchor(config: TrainerConfig) -> TrainerConfig:
        """Makes the run's folder independent of the working directory it was trained in."""
        if run_folder.parent.name == config.method_name:
            anchor_data(config, run_folder.parents[2])
            config.output_dir = run_folder.parents[2]
            config.experiment_name, config.timestamp = run_folder.parents[1].name, run_folder.name
        checkpoints = config.get_checkpoint_dir()
        if not any(checkpoints.glob("step-*.ckpt")):
            raise UserError(
                f"{checkpoints}: no checkpoint there. Expected step-*.ckpt; train the run to its end first."
            )
        return config

    config, pipeline, checkpoint, step = eval_setup(path, test_mode=test_mode, update_config_callback=anchor)
    return LoadedRun(config, pipeline, checkpoint, step)
