"""Two processes through nerfstudio's whole training loop: checkpoints, a process that is killed, resuming, evaluation.

nerfstudio's launcher wants CUDA even for processes on the CPU, so they are started here, each with its `train_loop`.
They are forked from one that has imported everything, which takes longer than all of their steps.
"""

import contextlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import torch

STEPS, KILLED = 8, 5


def train(folder, name, rank, port, killed, resume):
    """One of two processes, as nerfstudio's `_distributed_worker` has it."""
    from nerfstudio.scripts.train import train_loop
    from nerfstudio.utils import comms
    from torch import distributed

    from nerfstudio_avatars.nerfstudio_glue.trainer import AvatarTrainer

    config = torch.load(folder / "config.pt", weights_only=False)
    config.timestamp, config.steps_per_eval_image = name, 4
    if resume:
        config.load_dir = config.get_checkpoint_dir()
    iterate, trainers = AvatarTrainer.train_iteration, []

    def iterated(self, step):
        trainers.append(self)
        if rank == 1 and step == killed:
            os.kill(os.getpid(), signal.SIGKILL)
        return iterate(self, step)

    AvatarTrainer.train_iteration = iterated
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    comms.LOCAL_PROCESS_GROUP = distributed.new_group([0, 1])
    if rank == 0:
        config.save_config()
    train_loop(rank, 2, config, rank)
    torch.save(trainers[-1].pipeline.model.state_dict(), folder / f"{name}-{rank}.pt")
    comms.synchronize()
    distributed.destroy_process_group()


def fork(folder, name, rank, port, killed, resume):
    """One of two processes, which says what it has to say in a file."""
    child = os.fork()
    if child:
        return child
    out = os.open(folder / f"{name}-{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    code = 1
    try:
        train(folder, name, rank, port, killed, resume)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run_together(folder, runs):
    """Two processes of each run (name, killed, resume) at a time; all share what this one has imported.

    Returns:
        The codes of both, by the run's name.
    """
    children = {}
    for name, killed, resume in runs:
        port = free_port()
        children[name] = [fork(folder, name, rank, port, killed, resume) for rank in (0, 1)]
    return {
        name: [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in both] for name, both in children.items()
    }


def ended(folder, *runs):
    """The same, in a process that is killed with whatever it started if it takes too long."""
    more = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, str(folder), json.dumps(runs)]
    process = subprocess.Popen(
        command, env=os.environ | more, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        return json.loads(process.communicate(timeout=300)[0].splitlines()[-1])
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def said(folder, name, rank=0):
    """The end of what a process has said."""
    return (folder / f"{name}-{rank}.txt").read_text()[-3000:]


def weights(folder, name, rank=0):
    state = torch.load(folder / f"{name}-{rank}.pt", weights_only=False)
    return {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}


@pytest.mark.slow
def test_a_run_whose_process_is_killed_says_so_and_goes_on_as_if_nothing_had_happened(
    head_clips, small_volanim, tmp_path
):
    config = small_volanim(head_clips, tmp_path / "outputs", steps=STEPS)
    config.steps_per_save, config.pipeline.model.network.identity_rows = 100, "sparse"
    torch.save(config, tmp_path / "config.pt")
    codes = ended(tmp_path, ("whole", None, False), ("torn", KILLED, False))
    assert codes["whole"] == [0, 0], said(tmp_path, "whole")
    assert codes["torn"] == [1, -signal.SIGKILL]
    last_words = said(tmp_path, "torn")
    assert "another process of this training has ended" in last_words and "--load-dir" in last_words
    assert ended(tmp_path, ("torn", None, True))["torn"] == [0, 0], said(tmp_path, "torn")
    first, second, again = weights(tmp_path, "whole"), weights(tmp_path, "whole", 1), weights(tmp_path, "torn")
    for name, value in first.items():
        assert torch.equal(value, second[name]), f"{name}: both processes hold the same"
        torch.testing.assert_close(again[name], value, msg=name)

    from nerfstudio_avatars.avatars.run import load_run

    volumes = []
    for name in ("whole", "torn"):
        path = tmp_path / "outputs" / "heads" / config.method_name / name / "config.yml"
        run = load_run(path, need_data=True)
        with torch.no_grad():
            volumes.append(run.pipeline.model.network.eval().detail_of(torch.arange(4)))
    assert volumes[0].any(), "volumes were learnt"
    torch.testing.assert_close(*volumes)
    assert run.step == STEPS - 1
    means = run.pipeline.get_average_eval_image_metrics(step=STEPS)
    assert means["psnr"] > 0


if __name__ == "__main__":
    for module in ("nerfstudio.scripts.train", "nerfstudio_avatars.methods"):
        importlib.import_module(module)
    torch.set_num_threads(1)
    print(json.dumps(run_together(Path(sys.argv[1]), json.loads(sys.argv[2]))))
