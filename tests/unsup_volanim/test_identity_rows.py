"""Rows of a checkpoint find their identities by name."""

import torch

from nerfstudio_avatars.unsup_volanim.identity_rows import match_identities


def test_fine_volumes_move_with_their_identities_and_new_ones_get_the_mean():
    volumes = {f"m.network.fine.{row}": torch.full((4, 2, 2, 2), float(row)) for row in range(3)}
    state = {"m._extra_state": {"clips": {"identities": ["a", "b", "c"]}}, **volumes}
    match_identities(state, "m.", ["c", "new"], {})
    assert {name for name in state if ".fine." in name} == {"m.network.fine.0", "m.network.fine.1"}
    assert (state["m.network.fine.0"] == 2).all() and (state["m.network.fine.1"] == 1).all()
