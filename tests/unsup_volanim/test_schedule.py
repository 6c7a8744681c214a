"""What helps when: phases, their edges, and what each of them asks of a step."""

from unittest.mock import Mock

import pytest
import torch

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.unsup_volanim import schedule
from nerfstudio_avatars.unsup_volanim.data.clips import Clips
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation, VolumetricAnimationConfig
from nerfstudio_avatars.unsup_volanim.part_pose_table import PartPoseTable, PartPoseTableConfig
from nerfstudio_avatars.unsup_volanim.pose_search import PoseSearch, PoseSearchConfig
from nerfstudio_avatars.unsup_volanim.schedule import AnimationScheduleConfig
from nerfstudio_avatars.unsup_volanim.training import AnimationAids

SCHEDULE = AnimationScheduleConfig(
    bootstrap_until=0.2, search_until=0.4, articulate_from=0.5, bootstrap_size=16, bootstrap_levels=2, patch=24
)


@pytest.fixture
def search():
    return PoseSearch(4, PoseSearchConfig())


def test_phases_follow_each_other():
    assert SCHEDULE.boundaries == (0.0, 0.2, 0.5)
    shares = (0.0, 0.19, 0.2, 0.49, 0.5, 1.0)
    phases = [SCHEDULE.phase(share) for share in shares]
    assert phases == ["bootstrap"] * 2 + ["geometry"] * 2 + ["articulation"] * 2


def test_each_phase_runs_from_nothing_to_all():
    assert SCHEDULE.within_phase(0.0) == SCHEDULE.within_phase(0.2) == SCHEDULE.within_phase(0.5) == 0
    assert SCHEDULE.within_phase(0.1) == pytest.approx(0.5)
    assert SCHEDULE.within_phase(0.35) == pytest.approx(0.5)
    assert SCHEDULE.within_phase(1.0) == 1


@pytest.mark.parametrize(
    ("config", "boundaries"),
    [
        (AnimationScheduleConfig(), (0.0, 0.2)),
        (AnimationScheduleConfig(articulate_from=1.0), (0.0,)),
        (AnimationScheduleConfig(articulate_from=0.0), (0.0,)),
        (AnimationScheduleConfig(bootstrap_until=0.5, articulate_from=0.5), (0.0, 0.5)),
        (AnimationScheduleConfig(bootstrap_until=1.0, articulate_from=1.0), (0.0,)),
    ],
)
def test_phases_may_be_left_out(config, boundaries):
    assert config.boundaries == boundaries
    for share in (0.0, 0.3, 0.5, 1.0):
        assert 0 <= config.within_phase(share) <= 1
        assert config.aids(share, None).search is None


def test_the_bootstrap_opens_shape_and_identities_in_small_pictures(search):
    early, later = SCHEDULE.aids(0.01, search), SCHEDULE.aids(0.19, search)
    assert early.search is search and not early.detect and early.levels == 2 and early.render_size == 16
    assert early.code_scale < 0.3 and early.shape_scale < 0.2 and early.patch is None
    assert early.density_noise > 0.4
    assert later.detect and later.code_scale == 1 and later.shape_scale > 0.9 and later.density_noise == 0


def test_after_the_bootstrap_whole_cubes_are_drawn_in_patches(search):
    aids = SCHEDULE.aids(0.3, search)
    assert aids == AnimationAids(search=search, progress=0.3 / 0.4, patch=24)
    assert SCHEDULE.aids(0.45, search) == AnimationAids(search=None, progress=1.0, patch=24)


def test_the_detector_learns_from_the_start_where_nothing_is_searched_for():
    assert SCHEDULE.aids(0.0, None).detect


def test_a_search_never_outlives_the_one_rigid_part(search):
    """It finds one pose a frame: many parts would all be given it."""
    config = AnimationScheduleConfig(search_until=0.9, articulate_from=0.5)
    assert config.aids(0.49, search).search is search
    assert config.aids(0.5, search).search is None


def test_noise_falls_within_the_first_phase_and_stays_away():
    noise = torch.tensor([SCHEDULE.aids(share / 100, None).density_noise for share in range(101)])
    assert noise[0] == 0.5 and (noise[10:] == 0).all() and (noise.diff() <= 0).all()


def test_without_phases_of_its_own_the_paper_has_no_aids():
    config = AnimationScheduleConfig(density_noise=0.0)
    assert all(config.aids(share, None) == AnimationAids(progress=1.0) for share in (0.0, 0.1, 0.5, 1.0))


def test_the_table_polishes_the_whole_and_then_learns_the_parts(search):
    """In between, the detector's poses give all identities one frame. Polish and articulation run from 0 to 1."""
    table = PartPoseTable(4, 2, PartPoseTableConfig())
    config = AnimationScheduleConfig(
        bootstrap_until=0.2, search_until=0.3, polish_from=0.4, articulate_from=0.5, articulation="table"
    )
    assert config.aids(0.29, search, table).table is None and config.aids(0.29, search, table).search is search
    between = config.aids(0.35, search, table)
    assert between.table is None and between.search is None and between.detect
    polish, parts = config.aids(0.45, search, table), config.aids(0.75, search, table)
    assert polish.table is parts.table is table and polish.search is parts.search is None
    assert polish.progress == pytest.approx(0.5) == parts.progress
    assert SCHEDULE.aids(0.75, search, table).table is None, "the paper's poses come from the detector"


