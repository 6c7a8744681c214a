"""Which pictures are drawn, and when, on machines with known costs and a clock that the test turns."""

import random

import pytest

from nerfstudio_avatars.studio.schedule import STILL_SECONDS, Schedule
from nerfstudio_avatars.studio.sight import Sight


def sight(place=0.0):
    return Sight((1.0, 0.0, 0.0, place, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0), 0.7, 1.0)


class Desk:
    """A page's machine: turns the clock by what pictures cost."""

    def __init__(self, fixed=0.03, slope=1.5e-6, noise=0.0, **options):
        self.schedule = Schedule(**options)
        self.noise, self.random = noise, random.Random(0)
        self.now, self.fixed, self.slope = 100.0, fixed, slope
        self.drawn = []

    def run(self, seconds, playing=False, each=None):
        end = self.now + seconds
        while self.now < end:
            if each is not None:
                each()
            task = self.schedule.next(self.now, playing)
            if task is None:
                self.now += 0.005
                continue
            cost = (self.fixed + self.slope * task.side**2) * (1 + self.noise * self.random.random())
            self.now += cost
            self.schedule.done(task, self.now, cost)
            self.drawn.append((self.now, task))

    def watch(self, place=0.0):
        self.schedule.watch(0, sight(place), self.now)


def test_a_still_page_is_drawn_quickly_then_in_full_and_never_again():
    desk = Desk()
    desk.watch()
    desk.run(5.0)
    sides = [task.side for _, task in desk.drawn]
    assert len(sides) == 2 and sides[0] < 512 and sides[1] == 512
    assert [task.sharp for _, task in desk.drawn] == [False, True]


def test_a_camera_that_moves_gets_ten_pictures_a_second_of_128_pixels_and_more():
    desk = Desk()
    desk.run(4.0, each=lambda: desk.watch(desk.now))
    moving = [task for when, task in desk.drawn if when > 102]
    assert len(moving) >= 20
    assert min(task.side for task in moving) >= 128 and not any(task.sharp for task in moving)
    desk.run(2.0)
    assert desk.drawn[-1][1].side == 512


def test_a_motion_that_plays_is_drawn_all_the_time():
    desk = Desk()
    desk.watch()
    desk.run(3.0, playing=True)
    assert len(desk.drawn) >= 27


def test_a_change_stops_the_sharp_picture_at_hand_but_not_a_quick_one():
    desk = Desk()
    desk.watch()
    quick = desk.schedule.next(desk.now, False)
    desk.run(1.0)
    desk.schedule.touched(desk.now)
    desk.run(STILL_SECONDS + 0.2)
    sharp = desk.drawn[-1][1]
    assert sharp.sharp and not quick.sharp
    desk.schedule.touched(desk.now)
    assert desk.schedule.outdated(sharp) and not desk.schedule.outdated(quick)
    desk.watch(1.0)
    assert desk.schedule.outdated(sharp) and not desk.schedule.outdated(quick)
    desk.schedule.leave(0)
    assert desk.schedule.outdated(quick)
    assert desk.schedule.next(desk.now, True) is None


def test_two_pages_take_turns():
    desk = Desk()
    desk.watch()
    desk.schedule.watch(1, sight(), desk.now)
    desk.run(2.0, playing=True)
    counts = [sum(task.page == page for _, task in desk.drawn) for page in (0, 1)]
    assert abs(counts[0] - counts[1]) <= 1 and min(counts) > 5


def test_a_view_of_a_training_is_drawn_once_though_costs_vary():
    desk = Desk(noise=1.0)
    desk.schedule.training = True
    desk.watch()
    desk.run(5.0)
    assert [task.sharp for _, task in desk.drawn] == [False, True]
    desk.run(30.0, each=lambda: desk.schedule.learnt(desk.now))
    assert len({task.version for _, task in desk.drawn}) + 1 >= len(desk.drawn) > 5


@pytest.mark.parametrize("cost", [0.05, 0.5])
def test_views_of_a_training_take_a_twentieth_of_the_time_at_most(cost):
    desk = Desk(fixed=cost, slope=0.0)
    desk.schedule.training = True
    desk.watch()
    desk.run(3.0)
    desk.drawn.clear()
    desk.run(60.0, each=lambda: desk.schedule.learnt(desk.now))
    assert 60 / max(5.0, 27 * cost) <= len(desk.drawn) <= 21
    assert cost * len(desk.drawn) <= 0.05 * 60


def test_a_motion_that_plays_leaves_the_training_half_of_the_time():
    desk = Desk()
    desk.schedule.training = True
    desk.watch()
    desk.run(2.0)
    desk.drawn.clear()
    start = desk.now
    desk.run(20.0, playing=True)
    spent = sum(desk.fixed + desk.slope * task.side**2 for _, task in desk.drawn)
    assert spent < 0.55 * (desk.now - start)
