"""Opens a trained run, measures it under a protocol, and says what differs from the protocol's paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nerfstudio_avatars.avatars.protocols import Protocol
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.export import PORTABLE

if TYPE_CHECKING:
    from nerfstudio_avatars.avatars.evaluation.report import RunReport

__all__ = ["report_on"]


def report_on(config: Path, protocol: Protocol, pictures: Path | None = None, data: Path | None = None) -> RunReport:
    """Opens a run and measures it under a protocol.

    Args:
        config: the run's config.yml, or a portable avatar.
        protocol: what to render and how.
        pictures: the folder for comparison pictures.
        data: where the data of a portable avatar are.
    """
    from nerfstudio_avatars.avatars.evaluation.differences import differences, facts_of
    from nerfstudio_avatars.avatars.evaluation.report import RunReport
    from nerfstudio_avatars.avatars.measure import follow, measure
    from nerfstudio_avatars.avatars.run import load_run
    from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModel

    run = load_run(config, need_data=True, data=data)
    if isinstance(run.model, UnsupVolanimModel):
        raise UserError(
            f"{config}: a run of {run.config.method}. Expected a run of instant-avatar, which these "
            "protocols are made for. Use `ns-avatar evaluate-animation` or `ns-eval`."
        )
    facts = facts_of(run)
    follow(protocol, run.model)
    measured = measure(run, protocol.groups, pictures)
    return RunReport(
        run=(config if config.suffix == PORTABLE else config.parent).as_posix(),
        subject=facts.subject,
        groups=measured.groups,
        frames=measured.frames,
        render_fps=measured.render_fps,
        step=run.step,
        differences=differences(facts, protocol),
        outlier_frames=run.model.outlier_frames(),
    )
