"""What bench_sweep.py shows about one workload, in words for people."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any


def describe(report: Mapping[str, Any]) -> str:
    """Return the report of one workload."""
    findings = _choices(report) if report["searches"] else _findings(report)
    return "\n".join([*_heading(report), *_table(report), *findings])


def _heading(report: Mapping[str, Any]) -> list[str]:
    rates = f"{report['num_rates']} learning rates from {report['rates'][0]:g} to {report['rates'][1]:g}"
    axes = f"{' + '.join(report['backbones'])} x unfrozen blocks {report['unfrozen_blocks']} x {rates}"
    sizes = f"{report['num_images']['train']} + {report['num_images']['test']} images of {report['image_size']} px"
    weights = ", ".join(f"{name} {kind}" for name, kind in report["weights"].items())
    return [
        f"\n{report['workload']}: {axes}; {sizes}, {report['num_epochs']} epochs; weights: {weights}",
        f"{'':8}{'seconds':>9}{'ours is faster':>16}{'at least':>10}{'accuracy':>10}",
    ]


def _table(report: Mapping[str, Any]) -> list[str]:
    lines = []
    for system, required in zip(("b1", "b2"), report["required"], strict=True):
        seconds = report[system]["seconds"]
        ratio = seconds / report["seconds"]
        verdict = "" if ratio >= required else "  missed"
        accuracy = report["accuracy"][system]
        lines.append(f"{system:8}{seconds:9.1f}{ratio:15.1f}x{required:9g}x{accuracy:10.3f}{verdict}")
    return [*lines, f"{'ours':8}{report['seconds']:9.1f}{'':26}{report['accuracy']['ours']:10.3f}"]


def _findings(report: Mapping[str, Any]) -> list[str]:
    outside, share = report["outside"], report["floor"] / report["seconds"]
    warm = f"{statistics.median(outside):.3f} s, at most {max(outside):.3f} s" if outside else "no warm trial"
    executed = f"{report['executed']:.4g} / {report['minimal']:.4g} = {report['executed'] / report['minimal']:.3f}"
    inside = ", ".join(f"{part} {seconds:.1f}" for part, seconds in report["parts"].items())
    around = ", ".join(f"{what} {seconds:.1f}" for what, seconds in report["milestones"].items())
    return [
        f"accuracy, ours - b2            {report['agreement']}",
        f"accuracy, b1 - b2              {report['agreement_of_baselines']}",
        f"executed / minimal             {executed} multiply-adds (at most 1.05)",
        f"outside training, warm trial   median {warm} (at most 0.3 s)",
        f"floor at plain Keras's speed   {report['floor']:.1f} s: ours has {share:.2f} of its speed",
        f"seconds of ours, by the clock  {around}",
        f"seconds of ours, in trials     {inside}",
        *(f"{f'peak memory, {name}':31}{memory}" for name, memory in _memories(report).items()),
        *(f"FAILED                         {message}" for message in report["failed"]),
    ]


def _choices(report: Mapping[str, Any]) -> list[str]:
    """Return what searches chose beside the grid."""
    seconds, settings = report["all_seconds"], len(report["unfrozen_blocks"]) * report["num_rates"]
    return [
        f"seconds of the searches         {', '.join(f'{one:.1f}' for one in seconds)}: the median counts",
        f"settings tried, and epochs      {report['tried']:g} and {report['epochs']:g}, of {settings} and "
        f"{settings * report['num_epochs']} in the grid; medians",
        "accuracy of b1 and b2           the grid's best; ours: the mean of what the searches chose",
        f"best of the grid (b2)           {place_text(report['best'])}: 95 % interval {report['interval']}",
        *(
            f"chosen with seed {seed}: {place_text(place)}, {accuracy:.3f} in the grid"
            for seed, (*place, accuracy) in enumerate(report["choices"])
        ),
        f"within the interval             {report['held']} of {len(seconds)} (at least 9 of 10)",
    ]


def place_text(place: Sequence[Any]) -> str:
    """Return a trial's place in the grid in words."""
    backbone, depth, rate = place
    return f"{backbone}, {depth} unfrozen, learning rate {rate:g}"


def _memories(report: Mapping[str, Any]) -> dict[str, str]:
    return {name: report[name]["memory"] for name in ("b1", "b2")} | {"ours": report["memory"]}