def test_the_table_ends_the_search(search):
    config = AnimationScheduleConfig(search_until=0.5, polish_from=0.4, articulate_from=0.5, articulation="table")
    table = PartPoseTable(4, 2, PartPoseTableConfig())
    assert config.aids(0.45, search, table).search is None and config.aids(0.45, search, table).table is table


def test_detectors_rest_while_parts_are_learnt_and_learn_alone_at_last(search):
    table = PartPoseTable(4, 2, PartPoseTableConfig())
    config = AnimationScheduleConfig(
        bootstrap_until=0.2, articulate_from=0.5, articulation="table", polish_from=0.4, detectors_alone_from=0.8
    )
    assert config.boundaries == (0.0, 0.2, 0.5, 0.8) and config.phase(0.9) == "articulation"
    polish, parts = (config.aids(share, search, table) for share in (0.45, 0.65))
    assert [one.detect for one in (polish, parts)] == [True, False]
    assert parts.progress == pytest.approx(0.5) and polish.table is parts.table is table


def test_pictures_and_patches_grow_where_voxels_become_fine(search):
    config = AnimationScheduleConfig(
        bootstrap_until=0.2, fine_from=0.6, coarse_size=64, patch=32, fine_patch=48, fine_samples=24
    )
    coarse, fine = config.aids(0.5, search), config.aids(0.6, search)
    assert (coarse.render_size, coarse.patch) == (64, 32) and (fine.render_size, fine.patch) == (None, 48)
    assert (coarse.samples, fine.samples) == (None, 24)
    assert SCHEDULE.aids(0.8, search).render_size is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"articulation": "detector"}, "schedule.articulation table"), ({"articulate_from": 0.9}, "comes after")],
)
def test_detectors_cannot_learn_alone_without_a_table_of_parts(changes, message):
    config = AnimationScheduleConfig(**({"articulation": "table", "detectors_alone_from": 0.8} | changes))
    with pytest.raises(UserError, match=message):
        config.check("keypoints")


@pytest.mark.parametrize(("articulation", "shared"), [("detector", 1.0), ("table", 0.0)])
def test_parts_are_regrouped_where_a_table_and_a_volume_have_them(articulation, shared):
    config = AnimationScheduleConfig(articulation=articulation, regroup=True)
    with pytest.raises(UserError, match=r"schedule\.regroup is for"):
        config.check("keypoints", shared)


@pytest.mark.parametrize(("articulation", "own_volumes"), [("detector", True), ("table", False)])
def test_identities_are_aligned_where_a_table_and_volumes_of_their_own_are(articulation, own_volumes):
    config = AnimationScheduleConfig(articulation=articulation, align=True)
    with pytest.raises(UserError, match=r"schedule\.align is for"):
        config.check("keypoints", own_volumes=own_volumes)


@pytest.mark.parametrize(("progress", "refined", "times"), [(0.45, 0, 0), (0.46, 0, 1), (0.7, 1, 0)])
def test_identities_are_aligned_once_when_the_table_is_first_refined(monkeypatch, progress, refined, times):
    found = Mock()
    monkeypatch.setattr(schedule, "align_identities", found)
    monkeypatch.setattr(schedule, "refine_table", Mock())
    config = AnimationScheduleConfig(
        articulation="table", polish_from=0.44, articulate_from=0.8, refine_at=(0.46, 0.66), align=True
    )
    table = PartPoseTable(4, 2, PartPoseTableConfig())
    table.begun.fill_(True)
    table.refined.fill_(refined)
    config.lead(table, progress, Mock(VolumetricAnimation, config=VolumetricAnimationConfig()), Mock(Clips))
    assert found.call_count == times


def test_the_table_is_refined_from_the_polish_on():
    config = AnimationScheduleConfig(
        bootstrap_until=0.2, polish_from=0.4, articulate_from=0.5, articulation="table", refine_at=(0.3, 0.4, 0.6)
    )
    assert [config.refinements(share) for share in (0.35, 0.4, 0.59, 0.6)] == [0, 1, 1, 2]


@pytest.mark.parametrize(("progress", "wanted", "expected"), [(0.5, True, 0), (0.6, True, 1), (0.6, False, 0)])
def test_voxels_become_fine_when_it_is_time(progress, wanted, expected):
    network = Mock(VolumetricAnimation, config=VolumetricAnimationConfig(fine_detail=wanted))
    AnimationScheduleConfig(fine_from=0.6).lead(None, progress, network, Mock(Clips))
    assert network.double_voxels.call_count == expected
