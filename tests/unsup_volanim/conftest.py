from dataclasses import replace

import pytest


@pytest.fixture(scope="session")
def four_heads():
    from toy_heads import ToyHeads

    return ToyHeads(range(4))


@pytest.fixture(scope="session")
def oracle(four_heads):
    """What the small network makes of four heads when it is told every pose; its detector has learned them."""
    from toy_heads import LOSSES, TruthAsSearch, learn, small_network

    from nerfstudio_avatars.unsup_volanim.training import AnimationAids

    aids = AnimationAids(search=TruthAsSearch(four_heads))
    losses = replace(LOSSES, equivariance=0.0, projection=0.0)
    return learn(small_network(four_heads.count), four_heads, 450, lambda _: aids, losses)
