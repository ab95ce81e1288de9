from __future__ import annotations

import re
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweep.doctor.checks import (
    Finding,
    RayNode,
    check_clock,
    check_dashboard,
    check_data,
    check_disk,
    check_gpus,
    check_machine,
    check_metrics,
    check_node,
    check_ray_version,
    check_token,
    check_versions,
    check_weights,
    is_loopback,
    verdict,
)
from sweep.doctor.facts import DataFacts, Facts, Questions, facts_from_dict, gather, listening_ports, parse_listening
from sweep.scheduling import versions as project

GALAXIES = DataFacts(num_images=17_736, identity="1a2b", fingerprint="f00d" * 16)


def make_facts(**changed: Any) -> Facts:
    """A machine that is fit."""
    fit = Facts(
        host="node-1",
        python="3.12.3",
        versions={"ray": "2.60.0", "keras": "3.15.1", "tensorflow": "2.21.0", "galaxytl": "0.1.0, code 1a2b3c4d"},
        gpus=1,
        framework_gpus=1,
        cache="/opt/dlami/nvme/galaxytl",
        cache_free=200 * 10**9,
        cache_limit=200 * 10**9,
        cache_error="",
        data=GALAXIES,
        weights={"VGG16": "aa", "MobileNet": "bb"},
        places={"/srv/galaxytl/results": ""},
        auth_mode="token",
        token_file="/home/u/.ray/auth_token",
        token_mode=0o600,
        listening={8080: ["127.0.0.1"]},
    )
    return replace(fit, **changed)


FIT = make_facts()
NODE = RayNode("10.0.0.7", gpus=1, skew=0.0, token_auth=True, metrics_ports=(8080,))


def one(findings: list[Finding]) -> tuple[str, str]:
    (finding,) = findings
    return finding.status, finding.message


def test_a_node_that_is_fit_has_nothing_but_ok() -> None:
    findings = check_node(make_facts(), make_facts(), NODE, 224)
    assert {finding.status for finding in findings} == {"OK"}
    assert {finding.check for finding in findings} >= {"versions", "GPUs", "disk", "dataset", "weights", "results"}
    assert {finding.where for finding in findings} == {"10.0.0.7"}
    assert {finding.status for finding in check_machine(make_facts(), 224, "here")} == {"OK"}


def test_a_cache_on_a_network_is_a_warning() -> None:
    found = check_node(make_facts(cache_note="it lies on nfs4"), FIT, NODE, 224)
    assert [(finding.check, finding.message) for finding in found if finding.status != "OK"] == [
        ("cache", "it lies on nfs4")
    ]
    assert facts_from_dict({**FIT.to_dict(), "cache_note": "far"}).cache_note == "far"


def test_verdict_is_the_worst() -> None:
    ok, warn, fail = (Finding("n", "c", status, "") for status in ("OK", "WARN", "FAIL"))  # type: ignore[arg-type]
    assert (verdict([]), verdict([ok, warn, ok]), verdict([ok, fail, warn])) == ("OK", "WARN", "FAIL")


UNREAD = replace(GALAXIES, fingerprint="")
GONE = DataFacts(error="/data/g.h5 does not exist")


def versions(**changed: Any) -> list[Finding]:
    return check_versions(make_facts(**changed), FIT, "n")


def gpus(promised: float, listed: int, seen: int | None) -> list[Finding]:
    return check_gpus(make_facts(gpus=listed, framework_gpus=seen), promised, "n")


def disk(**changed: Any) -> list[Finding]:
    return check_disk(make_facts(**changed), FIT, 224, "n")


def data(facts: DataFacts) -> list[Finding]:
    return check_data(make_facts(data=facts), FIT, "n")


def weights(node: str, driver: str) -> list[Finding]:
    return check_weights(make_facts(weights={"VGG16": node}), make_facts(weights={"VGG16": driver}), "n")


def without_weights(online: bool) -> list[Finding]:
    facts = make_facts(weights={"VGG16": ""}, online=online)
    return check_weights(facts, facts, "n")


def token(mode: int = 0o600, auth: bool = True) -> list[Finding]:
    return check_token(make_facts(token_mode=mode), replace(NODE, token_auth=auth))


def metrics(port: int, *addresses: str) -> list[Finding]:
    return check_metrics(make_facts(listening={port: addresses}), NODE)


