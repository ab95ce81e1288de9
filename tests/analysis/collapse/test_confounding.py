"""What separates two groups of trials, what they share unevenly, and what they do not say."""

from __future__ import annotations

from collections.abc import Iterable

from analysis.collapse.confounding import confounded, not_recorded, uneven, varying
from galaxytl.trial import TrialResult
from tests.analysis.fakes import make_result, make_spec


def on(hosts: Iterable[str], **environment: str) -> list[TrialResult]:
    return [make_result(environment={"host": host, "keras": "3", **environment}) for host in hosts]


def test_no_shared_value_is_confounding_and_both_are_named() -> None:
    assert confounded(on("aab"), on("cd")) == ("host (a and b against c and d)",)
    assert confounded(on("aab"), on("bc")) == ()
    assert confounded(on("a"), on("a", keras="4")) == ("keras (3 against 4)",)
    assert confounded(on("a", data_damage="rows lost"), on("a")) == ("damage of the data (rows lost against none)",)
    names = [make_result(make_spec(dataset="copy", precision="mixed_float16"), environment={"host": "a", "keras": "3"})]
    assert confounded(on("a"), names) == (
        "dataset (galaxy10_decals against copy)",
        "precision (float32 against mixed_float16)",
    )
    assert confounded(on("abcdef"), on("vwxyzz")) == ("host (a, b, c and 3 more against z, v, w and 2 more)",)


def test_a_host_of_its_own_for_each_trial_says_nothing_and_a_version_does() -> None:
    assert confounded(on("abc"), on("def")) == ()
    assert confounded(on("a"), on("b", keras="4")) == ("keras (3 against 4)",)


def test_what_is_shared_may_be_spread_unevenly() -> None:
    assert uneven(on("aaaab"), on("abbbb")) == ("host",)
    assert uneven(on("aabb"), on("aabb")) == ()
    assert uneven(on("aaaa"), on("bbbb")) == ()  # that is confounded


def test_what_is_not_recorded_is_known_to_be_so() -> None:
    old = [make_result(environment={})]
    assert confounded(old, on("a")) == ()
    assert not_recorded(old, on("a")) == ("damage of the data", "host", "keras")
    assert not_recorded(on("a"), on("b")) == ()
    assert varying(on("ba")) == {"host": ("a", "b")}
