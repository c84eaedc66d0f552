"""Ways of learning and choosing."""

import pytest
from observed_sets import TINY

from tasks.assessing.observed import Way
from tasks.campaigns.batch_settings import Slot
from tasks.campaigns.config import OperatorsSection


@pytest.fixture
def way():
    def make(strategy="eigenspace-clusters", operator="reducible", kind="continuous", ensemble=TINY, repeats=6):
        slots = (Slot(strategy=strategy, share=1.0),)
        return Way(ensemble, OperatorsSection(sketch=4, features=4), slots, operator, kind, repeats)

    return make