@pytest.mark.parametrize(
    ("findings", "status", "text"),
    [
        (versions(python="3.11.9"), "FAIL", r"3\.11\.9, the driver has 3\.12\.3"),
        (versions(versions={**FIT.versions, "keras": ""}), "FAIL", r"keras missing \(driver: 3\.15\.1\)"),
        (versions(versions={**FIT.versions, "galaxytl": "0.1.0, code f"}), "FAIL", "code f .*code 1a2b3c4d"),
        (versions(python="3.12.9"), "OK", ""),  # another patch of Python
        # 17,736 images of 224 x 224 x 3 bytes are 2.67 GB; activations may take 10 more
        (disk(cache_free=2_600_000_000), "FAIL", "the images at 224 px take 2.7 GB"),
        (disk(cache_free=2_700_000_000), "WARN", "the images at 224 px take 2.7 GB"),
        (disk(cache_free=12_600_000_000), "WARN", "the images at 224 px take 2.7 GB"),
        (disk(cache_free=12_700_000_000), "OK", "the images at 224 px take 2.7 GB"),
        (disk(cache_limit=10**9), "FAIL", "^the cache may take 1.0 GB, .* take 2.7 GB: raise GALAXYTL_CACHE_GB$"),
        (disk(cache_error="Permission denied"), "FAIL", "Permission denied"),
        (data(UNREAD), "OK", ""),
        (data(replace(UNREAD, identity="other")), "FAIL", ""),
        (data(replace(GALAXIES, fingerprint="b", num_images=40)), "FAIL", "40 images, others than the driver's 17,736"),
        (data(GONE), "FAIL", "put it where every node reaches it"),
        *((weights("aa", "aa"), "OK", ""), (weights("", "aa"), "FAIL", ""), (weights("cc", "aa"), "FAIL", "")),
        *((weights("error: no", "aa"), "FAIL", ""), (weights("", ""), "WARN", ""), (weights("aa", ""), "OK", "")),
        (
            without_weights(online=False),
            "FAIL",
            "no ImageNet weights of VGG16, no network: the sweep's command with --fetch",
        ),
        (without_weights(online=True), "WARN", "Keras downloads them where there is internet"),
        (token(auth=False), "FAIL", "RAY_AUTH_MODE=token"),  # however well the file is kept
        *((token(mode), "OK", "") for mode in (0o600, 0o400)),
        *((token(mode), "FAIL", "chmod 600 /home/u/.ray/auth_token") for mode in (0o644, 0o640)),
        (metrics(8080, "0.0.0.0"), "WARN", ""),
        (metrics(8080, "127.0.0.1", "::"), "WARN", ""),
        (metrics(9090, "0.0.0.0"), "OK", "^no open port$"),
    ],
)
def test_what_is_found_of_a_node(findings: list[Finding], status: str, text: str) -> None:
    found, message = one(findings)
    assert found == status
    assert re.search(text, message), message


@pytest.mark.parametrize(
    ("status", "cases"),
    [
        ("OK", [(1, 1, 1), (0, 0, None), (8, 8, 8)]),
        ("FAIL", [(1, 0, None), (2, 1, 1)]),  # promised what is not there
        ("FAIL", [(1, 1, 0), (1, 1, -1)]),  # TensorFlow without CUDA; Keras cannot be imported
        ("WARN", [(4, 8, 8), (0, 1, 1)]),  # some are idle
    ],
)
def test_gpus(status: str, cases: list[tuple[float, int, int | None]]) -> None:
    """Promised, listed by NVIDIA's driver, seen by the framework."""
    for promised, listed, seen in cases:
        counts = f"Ray has {promised:g} to give, nvidia-smi lists {listed}"
        found, message = one(gpus(promised, listed, seen))
        assert (found, counts in message) == (status, True)


def test_nothing_is_said_of_a_ray_that_is_safe_nor_of_data_that_nobody_asked_for() -> None:
    for version, problems in (("2.51.1", 1), ("2.9.3", 1), ("", 1), ("2.52.0", 0), ("2.60.0", 0), ("3.0.0", 0)):
        assert len(check_ray_version(make_facts(versions={"ray": version}), "n")) == problems
    assert check_data(make_facts(data=None), make_facts(data=None), "n") == []


def test_results_folder_that_is_not_shared() -> None:
    findings = check_node(make_facts(places={"/home/u/results": "no such file"}), FIT, NODE, 224)
    assert [finding.check for finding in findings if finding.status == "FAIL"] == ["results"]


def test_clock() -> None:
    found = [one(check_clock(replace(NODE, skew=skew)))[0] for skew in (0.0, 1.9, 2.0, 59.0, 60.0)]
    assert found == ["OK", "OK", "WARN", "WARN", "FAIL"]


@pytest.mark.parametrize(
    ("urls", "token", "status"),
    [
        (("127.0.0.1:8265", "[::1]:8265", "http://localhost:8265", ""), False, "OK"),
        (("10.0.0.5:8265",), True, "WARN"),
        (("10.0.0.5:8265", "0.0.0.0:8265", "[::]:8265"), False, "FAIL"),
    ],
)
def test_dashboard(urls: tuple[str, ...], token: bool, status: str) -> None:
    assert {one(check_dashboard(url, token, "head"))[0] for url in urls} == {status}


def test_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost", "::ffff:127.0.0.1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "example.org", "")))


# Facts


def test_listening_as_the_kernel_writes_it() -> None:
    table = (
        "  sl  local_address rem_address   st tx_queue rx_queue\n"
        "   0: 0100007F:2049 00000000:0000 0A 00000000:00000000\n"
        "   1: 00000000:1F90 00000000:0000 0A 00000000:00000000\n"
        "   2: 0100007F:8AE2 0100007F:2049 01 00000000:00000000\n"  # a connection, not a listener
    )
    assert parse_listening(table) == [(8265, "127.0.0.1"), (8080, "0.0.0.0")]
    six = "head\n 0: 00000000000000000000000001000000:2049 0:0 0A\n 1: 00000000000000000000000000000000:1F90 0:0 0A\n"
    assert parse_listening(six) == [(8265, "::1"), (8080, "::")]


def test_a_socket_of_ours_is_seen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert listening_ports()[port] == ["127.0.0.1"]
    assert port not in listening_ports()


def test_this_machine_says_what_it_has_and_its_facts_survive_their_way_to_the_driver() -> None:
    facts = gather(Questions())
    assert facts.versions["ray"].startswith("2.")
    assert facts.versions["galaxytl"].startswith("0.1.0, code ")
    assert facts.cache_free > 0
    assert facts.cache_error == ""
    assert facts_from_dict(facts.to_dict()) == facts
    assert facts_from_dict(make_facts().to_dict()) == make_facts()


def test_project_version_changes_with_the_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(project, "PROJECT", ("someones_project",))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "someones_project").mkdir()
    seen = set()
    for text in ("", "x = 1", "x = 2"):
        (tmp_path / "someones_project" / "__init__.py").write_text(text)
        seen.add(project.project_version())
    assert len(seen) == 3
