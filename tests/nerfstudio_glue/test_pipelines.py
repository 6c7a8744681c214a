"""Training in pieces, on several processes, and on data that has changed: the same as training in one go."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from recorded_training import losses_of

from nerfstudio_avatars.demo.head_clips import draw_head_clips
from nerfstudio_avatars.nerfstudio_glue.optimizers import AdamStep

STEPS, KILLED = 8, 4


@pytest.fixture(scope="module", params=["dense", "sparse"])
def whole(request, head_clips, small_volanim, tmp_path_factory):
    """A run that went through: pose search, one rigid part, many parts."""
    config = small_volanim(head_clips, tmp_path_factory.mktemp("whole"), steps=STEPS)
    config.pipeline.model.network.identity_rows = request.param
    config.steps_per_save = KILLED
    return losses_of(config, STEPS)


def codes_of(network):
    """The codes before whitening."""
    rows = network.embedding.rows
    return network.embedding.table if rows is None else rows.table


def test_a_run_that_was_killed_goes_on_as_it_would_have(whole, head_clips, small_volanim, tmp_path):
    expected, trainer = whole
    config = small_volanim(head_clips, tmp_path, steps=STEPS)
    network = trainer.pipeline.model.network
    config.pipeline.model.network.identity_rows = network.config.identity_rows
    config.load_dir, config.load_step = trainer.checkpoint_dir, KILLED
    resumed, again = losses_of(config, STEPS)
    assert sorted(resumed) == list(range(KILLED + 1, STEPS))
    assert bool(again.pipeline.model.network.articulated), "the switch lies between"
    for step, losses in resumed.items():
        assert losses == pytest.approx(expected[step], rel=1e-5), step
    for (name, ours), theirs in zip(
        again.pipeline.state_dict().items(), trainer.pipeline.state_dict().values(), strict=True
    ):
        if isinstance(ours, torch.Tensor):
            torch.testing.assert_close(ours, theirs, msg=name)
    everybody = torch.arange(network.identities)
    with torch.no_grad(), network.evaluating(), again.pipeline.model.network.evaluating():
        volumes = again.pipeline.model.network.detail_of(everybody)
        assert volumes.any(), "volumes were learnt"
        torch.testing.assert_close(volumes, network.detail_of(everybody))


def test_a_resumed_run_ends_where_the_whole_one_would(whole, head_clips, small_volanim, tmp_path, capsys):
    _, trainer = whole
    config = small_volanim(head_clips, tmp_path, steps=STEPS)
    config.pipeline.model.network.identity_rows = trainer.pipeline.model.network.config.identity_rows
    config.load_dir, config.load_step = trainer.checkpoint_dir, STEPS - 1
    seen, again = losses_of(config, until=10 * STEPS)
    assert not seen and "Nothing to train" in capsys.readouterr().out
    config.load_step = KILLED
    seen, again = losses_of(config, until=10 * STEPS)
    assert max(seen) == STEPS - 1 and again.config.max_num_iterations == STEPS


def test_every_kind_of_loss_takes_part_at_its_time(whole):
    losses, _ = whole
    assert "found" not in losses[0] and "equivariance" not in losses[0], "no detector at first"
    assert "found" in losses[4] and "equivariance" in losses[4]
    assert "found" not in losses[7]
    assert all("mask" in each and "pixel" in each for each in losses.values())


def test_the_optimizer_forgets_what_it_knew_when_parts_appear(head_clips, small_volanim, tmp_path):
    config = small_volanim(head_clips, tmp_path, steps=STEPS)
    seen, trainer = losses_of(config, until=7)  # the object becomes articulated at 6 of 8 steps
    adam = trainer.optimizers.optimizers["network"]
    assert {float(state["step"]) for state in adam.state.values()} == {1.0}
    assert max(seen) == 6


def test_identities_are_matched_by_name_when_a_clip_was_added(whole, head_clips, small_volanim, tmp_path):
    """Six clips in the place of four, one of them before those known."""
    _, trainer = whole
    more = draw_head_clips(tmp_path / "more", identities=6, frames=16, size=32, test_identities=0)
    newcomer = next((more / "train").glob("id10006#*"))
    for kind in (more / "train", more / "masks" / "train"):
        (kind / newcomer.name).rename(kind / "id00001#first#000000#000016")
    config = small_volanim(more, tmp_path)
    config.pipeline.model.network.identity_rows = trainer.pipeline.model.network.config.identity_rows
    config.load_dir, config.load_step = trainer.checkpoint_dir, STEPS - 1
    again = config.setup()
    again.setup()
    old, new = trainer.pipeline.model, again.pipeline.model
    names, before = new.clips.identities, old.clips.identities
    assert len(names) == 6 and names[0].startswith("id00001") and set(before) < set(names)
    rows = dict(zip(names, codes_of(new.network), strict=True))
    for row, name in enumerate(before):
        torch.testing.assert_close(rows[name], codes_of(old.network)[row])
        with torch.no_grad(), old.network.evaluating(), new.network.evaluating():
            volumes = new.network.detail_of(torch.tensor([names.index(name)]))
            torch.testing.assert_close(volumes, old.network.detail_of(torch.tensor([row])))
    mean = codes_of(old.network).mean(0)
    for name in set(names) - set(before):
        torch.testing.assert_close(rows[name], mean)
    assert len(new.search.rotation) == 6 * 16 and (new.search.rotation == torch.eye(3)).all()
    assert again._start_step == STEPS
    losses = again.train_iteration(STEPS)[0]
    assert losses.isfinite()


# Several processes ----------------------------------------------------------------------------------------------------

PARALLEL_STEPS = (1, 3)
"""Of 4: with the pose search, and with many parts and the detector's own poses."""


