"""Where memory does not suffice, less is taken at a time."""

import numpy as np
import pytest
import torch

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.memory import AtATime, is_out_of_memory

ERRORS = {
    "a GPU's": torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB."),
    "torch's": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried"
    ),
    "torch's on Windows": RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
    "Python's": MemoryError(),
}


def suffices_for(most, error, tried):
    def work(count):
        tried.append(count)
        if count > most:
            raise error
        return f"done with {count}"

    return work


@pytest.mark.parametrize("name", ERRORS)
def test_the_number_is_halved_until_memory_suffices_and_it_is_said_once(name, capsys):
    rays, tried = AtATime(4096, "rays", "Close other programs."), []
    assert rays.run(suffices_for(1100, ERRORS[name], tried)) == "done with 1024"
    assert tried == [4096, 2048, 1024]
    assert rays.run(suffices_for(600, ERRORS[name], tried)) == "done with 512"
    assert rays.run(suffices_for(600, ERRORS[name], tried)) == "done with 512"
    assert tried[3:] == [1024, 512, 512], "the next time it begins with what has sufficed"
    assert capsys.readouterr().out.count("Memory does not suffice for 4096 rays at a time: 1024") == 1


def test_where_the_least_is_too_much_a_way_out_is_told():
    rays, tried = AtATime(1000, "rays", "Close other programs."), []
    with pytest.raises(UserError, match="even for 256 rays at a time. Close other programs"):
        rays.run(suffices_for(0, MemoryError(), tried))
    assert tried == [1000, 500, 256]


def test_other_errors_are_left_alone():
    with pytest.raises(RuntimeError, match="sizes do not match"):
        AtATime(1000, "rays", "").run(suffices_for(0, RuntimeError("sizes do not match"), []))


@pytest.mark.skipif(torch.cuda.is_available(), reason="about the computer's memory")
def test_what_torch_and_numpy_really_say_is_known():
    for much in (lambda: torch.empty(1 << 55, dtype=torch.uint8), lambda: np.empty(1 << 55, np.uint8)):
        with pytest.raises((MemoryError, RuntimeError)) as error:
            much()
        assert is_out_of_memory(error.value), error.value
