"""One training step on the CPU: ours against the same made of nerfstudio's torch hash grid and the paper's Broyden.

Prints one JSON object: `ours_ms`, `reference_ms`, `ratio`, and the same three with poses being refined. Both steps see
the same kind of rays, sample points at the same spacing, networks of the same width and the same losses, in the middle
of a training. The reference is spared everything that is not those two parts: its marching (our samples are handed to
it), its occupancy updates and the regulariser cost it nothing, while ours pays for all of its own.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass

from painted_person import PaintedPerson  # first: it settles how torch's threads wait
from stand_in import note, peak_memory_mb

# isort: split
import torch
import torch.nn.functional as F
import tyro
from nerfacc import accumulate_along_rays
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.field_components.encodings import HashEncoding
from torch import Tensor, nn

from nerfstudio_avatars.instant_avatar.articulation.broyden import TransformGrid, unpose_in_grid
from nerfstudio_avatars.instant_avatar.articulation.implicit_gradient import implicit_canonical
from nerfstudio_avatars.instant_avatar.articulation.snarf_weights import paper_weight_volume
from nerfstudio_avatars.instant_avatar.losses.hard_surface import hard_accumulation, hard_weights
from nerfstudio_avatars.instant_avatar.rendering.compositing import over, rendering_weights
from nerfstudio_avatars.instant_avatar.rendering.ray_march import march


@dataclass
class Options:
    """Lengths of the runs."""

    training_steps: int = 240
    """Our steps before anything is timed: the empty space must have been found."""
    repetitions: int = 5
    """Timed blocks of 16 of our steps (one occupancy update in each), and as many single steps of the reference."""


class ReferenceField(nn.Module):
    """nerfstudio's torch hash encoding, 16 levels of 2^19, and networks as wide as ours."""

    def __init__(self, width: int, geometry: int, log2_finest: float = 12.77) -> None:
        super().__init__()
        self.encoding = HashEncoding(
            num_levels=16, min_res=16, max_res=int(2**log2_finest), log2_hashmap_size=19, implementation="torch"
        )
        self.density = nn.Sequential(nn.Linear(32, width), nn.ReLU(), nn.Linear(width, 1 + geometry))
        self.colour = nn.Sequential(
            nn.Linear(geometry, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3), nn.Sigmoid()
        )


