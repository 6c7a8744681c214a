"""The machine, with better and worse ones faked."""

import shutil
from types import SimpleNamespace

import psutil
import pytest
import torch

from nerfstudio_avatars import kernel_cache
from nerfstudio_avatars.doctor import hardware

CALM = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}


@pytest.fixture
def gpu(monkeypatch):
    """`gpu(major, minor)`: a card that torch sees, on which sums run on the CPU."""
    ones = torch.ones

    def pretend(major=8, minor=9):
        properties = SimpleNamespace(name="Pretend 4090", total_memory=24e9, major=major, minor=minor)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _index: properties)
        monkeypatch.setattr(torch, "ones", lambda size, device="cpu": ones(size))

    return pretend


def test_without_a_gpu_the_method_for_processors_is_advised(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(hardware, "nvidia_card", lambda: False)
    finding = hardware.device()
    assert (finding.status, finding.remedy) == ("slow", "ns-train instant-avatar-cpu --data DATA")


def test_a_card_that_torch_cannot_use_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(hardware, "nvidia_card", lambda: True)
    finding = hardware.device()
    assert "an NVIDIA GPU that torch" in finding.found and "pip install" in finding.remedy


def test_a_card_on_which_a_sum_runs_is_ok(gpu):
    gpu()
    finding = hardware.device()
    assert finding.status == "ok" and "Pretend 4090, 24 GB, compute capability 8.9" in finding.found


def test_a_card_without_kernels_for_it_sends_to_the_processor(gpu, monkeypatch):
    gpu()

    def fail(*_arguments, **_options):
        raise RuntimeError("CUDA error: no kernel image is available\nmore")

    monkeypatch.setattr(torch, "ones", fail)
    finding = hardware.device()
    assert finding.status == "slow" and finding.found.endswith("no kernel image is available")


def test_a_card_too_old_for_triton_is_slow(gpu):
    gpu(6, 1)
    assert hardware.device().remedy == "export NERFSTUDIO_AVATARS_BACKEND=torch"


@pytest.mark.parametrize(("quota", "cores"), [("100000 100000\n", 1), ("50000 100000\n", 1), ("max 100000\n", None)])
def test_a_containers_quota_counts(quota, cores, tmp_path):
    file = tmp_path / "cpu.max"
    without = hardware.usable_cores(file)
    file.write_text(quota)
    assert hardware.usable_cores(file) == (cores or without)


@pytest.mark.parametrize(
    ("given", "usable", "remedy"),
    [
        ({"OMP_NUM_THREADS": "1"}, 64, "unset OMP_NUM_THREADS"),
        ({"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "2"}, 64, "unset OMP_NUM_THREADS NUMBA_NUM_THREADS"),
        ({"OMP_NUM_THREADS": "64"}, 64, ""),
        ({}, 64, ""),
        ({}, 0, "export OMP_NUM_THREADS=0 NUMBA_NUM_THREADS=0"),
    ],
)
def test_threads_are_compared_with_cores(given, usable, remedy):
    finding = hardware.cores(given, usable)
    assert (finding.status, finding.remedy) == ("slow" if remedy else "ok", remedy)


@pytest.mark.parametrize(
    ("given", "system", "gpu", "status"),
    [
        ({}, "Linux", False, "slow"),
        ({"OMP_WAIT_POLICY": "passive"}, "Linux", False, "slow"),
        (CALM, "Linux", False, "ok"),
        (CALM | {"OMP_WAIT_POLICY": "PASSIVE"}, "Linux", False, "ok"),
        ({}, "Linux", True, "ok"),
        ({}, "Darwin", False, "ok"),
    ],
)
def test_spinning_threads_are_slow_where_they_spin(given, system, gpu, status):
    assert hardware.idle_threads(given, system, gpu).status == status


def test_little_memory_is_slow(tmp_path, monkeypatch):
    free = SimpleNamespace(total=16e9, available=12e9)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    limit = tmp_path / "memory.max"
    assert hardware.memory(limit).status == "ok"
    limit.write_text("1000000000\n")
    finding = hardware.memory(limit)
    assert finding.status == "slow" and "1.0 of 1.0 GB" in finding.found


def test_a_full_disk_stops_training(tmp_path, monkeypatch):
    assert hardware.disk(tmp_path / "outputs").status == "ok"
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: SimpleNamespace(free=1e6))
    finding = hardware.disk(tmp_path / "outputs")
    assert finding.stops_training and "--output-dir" in finding.remedy


def test_a_folder_that_cannot_be_made_stops_training(tmp_path):
    (tmp_path / "outputs").touch()
    assert hardware.disk(tmp_path / "outputs" / "below").stops_training


def test_kernels_that_cannot_be_kept_are_told(monkeypatch, tmp_path):
    assert hardware.kernels({}).status == "ok"
    monkeypatch.setattr(kernel_cache, "_can_be_written", lambda folder: False)
    finding = hardware.kernels({})
    assert finding.status == "slow" and "NUMBA_CACHE_DIR" in finding.remedy
    assert hardware.kernels({"NUMBA_CACHE_DIR": str(tmp_path)}).found.endswith(str(tmp_path))
