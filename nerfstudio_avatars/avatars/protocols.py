"""Evaluation protocols of papers, as data, and the published figures that are known for certain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ProtocolName = Literal["ours", "novel-view", "novel-pose", "instant-avatar-paper", "3dgs-avatar"]
Poses = Literal["given", "neighbours", "refined"]
"""Poses of held-out pictures: as in the data, corrected like the neighbouring training frames, or fitted to the test
picture itself."""

VIEWS = ("novel_view", "between_frames")
"""Groups whose poses lie between trained ones."""
NOVEL_POSES = ("novel_pose",)


@dataclass(frozen=True)
class Claim:
    """A statement printed in a paper, and where it was read. Figures from memory do not belong here."""

    what: str
    value: str
    source: str


@dataclass(frozen=True)
class Refinement:
    """How a held-out pose is fitted to its picture."""

    steps: int
    rays: int
    lr: float


@dataclass(frozen=True)
class Protocol:
    """What is rendered, and which figures are reported."""

    name: ProtocolName
    title: str
    backgrounds: tuple[str, ...]
    poses: tuple[Poses, ...]
    lpips: str = "lpips_alex"
    """The LPIPS figure of `metrics.lpips` to show in the column."""
    groups: tuple[str, ...] = ()
    """Groups of pictures; all if empty."""
    refinement: Refinement | None = None
    """How poses are fitted; None leaves it to the run's configuration."""
    stored_poses: bool = False
    """Whether to use poses of the data, without corrections learnt in training, as the published code does."""
    published_frames: bool = False
    """Whether the paper lists its frames for each subject."""
    picture_size: int | None = None
    """Side length of the paper's pictures in pixels."""
    reference: str = ""
    """The paper, or nothing if there is none."""
    counted: str = ""
    """The row to compare with the paper's table."""
    claims: tuple[Claim, ...] = ()
    caveats: tuple[str, ...] = ()
    """Differences from the paper that every run has."""


OURS = Protocol(
    "ours", "all groups, both backgrounds", backgrounds=("white", "black"), poses=("given", "neighbours", "refined")
)

INSTANT_AVATAR = Protocol(
    "instant-avatar-paper",
    "InstantAvatar's released evaluation: white, held-out poses fitted to the test pictures",
    backgrounds=("white",),
    poses=("given", "refined"),
    lpips="lpips_alex_unnormalised",
    refinement=Refinement(steps=20, rays=4096, lr=1e-5),
    stored_poses=True,
    published_frames=True,
    picture_size=540,
    reference="InstantAvatar (Jiang et al. 2023, arXiv 2212.10550)",
    counted="refined, on white, whole picture",
    claims=(
        Claim("training", "60 s", "the paper's abstract"),
        Claim("rendering", "15 pictures per second at 540x540", "the paper's abstract"),
        Claim("training speed", "40-50 steps per second on an RTX 3090", "tijiang13/InstantAvatar issue 22"),
    ),
    caveats=(
        "fitting: each picture has its own 20 Adam steps, whose rate falls to a tenth; the reference takes 20 rounds "
        "over all pictures with one Adam at a constant rate",
        "fitting: 4096 rays in and around the mask; the published code draws 60 % inside, 30 % in a band along the "
        "silhouette and 10 % anywhere",
        "fitting: orientation, body pose and translation are fitted; in the published code effectively the body pose "
        "alone",
        "shape: betas of training; the published code evaluates with those of its test file",
        "3DGS-Avatar's authors state that the paper's own table used frozen poses on black (3dgs-avatar-release issues "
        "21 and 31); this protocol follows the released eval.py. `--protocol 3dgs-avatar` measures in this way",
    ),
)

GAUSSIANS = Protocol(
    "3dgs-avatar",
    "3DGS-Avatar's protocol: black, held-out poses as given",
    backgrounds=("black",),
    poses=("given",),
    stored_poses=True,
    published_frames=True,
    picture_size=540,
    reference="3DGS-Avatar (Qian et al. 2024, arXiv 2312.09228)",
    counted="given, on black, whole picture",
    claims=(
        Claim("training", "less than 30 minutes", "the paper's abstract"),
        Claim("rendering", "more than 50 pictures per second", "the paper's abstract"),
    ),
    caveats=(
        "frames: InstantAvatar's lists; whether the paper takes every one of them was not determined",
        "SSIM: the figure of torchmetrics; the paper takes scikit-image's, which differs between that package's "
        "versions (3dgs-avatar-release issue 20)",
        "LPIPS: AlexNet, inputs scaled as defined by the metric; the paper's network was not determined",
        "method: a radiance field instead of Gaussians; only the skeleton moves it",
    ),
)

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        OURS,
        Protocol("novel-view", "poses between trained ones", ("white", "black"), OURS.poses, groups=VIEWS),
        Protocol("novel-pose", "poses never trained on", ("white", "black"), OURS.poses, groups=NOVEL_POSES),
        INSTANT_AVATAR,
        GAUSSIANS,
    )
}
