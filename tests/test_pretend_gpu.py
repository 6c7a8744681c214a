"""The pretended GPU refuses what CUDA refuses, allows what it allows, and computes as the CPU does."""

import copy

import numpy as np
import pytest
import torch
from pretend_gpu import GPU, WrongDevice, pretend_gpu

REFUSED = {
    "two devices": lambda gpu, cpu: gpu + cpu,
    "joined": lambda gpu, cpu: torch.cat([gpu, cpu]),
    "a module's input": lambda gpu, cpu: torch.nn.Linear(3, 2).to("cuda")(cpu),
    "a GPU's index of a CPU's tensor": lambda gpu, cpu: cpu[gpu.long()],
    "a GPU's number into a CPU's tensor": lambda gpu, cpu: cpu.add_(gpu[0]),
    "values put at indices": lambda gpu, cpu: gpu.index_put_((torch.tensor([0, 1, 2]),), cpu),
    "numpy": lambda gpu, cpu: gpu.numpy(),
    "an array": lambda gpu, cpu: np.asarray(gpu),
    "a CPU's generator": lambda gpu, cpu: torch.rand(3, device="cuda", generator=torch.Generator()),
    "a GPU's generator": lambda gpu, cpu: torch.rand(3, generator=torch.Generator("cuda")),
}
ALLOWED = {
    "a number": lambda gpu, cpu: gpu * cpu[0],
    "a CPU's indices": lambda gpu, cpu: gpu[torch.tensor([2, 0])],
    "a list": lambda gpu, cpu: gpu[[2, 0]],
    "a copy": lambda gpu, cpu: gpu.clone().copy_(cpu),
    "a choice": lambda gpu, cpu: torch.where(gpu > 1, 0.0, torch.tensor(0.5)),
    "its own generator": lambda gpu, cpu: torch.rand(
        3, device=gpu.device, generator=torch.Generator(gpu.device).manual_seed(0)
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cuda_refuses_is_refused(name):
    with pretend_gpu(), pytest.raises(WrongDevice):
        REFUSED[name](torch.arange(3.0, device="cuda"), torch.ones(3))


@pytest.mark.parametrize("name", ALLOWED)
def test_what_cuda_allows_is_allowed(name):
    with pretend_gpu():
        found = ALLOWED[name](torch.arange(3.0).cuda(), torch.ones(3))
        assert found.device == GPU and found.is_cuda
        here = ALLOWED[name](torch.arange(3.0), torch.ones(3))
        torch.testing.assert_close(found.cpu(), here)


def test_a_network_learns_as_on_the_cpu_and_keeps_its_parameters():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten())
    x = torch.rand(2, 3, 5, 5)
    losses = []
    with pretend_gpu():
        for device, trained in (("cpu", copy.deepcopy(network)), ("cuda", network)):
            parameters = list(trained.parameters())
            trained.to(device)
            assert all(ours is theirs for ours, theirs in zip(parameters, trained.parameters(), strict=True))
            adam = torch.optim.Adam(trained.parameters(), lr=0.1, fused=True)
            for _ in range(3):
                loss = trained(x.to(device)).square().mean()
                adam.zero_grad()
                loss.backward()
                adam.step()
            losses.append(loss.item())
        assert isinstance(network[0].weight, torch.nn.Parameter) and network[0].weight.grad.device == GPU
    assert losses[1] == pytest.approx(losses[0])
