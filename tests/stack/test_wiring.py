"""The template and the state machine hold together; see wiring.py for what is checked."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from machine import written
from mutants import ARGUED, killer, wiring_mutants
from wiring import CHECKS, Wiring

from local.template import source


@pytest.fixture(scope="module")
def wiring() -> Wiring:
    return Wiring(source(), written())


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_wiring(check: Callable[[Wiring], None], wiring: Wiring) -> None:
    check(wiring)


def test_what_is_argued_to_survive_does_survive(wiring: Wiring) -> None:
    """An argument for a mutant that some check kills, or that there is no more, is none."""
    mutants = {mutant.name: mutant for mutant in wiring_mutants(wiring)}
    assert {name: killer(wiring, mutants[name]) for name in ARGUED} == dict.fromkeys(ARGUED)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(20))
def test_a_mutant_of_the_wiring_is_killed(number: int, wiring: Wiring) -> None:
    """Twenty at random, each run the same; all of them: `make mutate-wiring`."""
    mutant = Random(number).choice(wiring_mutants(wiring))
    assert killer(wiring, mutant) or mutant.name in ARGUED, mutant.name
