"""Is every machine fit to run a sweep, and a cluster file fit for `ray up`? Looks, says what to do, changes nothing.

    python -m sweep.doctor --data Galaxy10_DECals.h5 --weights-dir weights/      # this machine
    python -m sweep.doctor --cluster cluster.yaml                                # and the file, before ray up
    python -m sweep.doctor --slurm                                               # and cluster-slurm.sbatch
    python -m sweep.doctor --address auto --data s3://bucket/galaxy10/ --out /srv/results    # all nodes, after it

Exit status: 0 nothing FAILs (read the WARNs), 1 something does, 2 bad input.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from galaxytl.data.download import presets
from galaxytl.networks.families import BACKBONES
from galaxytl.system.command import Parser, UsageError, path, path_or_uri, run_command, whole_number
from galaxytl.system.console import Console
from galaxytl.system.credentials import without_secrets
from galaxytl.system.foreign_text import did_you_mean
from galaxytl.system.locations import DataError, locate
from galaxytl.trial.reading import add_reading, reading_of
from sweep import prepare
from sweep.doctor.checks import Finding, check_dashboard, check_machine, check_node, verdict
from sweep.doctor.cluster_file import check_cluster_file
from sweep.doctor.facts import Facts, Questions, gather, write
from sweep.doctor.slurm import check_slurm
from sweep.grids import builtin
from sweep.scheduling.resources import ClusterError

STYLES = {"OK": "green", "WARN": "yellow", "FAIL": "bold red"}
SIMULATED = "simulated"
WIDEST_PLACE = 24
"""Letters of a finding's place that stand on a line in any case."""


@dataclass(frozen=True)
class DoctorOptions:
    """What the command line asks to be checked."""

    address: str | None
    cluster_file: Path | None
    batch_file: Path | None
    """Of SLURM."""
    image_size: int
    """Pixels of the trials' images."""
    questions: Questions


def main(argv: Sequence[str] | None = None) -> int:
    def story() -> int:
        findings = run_checks(parse(sys.argv[1:] if argv is None else argv))
        return report(findings, Console(highlight=False, soft_wrap=True))

    return run_command(story, known=(DataError, OSError), stopped="Stopped. The doctor leaves nothing behind.")


def report(findings: Sequence[Finding], console: Console) -> int:
    """Print what was found; the exit status."""
    console.print(findings_table(findings, console.width))
    worst = verdict(findings)
    ends = {"OK": "All is well.", "WARN": "It will run; read the WARNs.", "FAIL": "Mend what FAILs, and ask again."}
    console.print(f"[{STYLES[worst]}]{worst}[/]: {ends[worst]}")
    return 1 if worst == "FAIL" else 0


def parse(argv: Sequence[str]) -> DoctorOptions:
    parser = Parser(
        prog="python -m sweep.doctor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--address", metavar="HOST:PORT", help="ask each node of this Ray cluster too; auto: of the one here"
    )
    parser.add_argument("--data", type=path_or_uri, metavar="URI", help="the dataset, as for sweep.run")
    add_reading(parser)
    parser.add_argument("--weights-dir", type=path, metavar="FOLDER", help="of ImageNet weights, as for sweep.run")
    parser.add_argument(
        "--backbone",
        type=networks,
        default=builtin.BACKBONES,
        metavar="NAME[,NAME]",
        help="networks whose weights must be there (default: the paper's three)",
    )
    parser.add_argument("--out", type=path, metavar="FOLDER", help="results folder, that all nodes must share")
    parser.add_argument(
        "--storage",
        type=path_or_uri,
        metavar="URI",
        help="an s3:// place for results that all nodes must be able to write",
    )
    parser.add_argument("--cluster", type=path, metavar="FILE", help="a cluster file, like cluster.yaml")
    parser.add_argument(
        "--slurm",
        type=path,
        nargs="?",
        const=Path("cluster-slurm.sbatch"),
        metavar="FILE",
        help="whether this site's SLURM takes such a file (default: cluster-slurm.sbatch), asked on its login node",
    )
    parser.add_argument(
        "--image-size", type=whole_number(1, 4096), default=224, metavar="PIXELS", help="of the trials (default: 224)"
    )
    values = parser.parse_args(argv)
    return DoctorOptions(values.address, values.cluster, values.slurm, values.image_size, questions_of(values))


