"""nerfstudio's trainer, made to last: without a GPU where there is none, stopped and resumed without a trace."""

from __future__ import annotations

import math
import os
import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn, cast, no_type_check

import torch
import yaml
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.utils.decorators import check_main_thread
from nerfstudio.utils.rich_utils import CONSOLE

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.files import write_text
from nerfstudio_avatars.memory import is_out_of_memory
from nerfstudio_avatars.nerfstudio_glue import checkpoints
from nerfstudio_avatars.nerfstudio_glue.random_state import random_state, restore_random_state
from nerfstudio_avatars.nerfstudio_glue.run_folder import anchored, config_being_opened, last_checkpoint
from nerfstudio_avatars.nerfstudio_glue.run_lock import RunLock
from nerfstudio_avatars.nerfstudio_glue.stock_commands import check_checkpoints, move_between_cameras
from nerfstudio_avatars.nerfstudio_glue.told_training import ToldTraining
from nerfstudio_avatars.nerfstudio_glue.unsound_steps import LAST_GOOD, UNSOUND, UnsoundSteps, WatchingScaler
from nerfstudio_avatars.nerfstudio_glue.viewer_guard import guard_viewer
from nerfstudio_avatars.standard_streams import lost_output


@dataclass
class AvatarTrainerConfig(TrainerConfig):
    """Options for training an avatar."""

    _target: type = field(default_factory=lambda: AvatarTrainer)
    # Not annotated, so no option: set when a finished run is opened.
    opened_in = cast("Path | None", None)

    def get_base_dir(self) -> Path:
        """The run's folder: where it was opened, or where its training writes it."""
        return self.opened_in or super().get_base_dir()

    @no_type_check  # As `config_being_opened` has it.
    def get_checkpoint_dir(self) -> Path:
        """Where the checkpoints are: a finished run is found by its config.yml, whatever its folder is called now."""
        config = config_being_opened()
        if config is not None:
            check_checkpoints()
            move_between_cameras()
            guard_viewer()
            self.open(config)
        return super().get_checkpoint_dir()

    def open(self, config: Path) -> None:
        """Makes a finished run independent of the folder it was trained in, and of the names it had.

        Args:
            config: the config.yml that this configuration was read from.

        Raises:
            UserError: if there is no checkpoint.
        """
        checkpoint = last_checkpoint(config, self.relative_model_dir, super().get_checkpoint_dir())
        manager = self.pipeline.datamanager
        data = manager.data or manager.dataparser.data
        if data is not None:
            data = anchored(Path(data), config, self.method_name, self.output_dir)
            self.data = manager.data = manager.dataparser.data = data
        self.opened_in = config.absolute().parent
        # An absolute folder stands for itself, whatever run's folder nerfstudio puts before it.
        self.relative_model_dir: Path = checkpoint.parent
        self.load_step = checkpoints.step_of(checkpoint)
        self.pipeline.checkpoint = checkpoint

    def save_config(self) -> None:
        """Writes `config.yml` whole or not at all, and only where no other training is at work.

        Raises:
            UserError: if another training runs in the folder, or nothing can be written there.
        """
        folder = self.get_base_dir()
        path = folder / "config.yml"
        RunLock.check(folder)
        CONSOLE.log(f"Saving config to: {path}")
        write_text(path, yaml.dump(self))


class _AskedToStopError(Exception):
    """Between two steps: the training was asked to end."""


