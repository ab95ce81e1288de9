"""What curves come to, and the claims about them: where they hold, where the opposite does, where nothing follows."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from analysis.claims.about_curves import (
    EPOCHS,
    VALIDATION_ACCURACY,
    area_under,
    curve_rows,
    epochs_to,
    loss_gap,
)
from analysis.claims.about_trials import judge
from analysis.claims.claims_file import NAME, claims_json
from analysis.claims.sections import ORDER, OVERVIEW, by_topic, sections, summary, unanswered
from analysis.claims.verdicts import CONFIRMED, CONTRADICTED, FEW_SEEDS, NOT_CONFIRMED, NOT_TESTABLE, Judged
from analysis.report.sections import Section
from analysis.run.parts import Sources, claims_part
from analysis.run.scope import ReportScope, scope_of
from analysis.trials.load import Trials
from tests.analysis.collapsing import one_class
from tests.analysis.fake_predictions import Fakes, few_draws
from tests.analysis.fakes import make_result, make_spec


def history(accuracies: Sequence[float]) -> tuple[dict[str, float], ...]:
    """Of these validation accuracies; losses are what is missing to 2, and training is a little better."""
    return tuple(
        {"epoch": epoch, "val_accuracy": a, "accuracy": a + 0.05, "val_loss": 2 - a, "loss": 1.9 - a}
        for epoch, a in enumerate(accuracies, start=1)
    )


def result_with(*accuracies: float) -> Any:
    return make_result(history=history(accuracies))


def test_one_number_a_curve() -> None:
    result = result_with(0.2, 0.4, 0.8, 0.8)
    assert area_under(result, "val_accuracy") == pytest.approx(0.55)
    assert epochs_to(result) == pytest.approx(2.8)  # 0.72 lies at 0.8 of the way from the 2nd epoch to the 3rd
    assert epochs_to(result_with(0.75, 0.7, 0.8)) == 1.0
    assert epochs_to(result_with(0.9, 0.5)) == 1.0  # one that falls again
    assert loss_gap(result) == pytest.approx(0.1)


def test_curves_that_lack_something_have_no_number() -> None:
    empty, short, hole = make_result(history=()), result_with(0.5), result_with(0.5, math.nan, 0.5)
    assert all(math.isnan(measure(empty)) for measure in (epochs_to, loss_gap, lambda r: area_under(r, "val_loss")))
    assert math.isnan(epochs_to(short))
    assert math.isnan(epochs_to(hole))
    assert math.isnan(VALIDATION_ACCURACY.of(hole))
    assert EPOCHS.wants_learning


FAST, SLOW = (0.5, 0.8, 0.82, 0.82, 0.82, 0.82), (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    monkeypatch.setattr("analysis.claims.arms.draws_of", few_draws)
    return Fakes(tmp_path)


def add(fakes: Fakes, backbone: str, curves: dict[str, Sequence[float]], seeds: int = 3, **changes: Any) -> None:
    """Arms with these validation accuracies, and a little more with each seed."""
    for imagenet, accuracies in curves.items():
        for seed in range(seeds):
            own = history([accuracy + 0.002 * seed for accuracy in accuracies])
            fakes.add(backbone, imagenet, 0.5, changes={"history": own, **changes}, seed=seed)


def find(fakes: Fakes) -> Callable[[str], Judged]:
    claims = judge(fakes.trials, fakes.grid)

    def one(beginning: str) -> Judged:
        (found,) = [judged for judged in claims.trials if judged.claim.startswith(beginning)]
        return found

    return one


CURVES = ("'s loss curves", "'s accuracy curves", " is better after the first", " converges faster")


@pytest.mark.parametrize(
    ("on", "off", "verdict"), [(FAST, SLOW, CONFIRMED), (SLOW, FAST, CONTRADICTED), (SLOW, SLOW, NOT_CONFIRMED)]
)
def test_curves_decide_from_three_seeds_on(
    fakes: Fakes, on: Sequence[float], off: Sequence[float], verdict: str
) -> None:
    add(fakes, "ResNet50", {"ON": on, "OFF": off})
    claim = find(fakes)
    assert {claim(f"ResNet50{words}").verdict for words in CURVES} == {verdict}
    assert "watched on the test part, as no validation part was held out" in claim("ResNet50 converges").evidence
    assert claim("ResNet50 converges").seeds == (("ResNet50, ImageNet ON", 3), ("ResNet50, ImageNet OFF", 3))
    assert claim("MobileNet converges faster").verdict == NOT_TESTABLE


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_seeds_speak_of_these_networks(fakes: Fakes, seeds: int) -> None:
    add(fakes, "ResNet50", {"ON": FAST, "OFF": SLOW}, seeds)
    claim = find(fakes)
    for words in CURVES:
        found = claim(f"ResNet50{words}")
        assert (found.verdict, found.reason) == (NOT_CONFIRMED, FEW_SEEDS)
        assert ("no interval from one seed" in found.evidence) == (seeds == 1)


def test_the_loss_gap_is_compared(fakes: Fakes) -> None:
    for imagenet, gap in (("ON", 0.5), ("OFF", 0.1)):
        for seed in range(3):
            last = {"epoch": 1.0, "accuracy": 0.5, "val_accuracy": 0.5, "loss": 1.0, "val_loss": 1.0 + gap + seed / 99}
            fakes.add("MobileNet", imagenet, 0.5, changes={"history": (last,)}, seed=seed)
    claim = find(fakes)
    assert claim("MobileNet's validation loss ends").verdict == CONFIRMED
    assert "+0.400" in claim("MobileNet's validation loss ends").evidence
    assert claim("MobileNet converges faster").verdict == NOT_TESTABLE  # one epoch has no course


def test_a_network_that_has_collapsed_converges_to_nothing(fakes: Fakes) -> None:
    add(fakes, "VGG16", {"ON": SLOW})
    add(fakes, "VGG16", {"OFF": (0.15,) * 6}, confusion=one_class())
    found = find(fakes)("VGG16 converges faster")
    assert found.verdict == NOT_TESTABLE
    assert "3 of 3 networks of VGG16, ImageNet OFF have collapsed" in found.evidence
    ((_, *on), (_, *off)) = curve_rows(judge(fakes.trials, fakes.grid).at_table.setting)  # type: ignore[union-attr]
    assert on[3].startswith("5.")
    assert off[3] == ""


def test_less_than_an_epoch_decides_nothing(fakes: Fakes) -> None:
    add(fakes, "ResNet50", {"ON": (0.5, 0.8, 0.8), "OFF": (0.4, 0.8, 0.8)})
    found = find(fakes)("ResNet50 converges faster")
    assert found.verdict == NOT_CONFIRMED


@pytest.mark.parametrize(("others", "verdict"), [(SLOW, CONFIRMED), (FAST, NOT_CONFIRMED)])
def test_mobilenet_needs_the_fewest_epochs(fakes: Fakes, others: Sequence[float], verdict: str) -> None:
    add(fakes, "MobileNet", {"ON": FAST})
    for backbone in ("ResNet50", "VGG16"):
        add(fakes, backbone, {"ON": others})
    assert find(fakes)("MobileNet converges in fewer epochs than ResNet50 and VGG16 (ImageNet ON)").verdict == verdict


@pytest.mark.parametrize(("longer", "verdict"), [(0.7, CONFIRMED), (0.5, NOT_CONFIRMED), (0.3, CONTRADICTED)])
def test_more_epochs_help_or_not(fakes: Fakes, longer: float, verdict: str) -> None:
    claim = "ResNet50 is better after more epochs (ImageNet OFF)"
    for seed in range(3):
        fakes.add("ResNet50", "OFF", 0.5, seed=seed)
    grid = fakes.grid
    assert "Table 1's 20" in find(fakes)(claim).evidence
    for seed in range(3):
        fakes.add("ResNet50", "OFF", longer, seed=seed, num_epochs=60)
        fakes.add("ResNet50", "OFF", 0.9, seed=seed, num_epochs=90, learning_rate=1e-5)  # differs in more
    (found,) = [one for one in judge(fakes.trials, grid).trials if one.claim == claim]
    assert found.verdict == verdict
    assert "ResNet50, ImageNet OFF, 60 epochs - ResNet50, ImageNet OFF, 20 epochs: " in found.evidence


def test_every_claim_has_its_topic_and_its_seeds(fakes: Fakes) -> None:
    add(fakes, "MobileNet", {"ON": FAST, "OFF": SLOW})
    claims = judge(fakes.trials, fakes.grid)
    topics = by_topic(claims.judged)
    assert tuple(topics) == ORDER
    assert {one.claim for own in topics.values() for one in own} == {one.claim for one in claims.judged}
    assert len({one.claim for one in claims.judged}) == len(claims.judged)  # none twice
    assert all(one.seeds for one in claims.trials)
    assert [one.where.split(",")[0] for one in topics["earlier work"]] == ["section 1"] * 4


def rows_of(found: Sequence[Section]) -> list[dict[str, str]]:
    tables = [one.listing for one in found if one.listing and "Evidence" in one.listing.headings]
    return [dict(zip(table.headings, row, strict=True)) for table in tables for row in table.rows]


def test_the_json_has_what_the_page_has(fakes: Fakes) -> None:
    add(fakes, "MobileNet", {"ON": FAST, "OFF": SLOW})
    failed = make_result(make_spec("VGG16", seed=9), status="FAILED", metrics={}, message="no memory")
    trials = Trials((*fakes.results, failed), folders=fakes.trials.folders)
    part = claims_part(Sources(ReportScope(trials, trials, fakes.grid, None)))

    values = json.loads(part.files[NAME], parse_constant=pytest.fail)
    assert (values["format"], values["min_seeds"], values["level"]) == (1, 3, 0.05)
    assert values["datasets"] == [{"name": "galaxy10_decals", "fingerprint": "0f3a" * 16}]
    assert values["trials"] == sorted(r.trial_id for r in fakes.results)
    shown = {(row["Claim"], row["In the paper"], row["Verdict"], row["Evidence"]) for row in rows_of(part.evidence)}
    told = {tuple(one[key] for key in ("claim", "where", "verdict", "evidence")): one for one in values["claims"]}
    assert shown <= told.keys()
    # without trials they have no row, and are counted
    without = [one for key, one in told.items() if key not in shown]
    assert all(one["verdict"] == NOT_TESTABLE and 0 in [own["seeds"] for own in one["seeds"]] for one in without)
    overview = next(one for one in part.evidence if one.heading == OVERVIEW)
    assert overview.sentences[-1].startswith(f"{len(without)} of 41 claims have no trials")
    (one,) = [one for one in values["claims"] if one["claim"] == "MobileNet converges faster with ImageNet weights"]
    assert one["seeds"] == [{"setting": f"MobileNet, ImageNet {s}", "seeds": 3} for s in ("ON", "OFF")]
    assert (one["about"], one["topic"]) == ("settings", "curves")

    turned = Trials(tuple(reversed(trials.results)), folders=trials.folders)
    assert claims_json(judge(turned, fakes.grid), turned) == part.files[NAME]


def test_simulated_galaxies_are_named_in_the_json(fakes: Fakes) -> None:
    fakes.add_pair("MobileNet", 0.8, 0.5, dataset="simulated")
    values = json.loads(claims_json(judge(fakes.trials, fakes.grid), fakes.trials))
    assert values["warning"].startswith("SIMULATED galaxies")
    assert "CONFIRMED" not in {one["verdict"] for one in values["claims"] if one["seeds"]}


@pytest.mark.parametrize("dataset", ["own_classes_900_images", "galaxy10_layout_900_images"])
def test_the_papers_claims_are_not_judged_by_other_peoples_data(fakes: Fakes, dataset: str) -> None:
    for seed in range(3):
        fakes.add_table({"MobileNet": (0.8, 0.6), "VGG16": (0.5, 0.4)}, seed=seed, dataset=dataset)
    claims = judge(fakes.trials, scope_of(fakes.trials, []).grid or fakes.grid)
    found, file = sections(claims), json.loads(claims_json(claims, fakes.trials))

    assert {one.verdict for one in claims.trials} == {NOT_TESTABLE}
    assert f"other data ({dataset})" in claims.trials[0].evidence
    assert rows_of(found) == []
    assert any(one.heading.startswith("Comparisons") for one in found)
    if dataset.startswith("galaxy10"):
        assert "none is judged" in summary(claims)[0]
        assert unanswered(claims) == ()
        assert found[0].sentences[0].startswith("None is judged, as the paper's are about Galaxy10 DECaLS")
    else:  # of other classes the claims are not even spoken of
        assert not any("laim" in text for text in (*summary(claims), *(one.heading for one in found)))
        assert file["claims"] == []
        assert "these data are others: 3,000 images of 10 classes" in file["warning"]
