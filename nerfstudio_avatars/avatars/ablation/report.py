"""The table of an ablation: each variant compared with the full method, and which differences are noise."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nerfstudio_avatars.avatars.ablation.experiment import shown_figures
from nerfstudio_avatars.avatars.ablation.learning_curve import CurvePoint, seconds_to
from nerfstudio_avatars.avatars.ablation.variants import FULL, Variant
from nerfstudio_avatars.avatars.markdown import markdown_table

_CONFIDENCE = 0.975
"""One-tailed probability of the interval within which differences count as noise."""
_NOISE_MARK = "~"


@dataclass(frozen=True)
class Column:
    """One measured quantity."""

    title: str
    form: str


def _columns_of(results: Sequence[dict[str, Any]], target: float) -> dict[str, Column]:
    """Title and number format of every quantity, by its key in `quantities`."""
    groups = list(dict.fromkeys(group for result in results for group in result["groups"]))
    columns = {}
    for group in groups:
        columns[f"{group} psnr"] = Column(f"{group} PSNR", ".2f")
        columns[f"{group} ssim"] = Column(f"{group} SSIM", ".4f")
    columns["steps_per_second"] = Column("steps/s", ".1f")
    columns["seconds_to"] = Column(f"s to {target:.1f} dB", ".1f")
    columns["render_fps"] = Column("pictures/s", ".2f")
    columns["peak_memory_mib"] = Column("peak RAM, MiB", ".0f")
    if any(result.get("peak_gpu_memory_mib") for result in results):
        columns["peak_gpu_memory_mib"] = Column("peak GPU, MiB", ".0f")
    return columns


def default_target(results: Sequence[dict[str, Any]], below: float = 1.0) -> float:
    """A PSNR that the full method (or else the best variant) reaches during training: somewhat below its last."""
    last = [result["curve"][-1]["psnr"] for result in results if result["variant"] == FULL]
    reached = sum(last) / len(last) if last else max(result["curve"][-1]["psnr"] for result in results)
    return round(reached - below, 1)


def quantities(result: dict[str, Any], target: float) -> dict[str, float | None]:
    """A result's numbers by column key."""
    names = ("steps_per_second", "render_fps", "peak_memory_mib", "peak_gpu_memory_mib")
    numbers: dict[str, float | None] = {name: result.get(name) for name in names}
    numbers["seconds_to"] = seconds_to(target, [CurvePoint(**point) for point in result["curve"]])
    for group, means in result["groups"].items():
        numbers |= {f"{group} {name}": value for name, value in shown_figures(means).items()}
    return numbers


def noise(by_variant: Sequence[Sequence[float]], first: int, second: int) -> float | None:
    """The largest difference between the means of two variants that seeds alone cause, 19 times in 20.

    The spread between seeds is assumed to be the same for all variants, and is pooled over them (Student's t).

    Args:
        by_variant: the values of each variant, one per seed.
        first: the number of values behind the first mean.
        second: the number of values behind the second mean.

    Returns:
        The difference, or None if no variant has two seeds.
    """
    freedom = sum(len(values) - 1 for values in by_variant if values)
    if freedom < 1:
        return None
    from scipy.stats import t

    means = [sum(values) / len(values) if values else 0.0 for values in by_variant]
    squares = sum((v - mean) ** 2 for values, mean in zip(by_variant, means, strict=True) for v in values)
    return float(t.ppf(_CONFIDENCE, freedom)) * math.sqrt(squares / freedom * (1 / first + 1 / second))


def ablation_table(results: Sequence[dict[str, Any]], variants: Sequence[Variant], target: float, setting: str) -> str:
    """A Markdown table with one line per variant, and differences from the full method in brackets.

    Args:
        results: one for every variant and seed that is finished.
        variants: the variants, in the order of the lines.
        target: PSNR of the column of times, decibels.
        setting: one sentence about data, method and length.
    """
    columns = _columns_of(results, target)
    values: dict[str, dict[str, list[float]]] = {key: defaultdict(list) for key in columns}
    seeds: dict[str, int] = defaultdict(int)
    for result in results:
        seeds[result["variant"]] += 1
        for key, value in quantities(result, target).items():
            if key in columns and value is not None:
                values[key][result["variant"]].append(value)
    done = [variant for variant in variants if seeds[variant.name]]
    rows = [
        [variant.name, str(seeds[variant.name])]
        + [_cell(values[key], variant.name, seeds[variant.name], column.form) for key, column in columns.items()]
        for variant in done
    ]
    repeated = any(count > 1 for count in seeds.values())
    marked = f"`{_NOISE_MARK}`: below the noise between seeds (95 %, spread pooled over variants)."
    single = "With one seed per variant, it is unknown which differences are noise."
    held_out = "Held-out pictures on white, whole picture, in poses fitted without test pixels."
    times = "Times to a PSNR: interpolated between checkpoints, for some held-out pictures; `-`: never by some seeds."
    legend = f"{held_out} In brackets: difference from `{FULL}`. {marked if repeated else single} {times}"
    table = markdown_table(["variant", "seeds", *(column.title for column in columns.values())], rows)
    changes = [f"- `{variant.name}`: {variant.change}" for variant in done]
    return "\n".join([f"## Ablation: {setting}", "", table, "", legend, "", *changes]) + "\n"


def _cell(values: dict[str, list[float]], variant: str, seeds: int, form: str) -> str:
    mine, full = values.get(variant, []), values.get(FULL, [])
    if len(mine) < max(seeds, 1):
        return "-"
    mean = sum(mine) / len(mine)
    if variant == FULL or not full:
        return f"{mean:{form}}"
    difference = mean - sum(full) / len(full)
    limit = noise(list(values.values()), len(mine), len(full))
    mark = _NOISE_MARK if limit is not None and abs(difference) < limit else ""
    return f"{mean:{form}} ({difference:+{form}}{mark})"
