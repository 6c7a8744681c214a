"""Two processes through nerfstudio's whole training loop: checkpoints, a process that is killed, resuming, evaluation.

nerfstudio's launcher wants CUDA even for processes on the CPU, so they are started here, each with its `train_loop`.
"""

import json
import os
import signal
import socket
import subprocess
import sys
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


def started(folder, name, killed=None, resume=False):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    more = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    return [
        subprocess.Popen(
            [sys.executable, __file__, json.dumps([str(folder), name, rank, port, killed, resume])],
            env=os.environ | more,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]


def weights(folder, name, rank=0):
    state = torch.load(folder / f"{name}-{rank}.pt", weights_only=False)
    return {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}


@pytest.mark.slow
def test_a_run_whose_process_is_killed_says_so_and_goes_on_as_if_nothing_had_happened(
    head_clips, small_volanim, tmp_path
):
    config = small_volanim(head_clips, tmp_path / "outputs", steps=STEPS)
    config.steps_per_save = 100
    torch.save(config, tmp_path / "config.pt")
    whole, torn = started(tmp_path, "whole"), started(tmp_path, "torn", killed=KILLED)
    try:
        for process in whole:
            said = process.communicate(timeout=300)[0]
            assert process.returncode == 0, said[-3000:]
        said = torn[0].communicate(timeout=300)[0]
        assert torn[0].returncode == 1 and torn[1].wait() == -signal.SIGKILL
        assert "another process of this training has ended" in said and "--load-dir" in said, said[-3000:]
        resumed = started(tmp_path, "torn", resume=True)
        for process in resumed:
            said = process.communicate(timeout=300)[0]
            assert process.returncode == 0, said[-3000:]
    finally:
        for process in (*whole, *torn):
            process.kill()
    first, second, again = weights(tmp_path, "whole"), weights(tmp_path, "whole", 1), weights(tmp_path, "torn")
    for name, value in first.items():
        assert torch.equal(value, second[name]), f"{name}: both processes hold the same"
        torch.testing.assert_close(again[name], value, msg=name)

    from nerfstudio_avatars.avatars.run import load_run

    run = load_run(tmp_path / "outputs" / "heads" / config.method_name / "torn" / "config.yml", need_data=True)
    assert run.step == STEPS - 1
    means = run.pipeline.get_average_eval_image_metrics(step=STEPS)
    assert means["psnr"] > 0


if __name__ == "__main__":
    folder, *rest = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    train(Path(folder), *rest)