def deterministic(monkeypatched):
    """Nothing at random in a step: the two processes and the one must see the same."""
    from nerfstudio_avatars.unsup_volanim import model as unsup_volanim
    from nerfstudio_avatars.unsup_volanim import pose_search
    from nerfstudio_avatars.unsup_volanim import training as animation_training

    render = unsup_volanim.VolumetricAnimation.render

    def still(self, *arguments, jitter=False, density_noise=0.0, **options):
        return render(self, *arguments, **options)

    monkeypatched(unsup_volanim.VolumetricAnimation, "render", still)
    warp = torch.tensor([[1.1, 0.05, 0.1], [-0.05, 0.9, 0.0]])
    monkeypatched(animation_training, "_random_warp", lambda images: (images, warp.expand(len(images), 2, 3)))
    trials = torch.Generator().manual_seed(0)
    numbers = {kind: torch.rand(64, 3, generator=trials) for kind in ("rand", "randn")}

    class Trials:
        """Torch for the pose search: the same trials for every frame."""

        def __getattr__(self, name):
            if name in numbers:
                return lambda *shape, device=None: numbers[name][: shape[1] if shape[2:] else 1, : shape[-1]].expand(
                    shape
                )
            if name == "randint":
                return lambda low, high, shape, device=None: torch.ones(shape, dtype=torch.long)
            return getattr(torch, name)

    monkeypatched(pose_search, "torch", Trials())


def train_in_parallel(config, output, rank=0, world=1, port=0):
    """A few steps on one of several processes, with either kind of rows."""
    from torch import distributed

    if world > 1:
        distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    found = {}
    for kind in ("dense", "sparse"):
        config.pipeline.model.network.identity_rows = kind
        found[kind] = learn_a_little(config, rank, world)
    torch.save(found, output / f"{rank}-of-{world}.pt")
    return found


