"""The files that every project has say the same: licence, citation, changelog, hooks, and the workflow."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import yaml

import galaxytl
from tests.licences import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def test_licence_and_citation_are_the_projects() -> None:
    (licence,) = PROJECT["license-files"]
    assert (ROOT / licence).read_text().startswith(f"{PROJECT['license']} License\n")
    citation = load("CITATION.cff")
    assert (citation["license"], citation["version"]) == (PROJECT["license"], PROJECT["version"])
    assert citation["authors"] == PROJECT["authors"]
    assert all(reference["authors"] and reference["title"] for reference in citation["references"])


def test_the_changelog_has_the_version_below_what_is_unreleased() -> None:
    versions = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert galaxytl.__version__ == PROJECT["version"]
    assert versions[:2] == ["Unreleased", PROJECT["version"]]


def test_every_python_that_is_allowed_is_named_and_tested() -> None:
    ((oldest, end),) = re.findall(r"^>=3\.(\d+),<3\.(\d+)$", PROJECT["requires-python"])
    allowed = [f"3.{minor}" for minor in range(int(oldest), int(end))]
    jobs = load(".github/workflows/ci.yml")["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == allowed
    assert [text.rpartition(" ")[2] for text in PROJECT["classifiers"] if ":: Python ::" in text] == allowed


def test_hooks_and_workflow_run_what_make_test_runs() -> None:
    prerequisites = re.search(r"^test: (.+?) *##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert prerequisites
    steps = [step.get("run", "") for job in load(".github/workflows/ci.yml")["jobs"].values() for step in job["steps"]]
    run = {target for step in steps if step.startswith("make ") for target in step.split()[1:]}
    assert run == set(prerequisites[1].split())
    (hooks,) = load(".pre-commit-config.yaml")["repos"]
    assert [hook["entry"] for hook in hooks["hooks"]] == ["make lint", "make types"]
