"""The training schedule of `unsup-volanim`: pose search, one rigid part, many parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.unsup_volanim.canonical_frames import align_identities
from nerfstudio_avatars.unsup_volanim.data.clips import Clips
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation
from nerfstudio_avatars.unsup_volanim.part_pose_table import PartPoseTable
from nerfstudio_avatars.unsup_volanim.part_regrouping import regroup_parts
from nerfstudio_avatars.unsup_volanim.pose_fitting import refine_table
from nerfstudio_avatars.unsup_volanim.pose_search import PoseSearch
from nerfstudio_avatars.unsup_volanim.training import AnimationAids

Articulation = Literal["detector", "table"]
Phase = Literal["bootstrap", "geometry", "articulation"]


@dataclass
class AnimationScheduleConfig:
    """Options of the training schedule, as shares of the training from 0 to 1."""

    bootstrap_until: float = 0.0
    """Share of the training at which the bootstrap ends, from 0 to 1; 0 leaves it out.
    In the bootstrap, shape and identities open up gradually, in small pictures and with few voxels."""
    search_until: float = 0.0
    """Share of the training at which the search for poses ends, from 0 to 1; 0 leaves it out.
    Until then, the pose of each frame is searched for; afterwards, it is taken from the detector."""
    articulation: Articulation = "detector"
    """Source of the poses of training frames once the object is articulated: `detector`, as in the paper, or `table`.
    The table has poses of its own for each frame, which are learnt by gradient and teach the detector."""
    polish_from: float = 0.6
    """Share of the training from which the table polishes the pose of the whole object, if there is a table.
    It begins with the detector's poses, because the detector gives all identities the same canonical frame."""
    articulate_from: float = 0.2
    """Share of the training at which the object is split into parts (the paper's A-phase); 1 never does."""
    refine_at: tuple[float, ...] = ()
    """Shares of the training at which the table's poses are fitted to whole pictures.
    Steps see a small part of each picture, and find motions too small by themselves."""
    align: bool = False
    """Whether the canonical frames of all identities are brought together at the first of these times.
    Everybody then looks the same way, and is equally far away, in the mean of their clips; leave it out where some
    look aside throughout. It needs `network.detail`, and `network.identity-rows dense`."""
    regroup: bool = False
    """Whether parts that move most alike are merged at these times, and those that move far are split in their place.
    The last time, parts are merged alone. It is for `network.shared_parts`, and for objects with limbs."""
    detectors_alone_from: float = 1.0
    """Share of the training from which nothing but the detectors learns, from the table and from renderings.
    Until then, they rest while the object is articulated, which saves half of the time; 1 lets them learn all along."""
    detect_from: float = 0.3
    """Share of the bootstrap after which the detector learns from the poses that were found."""
    one_identity_until: float = 0.5
    """Share of the bootstrap over which identities become different; starting alike, they share one canonical frame."""
    shape_until: float = 1.0
    """Share of the bootstrap over which the shape may leave the initial ellipsoid; a solid makes turning visible."""
    bootstrap_size: int = 32
    """Side length in pixels of the pictures that are rendered in the bootstrap."""
    fine_from: float = 0.5
    """Share of the training from which cubes have the fine voxels of `network.fine_detail`."""
    coarse_size: int | None = None
    """Side length in pixels that pictures are shrunk to from the bootstrap to `fine_from`; by default they are not."""
    bootstrap_levels: int | None = None
    """Number of resolutions of the generator that are used in the bootstrap, which needs `coarse_outputs`."""
    patch: int | None = None
    """Side length in pixels of the square to render of each picture after the bootstrap; by default all of it."""
    fine_patch: int | None = None
    """Side length in pixels of that square from `fine_from` on; by default it stays as it is."""
    fine_samples: int | None = None
    """Number of samples along each ray from `fine_from` on; by default it stays as it is.
    Samples lie further apart than fine voxels, so that what is thinner is smeared along the ray."""
    whole_share: float = 0.0
    """Share of the steps after the bootstrap that draw whole pictures instead of patches, shrunk to the same side.
    Poses follow a whole picture better, and details a patch."""
    density_noise: float = 0.5
    """Standard deviation of the noise that is added to the density at the start of training."""
    noise_until: float = 0.5
    """Share of the first phase at which the noise on the density has fallen to 0."""
    noise_again_until: float = 0.0
    """Share of the last phase at which noise, started again as in the paper, has fallen to 0; 0 leaves it out."""
    mask_decay: float = 1.0
    """Factor that the mask loss has fallen to at the end of each phase."""
    articulated_mask_decay: float | None = None
    """Value of `mask_decay` once the object is articulated; by default it stays the same."""

    def check(self, part_detector: str, shared_parts: float = 1.0, own_volumes: bool = True) -> None:
        """Checks that the sources of part poses fit together.

        Args:
            part_detector: `part_detector` of the network.
            shared_parts: `shared_parts` of the network.
            own_volumes: whether each identity has a volume of its own that can be changed.

        Raises:
            UserError: if they do not.
        """
        if self.articulation != "table" and self.detectors_alone_from < 1:
            raise UserError("schedule.detectors-alone-from is for schedule.articulation table.")
        if self.regroup and (self.articulation != "table" or not shared_parts):
            raise UserError("schedule.regroup is for schedule.articulation table and network.shared-parts above 0.")
        if self.align and (self.articulation != "table" or not own_volumes):
            raise UserError(
                "schedule.align is for schedule.articulation table, network.detail above 0 and network.identity-rows "
                "dense."
            )
        if self.detectors_alone_from < self.articulate_from:
            raise UserError("schedule.detectors-alone-from comes after schedule.articulate-from.")
        if self.articulation != "table" and part_detector == "upright" and self.articulate_from < 1:
            raise UserError(
                "network.part-detector upright learns from poses in a table: use schedule.articulation table."
            )

    @property
    def boundaries(self) -> tuple[float, ...]:
        """Shares of the training at which a phase begins."""
        ends = min(self.articulate_from, 1.0), min(self.detectors_alone_from, 1.0)
        return tuple(sorted({0.0, self.bootstrap_until, *ends} - {1.0}))

    def phase(self, progress: float) -> Phase:
        """The phase after a share of the training."""
        if progress < self.bootstrap_until:
            return "bootstrap"
        return "geometry" if progress < self.articulate_from else "articulation"

    def within_phase(self, progress: float) -> float:
        """Share of the present phase that has passed."""
        starts = [*self.boundaries, 1.0]
        begun = max(start for start in starts[:-1] if start <= progress)
        end = min(start for start in starts if start > begun)
        return min((progress - begun) / (end - begun), 1.0)

    def lead(self, table: PartPoseTable | None, progress: float, network: VolumetricAnimation, clips: Clips) -> None:
        """Begins, refines and splits a table, and lets cubes have finer voxels, when it is time."""
        if network.config.fine_detail and progress >= max(self.fine_from, self.bootstrap_until):
            network.double_voxels()
        if table is None or not self.has_table(progress):
            return
        if not bool(table.begun):
            table.begin_with_detector(network, clips)
        if int(table.refined) < self.refinements(progress):
            refine_table(table, network, clips)
            table.refined += 1
            if self.align and int(table.refined) == 1:
                align_identities(network, table, clips)
            if self.regroup and bool(table.split):
                regroup_parts(network, table, split=int(table.refined) < self.refinements(1.0))
        if self.phase(progress) == "articulation" and not bool(table.split):
            table.articulate()

    def refinements(self, progress: float) -> int:
        """Number of times by then that the table has to be refined."""
        return sum(self.has_table(share) and share <= progress for share in self.refine_at)

    def mask_factor(self, progress: float) -> float:
        """Factor on the mask loss at a share of the training."""
        own = self.articulated_mask_decay if self.phase(progress) == "articulation" else None
        return (self.mask_decay if own is None else own) ** self.within_phase(progress)

    def aids(self, progress: float, search: PoseSearch | None, table: PartPoseTable | None = None) -> AnimationAids:
        """The aids to use at a share of the training."""
        share = self.within_phase(progress)
        searching = search if progress < min(self.search_until, self.articulate_from) else None
        if self.has_table(progress):
            searching = None
        else:
            table = None
        searched = progress / self.search_until if searching is not None else 1.0
        until = self._noise_until(progress)
        noise = self.density_noise * max(0.0, 1 - share / until) if until else 0.0
        if self.phase(progress) != "bootstrap":
            passed = searched if table is None else self._table_share(progress)
            resting = self.detectors_alone_from < 1 and self.phase(progress) == "articulation"
            return AnimationAids(
                search=searching,
                table=table,
                progress=passed,
                detect=not resting,
                density_noise=noise,
                render_size=self.coarse_size if progress < self.fine_from else None,
                patch=self.patch if progress < self.fine_from else (self.fine_patch or self.patch),
                samples=self.fine_samples if progress >= self.fine_from else None,
                whole_share=self.whole_share,
            )
        return AnimationAids(
            search=searching,
            progress=searched,
            detect=searching is None or share >= self.detect_from,
            code_scale=min(1.0, 0.1 + share / max(self.one_identity_until, 1e-6)),
            levels=self.bootstrap_levels,
            shape_scale=min(1.0, 0.05 + share / max(self.shape_until, 1e-6)),
            density_noise=noise,
            render_size=self.bootstrap_size,
        )

    def has_table(self, progress: float) -> bool:
        """Whether poses are taken from the table by then."""
        return self.articulation == "table" and progress >= min(
            max(self.polish_from, self.bootstrap_until), self.articulate_from
        )

    def _table_share(self, progress: float) -> float:
        """Share that has passed of the polish or, later, of the articulation."""
        if self.phase(progress) == "articulation":
            return self.within_phase(progress)
        return (progress - self.polish_from) / (self.articulate_from - self.polish_from)

    def _noise_until(self, progress: float) -> float:
        """Share of the present phase that has noise."""
        if progress < ([*self.boundaries, 1.0])[1]:
            return self.noise_until
        return self.noise_again_until if self.phase(progress) == "articulation" else 0.0