def learn_a_little(config, rank, world):
    """Losses, and the weights at the end."""
    torch.manual_seed(0)
    pipeline = config.pipeline.setup(device="cpu", test_mode="val", world_size=world, local_rank=rank)
    pipeline.model.config.max_steps = 4
    # Not Adam, which makes large steps of derivatives that are nothing but rounding errors.
    descent = torch.optim.SGD(pipeline.get_param_groups()["network"], lr=1e-3)
    losses = []
    for step in PARALLEL_STEPS:
        pipeline.model.begin_step(step)
        terms = pipeline.get_train_loss_dict(step)[1]
        descent.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        descent.step()
        for rows in pipeline.model.network.sparse_rows():
            # With so large an addend, Adam's step is the gradient times the rate.
            rows.learn(AdamStep(1e3, (0.5, 0.999), eps=1e6, clip=1e6))
        losses.append({name: value.item() for name, value in terms.items()})
    state = pipeline.model.state_dict()
    with torch.no_grad(), pipeline.model.network.evaluating():
        if rank == 0:  # It has the file.
            state["network.detail"] = pipeline.model.network.detail_of(torch.arange(4))
    return {"losses": losses, "state": state}


def parallel_config(small_volanim, data, output):
    config = small_volanim(data, output)
    model = config.pipeline.model
    model.schedule.density_noise, model.schedule.patch, model.schedule.detect_from = 0.0, None, 0.0
    model.losses.pull, model.losses.pull_threshold = 3.0, 100.0
    return config


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(head_clips, small_volanim, tmp_path, monkeypatch):
    config = parallel_config(small_volanim, head_clips, tmp_path)
    torch.save(config, tmp_path / "config.pt")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    running = [
        subprocess.Popen(
            [sys.executable, __file__, json.dumps([str(tmp_path), rank, 2, port])],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        for rank in (0, 1)
    ]
    try:
        deterministic(monkeypatch.setattr)
        one = train_in_parallel(config, tmp_path)
        for process in running:
            said = process.communicate(timeout=200)[1]
            assert process.returncode == 0, said[-3000:]
    finally:
        for process in running:
            process.kill()
    both = [torch.load(tmp_path / f"{rank}-of-2.pt", weights_only=False) for rank in (0, 1)]
    for kind, alone in one.items():
        compare(*(each[kind] for each in both), alone)


def compare(first, second, one):
    """What two processes learnt, and one."""
    assert "found" in one["losses"][0] and one["losses"][1]["pull"] > 0
    for place, expected in enumerate(one["losses"]):
        mean = {name: (first["losses"][place][name] + second["losses"][place][name]) / 2 for name in expected}
        assert mean == pytest.approx(expected, rel=1e-4), PARALLEL_STEPS[place]
    ours, theirs, alone = (
        {name: value for name, value in run["state"].items() if isinstance(value, torch.Tensor)}
        for run in (first, second, one)
    )
    for name in theirs:
        assert torch.equal(ours[name], theirs[name]), name
    torch.testing.assert_close(ours, alone, atol=3e-5, rtol=1e-3)
    assert alone["network.detail"].abs().max() > 1e-5, "it learned"
    moved = (alone["search.rotation"] != torch.eye(3)).flatten(1).any(1).sum()
    assert moved >= 3, "both processes found poses"


if __name__ == "__main__":
    output, rank, world, port = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    deterministic(setattr)
    train_in_parallel(torch.load(Path(output) / "config.pt", weights_only=False), Path(output), rank, world, port)


def test_any_seed_will_do(head_clips, small_volanim, tmp_path):
    config = small_volanim(head_clips, tmp_path)
    config.pipeline.seed = 20_261_121
    pipeline = config.pipeline.setup(device="cpu")
    assert all(term.isfinite() for term in pipeline.get_train_loss_dict(0)[1].values())


def test_means_that_are_no_numbers_are_left_out(head_clips, small_volanim, tmp_path, monkeypatch):
    from nerfstudio.pipelines.base_pipeline import VanillaPipeline

    pipeline = small_volanim(head_clips, tmp_path).pipeline.setup(device="cpu", test_mode="test")
    means = {"l1": 0.5, "l1_std": float("nan"), "psnr": float("inf")}
    monkeypatch.setattr(VanillaPipeline, "get_average_image_metrics", lambda *_, **__: means)
    assert pipeline.get_average_eval_image_metrics(get_std=True) == {"l1": 0.5}
