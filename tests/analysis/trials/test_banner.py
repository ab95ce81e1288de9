"""What tables and figures say of data that were damaged."""

from __future__ import annotations

from dataclasses import replace

from analysis.trials.banner import Banner
from galaxytl.trial import DAMAGE
from tests.analysis.fakes import make_result


def test_accepted_damage_is_said_wherever_the_data_are() -> None:
    fine = make_result()
    damaged = replace(fine, environment={**fine.environment, DAMAGE: "4 images black all over"})
    banner = Banner.of_search([fine, damaged])
    assert "DAMAGED data, accepted by who ran the sweep: 4 images black all over" in banner.warning
    assert "DAMAGED data" in banner.footer
    assert "DAMAGED data." in banner.caption("A figure.", [damaged])
    assert "DAMAGED" not in "".join((Banner.of_search([fine]).warning, Banner.of_search([fine]).footer))