class ReferenceStep:
    """The paper's step in torch, for a person that our model has already half learned."""

    def __init__(self, person: PaintedPerson) -> None:
        self.person, self.model = person, person.model
        avatar = person.config.avatar
        note("building the paper's weight volume")
        body, betas = self.model.person.body, torch.zeros(10)
        self.volume = paper_weight_volume(self._canonical_vertices(body, betas), body.weights)
        self.field = ReferenceField(avatar.field.width, avatar.field.geometry_features)
        self.optimizer = torch.optim.Adam(self.field.parameters(), lr=1e-2, betas=(0.9, 0.99), eps=1e-15)

    @staticmethod
    def _canonical_vertices(body, betas: Tensor) -> Tensor:
        from nerfstudio_avatars.instant_avatar.poses.pose_table import canonical_state

        return body.pose(canonical_state(betas)).vertices

    @torch.no_grad()
    def samples(self, bundle: RayBundle) -> list[tuple[int, Tensor, Tensor, Tensor]]:
        """Frame, posed points, their rays and distances, from our march: not timed."""
        avatar, poses = self.model.avatar, self.model.poses
        found, start = [], 0
        frames, counts = bundle.metadata["frame"][:, 0].unique_consecutive(return_counts=True)
        for frame, count in zip(frames.tolist(), counts.tolist(), strict=True):
            posed = avatar.pose(poses.transforms(poses.stored(torch.tensor([frame])))[0])
            rays = slice(start, start + count)
            o, d = bundle.origins[rays], bundle.directions[rays]
            part = march(o, d, torch.rand(count), avatar.space_around(posed))
            found.append((frame, o[part.ray] + part.t[:, None] * d[part.ray], part.ray + start, part.t))
            start += count
        return found

    def canonical(self, frame: int, x_posed: Tensor) -> tuple[Tensor, Tensor]:
        """The paper's search with its implicit gradient, from a frame's pose."""
        poses = self.model.poses
        index = torch.tensor([frame])
        pose = poses.stored(index) + poses.frame_correction[index]
        grid = TransformGrid.of_pose(self.volume, poses.transforms(pose)[0])
        with torch.no_grad():
            roots, point, inverse = unpose_in_grid(x_posed, grid)
        if not grid.table.requires_grad:
            return roots, point
        return implicit_canonical(roots, inverse, x_posed[point], grid.warp), point

    def __call__(self, samples: list, batch: dict[str, Tensor]) -> float:
        """Search, field, compositing, losses, backward, Adam."""
        self.optimizer.zero_grad()
        avatar, x, point, ray, done = self.model.avatar, [], [], [], 0
        for frame, x_posed, rays, _ in samples:
            roots, owner = self.canonical(frame, x_posed)
            x.append(roots)
            point.append(owner + done)
            ray.append(rays)
            done += len(x_posed)
        x_canonical, owner, ray = torch.cat(x), torch.cat(point), torch.cat(ray)
        unit = ((x_canonical - avatar.field.centre) / (2 * avatar.field.half_size) + 0.5).clamp(0, 1)
        hidden = self.field.density(self.field.encoding(unit))
        prior = (avatar.volume.distance_at(x_canonical) / avatar.config.template_prior).clamp(-4, 4)
        density = torch.exp((hidden[:, 0] - prior).clamp(max=10))
        best = torch.zeros(done).scatter_reduce(0, owner, density.detach(), "amax")
        winner = (density.detach() == best[owner]).nonzero()[:, 0]
        owner = owner[winner]
        colour = self.field.colour(hidden[winner, 1:])
        weights = rendering_weights(density[winner], avatar.config.step, ray[owner])
        total = accumulate_along_rays(
            weights, torch.cat([colour, torch.ones(len(owner), 1)], -1), ray[owner], len(batch["image"])
        )
        self._loss(total[:, :3], total[:, 3:], weights, batch["image"]).backward()
        self.optimizer.step()
        return done

    def _loss(self, premultiplied: Tensor, accumulation: Tensor, weights: Tensor, truth: Tensor) -> Tensor:
        config, background, mask = self.person.config, torch.rand_like(premultiplied), truth[:, 3:]
        prediction, target = (
            over(premultiplied, accumulation, background),
            over(truth[:, :3] * mask, mask, background),
        )
        return (
            F.huber_loss(prediction, target, delta=config.huber_delta)
            + config.mask_weight * F.mse_loss(accumulation, mask)
            + config.hard_accumulation_weight * hard_accumulation(accumulation)
            + config.hard_weights_weight * hard_weights(weights, len(truth))
        )


def timed(work) -> float:
    """Milliseconds of a call."""
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def compare(options: Options, refine_poses: bool) -> tuple[float, float, int]:
    """Milliseconds of our step and of the reference's, and how many samples a step has."""
    torch.manual_seed(0)
    person = PaintedPerson(refine_poses)
    person.train(options.training_steps)
    step = ReferenceStep(person)
    ours, reference, count = [], [], 0
    for repetition in range(options.repetitions + 1):  # in turn, so that both meet the same load of the machine
        batches = [person.batch() for _ in range(16)]
        mine = timed(lambda: [person.step(*batch) for batch in batches]) / 16  # noqa: B023
        bundle, batch = person.batch()
        samples = step.samples(bundle)
        theirs = timed(lambda: step(samples, batch))  # noqa: B023
        count = sum(len(part[1]) for part in samples)
        note(f"ours {mine:.1f} ms, reference {theirs:.0f} ms" + ("" if repetition else " (warm-up)"))
        if repetition:
            ours.append(mine)
            reference.append(theirs)
    return statistics.median(ours), statistics.median(reference), count


def memory_of_a_training(options: Options) -> int:
    """The most memory, MB, that this process held when it had trained with poses refined and nothing else."""
    torch.manual_seed(0)
    PaintedPerson(refine_poses=True).train(options.training_steps)
    return peak_memory_mb()


def main(options: Options) -> None:
    """Runs both with poses as they are and with poses being refined, and prints the figures."""
    memory = memory_of_a_training(options)
    ours, reference, samples = compare(options, refine_poses=False)
    ours_refining, reference_refining, _ = compare(options, refine_poses=True)
    print(
        json.dumps(
            {
                "ours_ms": round(ours, 2),
                "reference_ms": round(reference, 1),
                "ratio": round(reference / ours, 1),
                "ours_refining_ms": round(ours_refining, 2),
                "reference_refining_ms": round(reference_refining, 1),
                "ratio_refining": round(reference_refining / ours_refining, 1),
                "samples": samples,
                "threads": torch.get_num_threads(),
                "peak_memory_mb": memory,
                "peak_memory_with_reference_mb": peak_memory_mb(),
            }
        )
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