def networks(text: str) -> tuple[str, ...]:
    for name in text.split(","):
        if name not in BACKBONES:
            rule = f"must be networks of keras.applications, like {','.join(builtin.BACKBONES)}; got '{name}'."
            raise argparse.ArgumentTypeError(f"{rule}{did_you_mean(name, BACKBONES)}")
    return tuple(text.split(","))


def questions_of(values: argparse.Namespace) -> Questions:
    """Return paths in full: a Ray worker has another working folder. Simulated galaxies are not looked at: drawing them
    would take longer than everything else, and each node draws its own."""
    is_simulated = not values.data or values.data == SIMULATED or values.data.startswith(f"{SIMULATED}:")
    if values.out:
        values.out.mkdir(parents=True, exist_ok=True)
    return Questions(
        data="" if is_simulated else prepare.absolute(_place_of(values.data)),
        reading=dataclasses.asdict(reading_of(values)),
        weights_dir=str(values.weights_dir.resolve()) if values.weights_dir else "",
        backbones=values.backbone,
        places=[str(place) for place in (values.out and values.out.resolve(), values.storage) if place],
    )


def _place_of(data: str) -> str:
    return str(presets.place_of(data)) if presets.is_name(data) else data


def run_checks(options: DoctorOptions) -> list[Finding]:
    """Return all findings, in the order in which they are printed. Raises UsageError when no cluster answers."""
    findings = check_cluster_file(options.cluster_file) if options.cluster_file else []
    findings += check_slurm(options.batch_file) if options.batch_file else []
    driver = gather(options.questions)
    findings += check_machine(driver, options.image_size, "driver" if options.address else "this machine")
    if options.address:
        findings += check_nodes(options.address, options.questions, driver, options.image_size)
    return findings


def check_nodes(address: str, questions: Questions, driver: Facts, image_size: int) -> list[Finding]:
    from sweep.doctor.nodes import ask_nodes  # ray takes seconds to import

    usable = [place for place, problem in driver.places.items() if not problem]
    with tempfile.TemporaryDirectory() as folder, marked(usable) as mark:
        try:
            report = ask_nodes(address, replace(questions, places=usable, mark=mark), Path(folder) / "ray.log")
        except ClusterError as error:
            raise UsageError(f"{error}{_token_hint()}") from error
    head = next((node.ray_node.name for node in report.nodes if "(head)" in node.ray_node.name), address)
    findings = check_dashboard(report.dashboard, report.token_auth, head)
    for node in report.nodes:
        if node.facts is None:
            text = f"it could not be asked: {node.error}: look at ray status and at the node's logs"
            findings.append(Finding(node.ray_node.name, "node", "FAIL", text))
        else:
            findings += check_node(node.facts, driver, node.ray_node, image_size)
    return findings


def _token_hint() -> str:
    if os.environ.get("RAY_AUTH_MODE") == "token":
        return ""
    return " A cluster that asks for a token is reached with RAY_AUTH_MODE=token and the token in ~/.ray/auth_token."


@contextmanager
def marked(places: Sequence[str]) -> Iterator[str]:
    """Write a file of the driver's into each place, whose name is its content; they and the nodes' answers are
    removed."""
    mark = f".doctor-{uuid.uuid4().hex[:12]}"
    folders = [locate(place) for place in places]
    try:
        for folder in folders:
            write(folder.child(mark), mark)
        yield mark
    finally:
        for folder in folders:
            _remove(folder, mark)


def _remove(folder: Any, mark: str) -> None:
    from pyarrow.fs import FileSelector

    with suppress(OSError, DataError):
        for info in folder.filesystem.get_file_info(FileSelector(folder.path)):
            if info.base_name == mark or info.base_name.startswith(f"{mark}-"):
                folder.child(info.base_name).delete()


def findings_table(findings: Sequence[Finding], width: int) -> Table:
    """Return one row a node and check, whose columns all have headings; a long name of a node or file is broken."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("where", overflow="fold", max_width=max(WIDEST_PLACE, width // 4))
    for name in ("check", "status"):
        table.add_column(name, no_wrap=True)
    table.add_column("found", overflow="fold")
    for finding in findings:
        status = f"[{STYLES[finding.status]}]{finding.status}[/]"
        where, message = (escape(without_secrets(text)) for text in (finding.where, finding.message))
        table.add_row(where, finding.check, status, message)
    return table


if __name__ == "__main__":
    sys.exit(main())