class AvatarTrainer(ToldTraining):
    """Trains on the CPU if there is no GPU, and keeps all schedules as long as the training.

    Ctrl-C and SIGTERM end the training after the step at hand, with a checkpoint. A run that goes on from a checkpoint
    (`--load-dir`) does the very steps that it would have done: random numbers and the order of frames go along.
    """

    config: AvatarTrainerConfig
    callbacks: list[TrainingCallback]

    def __init__(self, config: AvatarTrainerConfig, local_rank: int = 0, world_size: int = 1) -> None:
        if config.machine.device_type == "cuda" and not torch.cuda.is_available():
            CONSOLE.print(
                "No CUDA device was found, so training runs on the CPU, which instant-avatar-cpu and "
                "unsup-volanim-tiny are made for."
            )
            config.machine.device_type = "cpu"
        fit_schedules(config)
        if config.mixed_precision and hasattr(config.pipeline.model, "bf16"):
            # It knows which of its layers bear bfloat16, whose gradients need no scaling.
            config.mixed_precision, config.pipeline.model.bf16 = False, True
        guard_viewer()
        self._lock = RunLock(config.get_base_dir()) if local_rank == 0 else None
        super().__init__(config, local_rank, world_size)
        self.grad_scaler = WatchingScaler(enabled=self.use_grad_scaler)
        self._stop_signal: int | None = None
        self._steps_done = 0
        self._random: dict[str, Any] | None = None

    def setup(self, test_mode: Literal["test", "val", "inference"] = "val") -> None:
        """Reads the data and builds the model; Ctrl-C ends it without a word of the code's."""
        try:
            super().setup(test_mode)
        except BaseException as error:
            self._release()
            if not isinstance(error, KeyboardInterrupt):
                raise
            CONSOLE.print("Stopped before the first step.")
            raise SystemExit(130) from None
        self._unsound = UnsoundSteps(self)
        # Gradients of several batches are averaged; where groups have different numbers, summed, as nerfstudio does.
        counts = {self.gradient_accumulation_steps[group] for group in self.optimizers.parameters}
        self.grad_scaler.batches = min(counts) if len(counts) == 1 else 1
        self._zeroed_every = math.lcm(*counts)
        begin = TrainingCallback([TrainingCallbackLocation.BEFORE_TRAIN_ITERATION], self._between_steps)
        end = TrainingCallback([TrainingCallbackLocation.AFTER_TRAIN_ITERATION], self._after_step)
        self.callbacks = [begin, *self.callbacks, end]

    def train(self) -> None:
        """Trains up to `max_num_iterations` steps in total: a resumed run takes the rest, on the same schedules."""
        total = self.config.max_num_iterations
        if self._start_step >= total:
            CONSOLE.print(
                f"Nothing to train: the checkpoint is already at step {self._start_step}. "
                "Use a larger --max-num-iterations, which counts from the first step."
            )
            return
        self.config.max_num_iterations = total - self._start_step
        self._steps_done = self._start_step
        try:
            with self._signals():
                super().train()
            self._unsound.report()
        except (_AskedToStopError, KeyboardInterrupt) as error:
            self._end_early(whole=isinstance(error, _AskedToStopError) or self.training_state == "paused")
        except (MemoryError, RuntimeError) as error:
            if self.world_size > 1 and _is_lost_process(error):
                self._go_without_the_others(error)
            if not is_out_of_memory(error):
                raise
            self._save_what_is_done()
            raise UserError(
                "Memory does not suffice. Close other programs, or take fewer at a time: "
                "--pipeline.datamanager.rays-per-frame for instant-avatar, "
                "--pipeline.datamanager.identities-per-batch for unsup-volanim."
            ) from error
        except (UserError, OSError) as error:
            # Data that have gone, for one: what has been learnt so far has not.
            lost = lost_output(error)
            self._save_what_is_done()
            if isinstance(error, UserError):
                raise
            error = lost or error
            place = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
            raise UserError(f"{place}{error.strerror or error}. The training cannot go on without it.") from error
        finally:
            self.config.max_num_iterations = total
            self._release()

    def train_iteration(self, step: int) -> tuple[torch.Tensor, dict[str, Any], dict[str, Any]]:
        """One step; where memory does not suffice, once more with less at a time, if the model can."""
        iterate = super().train_iteration
        again = getattr(self.pipeline.model, "less_at_a_time", None)
        try:
            return iterate(step) if again is None or self.world_size > 1 else again(lambda: iterate(step))
        except UNSOUND as error:
            if self.world_size > 1:
                # The others wait in the middle of this step for what this one will not send.
                raise UserError(f"Step {step}: {error}. Go on with --load-dir {self.checkpoint_dir}") from error
            loss = torch.tensor(torch.nan, device=self.device)
            self.grad_scaler.scale(loss)
            self.optimizers.scheduler_step_all(step)
            return loss, {}, {}

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    # Being stopped ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Lets Ctrl-C and SIGTERM end the training between two steps, where all of its state fits together.

        With several processes the one that started them ends them.
        """
        if self.world_size > 1 or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {one: signal.signal(one, self._ask_to_stop) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def _ask_to_stop(self, number: int, _: Any) -> None:
        if self._stop_signal is not None or self.training_state != "training":
            self._stop_signal = number
            raise KeyboardInterrupt
        self._stop_signal = number
        # Written past rich, which may hold its own lock in the very moment that the signal comes.
        os.write(2, b"\nStopping after this step, with a checkpoint. Once more stops at once.\n")

    def _between_steps(self, step: int) -> None:
        """Runs before anything of a step has happened."""
        if self._stop_signal is not None:
            raise _AskedToStopError
        # Not before: what comes before the first step, such as the viewer, draws random numbers too.
        restore_random_state(self._random)
        self._random = None
        self._unsound.look(step)
        if step % self._zeroed_every == 0:
            self.grad_scaler.begin()

    def _after_step(self, step: int) -> None:
        self._steps_done = step + 1

    def _end_early(self, whole: bool) -> None:
        """Saves, says how to go on, and ends the process with the code that its signal is known by.

        Args:
            whole: whether no step was under way.
        """
        if self.training_state == "completed":
            return  # The viewer had stayed open after the last step.
        if whole:
            self._save_what_is_done()
        else:
            CONSOLE.print("Stopped in the middle of a step, without a checkpoint.")
        raise SystemExit(128 + (self._stop_signal or signal.SIGINT))

    def _go_without_the_others(self, error: BaseException) -> NoReturn:
        """Ends a training of several processes that has lost one: its weights are those of the last whole step.

        Raises:
            UserError: always.
        """
        if self._lock is not None:
            self._save_what_is_done()
        raise UserError(
            "another process of this training has ended, so it cannot go on. Look for what that process said, or the "
            f"system's log if it was killed. Start all of them again with --load-dir {self.checkpoint_dir}"
        ) from error

    def _save_what_is_done(self) -> None:
        """A checkpoint of the last step that was done whole, unless there is one already."""
        step = self._steps_done - 1
        path = self.checkpoint_dir / f"step-{step:09d}.ckpt"
        if step < self._start_step:
            CONSOLE.print("Stopped before the first step was done: there is nothing to save.")
            return
        if not path.exists():
            self.save_checkpoint(step)
        if path.exists():
            resume = f"--load-dir {shlex.quote(str(self.checkpoint_dir))}"
            print(f"Stopped after step {step}; saved {path}\nGo on with: {resume}", flush=True)

    # Checkpoints ------------------------------------------------------------------------------------------------------

    @check_main_thread
    def save_checkpoint(self, step: int) -> None:
        """Writes a checkpoint that resumes exactly here; of older ones the last stays, should this one get lost."""
        pipeline: Any = getattr(self.pipeline, "module", self.pipeline)
        weights = pipeline.state_dict()
        if not all(bool(one.isfinite().all()) for one in _floating(weights)):
            CONSOLE.print(f"Step {step}: weights are not finite numbers, so no checkpoint is written.")
            return
        state = {
            "step": step,
            "method": self.config.method_name,
            "pipeline": weights,
            "optimizers": {name: one.state_dict() for name, one in self.optimizers.optimizers.items()},
            "schedulers": {name: one.state_dict() for name, one in self.optimizers.schedulers.items()},
            "scalers": self.grad_scaler.state_dict(),
            "random": random_state(),
            "order": _call(pipeline, "order_of_frames"),
        }
        _call(pipeline, "forget_what_a_checkpoint_lacks")
        rows = self._row_file()
        if rows is not None:
            there = [one.name for one in checkpoints.checkpoints_in(self.checkpoint_dir)]
            rows.let_go([*there, LAST_GOOD])
            rows.hold(f"step-{step:09d}.ckpt")
            rows.sync()
        checkpoints.write_checkpoint(self.checkpoint_dir, step, state, self.config.save_only_latest_checkpoint)

    def _load_checkpoint(self) -> None:
        """Takes up the checkpoint that `--load-dir` or `--load-checkpoint` names.

        Raises:
            UserError: if it cannot be read, or is of another method, or of other sizes.
        """
        if self._lock is not None:
            checkpoints.remove_leftovers(self.checkpoint_dir)
        rows = self._row_file()
        if rows is not None:
            rows.keep_in(self.checkpoint_dir.parent)
        config = self.config
        if config.load_dir is not None:
            read = checkpoints.read_latest(Path(config.load_dir), config.load_step)
        elif config.load_checkpoint is not None:
            read = checkpoints.read_checkpoint(Path(config.load_checkpoint))
        else:
            CONSOLE.print("No Nerfstudio checkpoint to load, so training from scratch.")
            return
        self._take_up(read)
        self._start_step = read.step + 1
        CONSOLE.print(f"Done loading Nerfstudio checkpoint from {read.path}")

    def _row_file(self) -> Any:
        """The file that has what checkpoints of the model only refer to, or None."""
        model = self.pipeline.model
        return getattr(getattr(model, "module", model), "row_file", None)

    def _take_up(self, read: checkpoints.Checkpoint) -> None:
        state, source = read.state, f"{read.path} ({checkpoints.method_of(read.state)})"
        pipeline: Any = getattr(self.pipeline, "module", self.pipeline)
        model = getattr(pipeline.model, "module", pipeline.model)
        target = f"this training's {self.config.method_name}"
        model.update_to_step(state["step"])
        checkpoints.load_weights(model, state["pipeline"], source, target, read.path)
        try:
            self.optimizers.load_optimizers(state["optimizers"])
            if "schedulers" in state and self.config.load_scheduler:
                self.optimizers.load_schedulers(state["schedulers"])
            self.grad_scaler.load_state_dict(state["scalers"])
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            found = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            raise UserError(
                f"{source}: the state of its optimizers does not fit {target} ({found}). "
                "Take a checkpoint of the same method and sizes."
            ) from error
        if self.world_size == 1:
            self._random = state.get("random")
            order = state.get("order")
            if order is not None:
                _call(pipeline, "restore_order_of_frames", order)


def _is_lost_process(error: BaseException) -> bool:
    """Whether an error says that another process of the training has gone: gloo's or NCCL's."""
    said = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Connection refused")
    return isinstance(error, torch.distributed.DistBackendError) or any(one in str(error) for one in said)


def _floating(weights: dict[str, Any]) -> Iterator[torch.Tensor]:
    return (one for one in weights.values() if isinstance(one, torch.Tensor) and one.is_floating_point())


def _call(pipeline: Any, name: str, *arguments: Any) -> Any:
    """Calls what a pipeline's parts may have."""
    result = None
    for part in (getattr(pipeline, "datamanager", None), getattr(pipeline, "model", None)):
        method = getattr(getattr(part, "module", part), name, None)
        if method is not None:
            result = method(*arguments)
    return result


def fit_schedules(config: AvatarTrainerConfig) -> None:
    """Makes every schedule as long as the training, and restarts rates at the phases of the model."""
    model = config.pipeline.model
    if hasattr(model, "max_steps"):
        model.max_steps = config.max_num_iterations
    for optimizer in config.optimizers.values():
        scheduler = optimizer["scheduler"]
        if hasattr(scheduler, "max_steps"):
            scheduler.max_steps = config.max_num_iterations
        if hasattr(scheduler, "boundaries") and hasattr(model, "schedule"):
            scheduler.boundaries = model.schedule.boundaries
