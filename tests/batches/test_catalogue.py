"""The table of strategies in the docs is the one that their docstrings make."""

from dataclasses import replace

import pytest

from tasks.batches import STRATEGIES
from tasks.batches.catalogue import README, SECTIONS, catalogue, read_docstring, with_catalogue
from tasks.batches.options import options_model
from tasks.errors import UserError


def test_the_readme_has_not_drifted():
    said = README.read_text(encoding="utf-8")
    assert said == with_catalogue(said), "run python -m tasks.batches.catalogue"


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_docstring_says_what_the_table_needs(name):
    told = read_docstring(name, STRATEGIES[name])
    assert set(told) == {"", *SECTIONS}
    assert told[""].endswith(".")
    assert len(told["Formula"]) < 300


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_option_is_described_and_has_a_default(name):
    for option, field in options_model(STRATEGIES[name].pick).model_fields.items():
        assert field.description, option
        assert not field.is_required(), option


def test_every_strategy_has_one_line():
    lines = catalogue().splitlines()
    for name in STRATEGIES:
        assert sum(line.startswith(f"| `{name}` |") for line in lines) == 1
        assert sum(line.startswith(f"- `{name}`: ") for line in lines) == 1
    # Cells may hold |x|, which must not end them.
    assert {line.replace("\\|", "").count("|") for line in lines if line.startswith("|")} == {8}


def test_a_docstring_without_sections_is_refused():
    def pick(pool, n, rng):
        """Do something.

        Formula:
            x
        """

    with pytest.raises(UserError, match="strategy new: a docstring lacks sections; got no Cost, Fails, Source"):
        read_docstring("new", replace(STRATEGIES["random"], pick=pick))


def test_a_readme_without_marks_is_refused():
    with pytest.raises(UserError, match="marks of the catalogue are missing"):
        with_catalogue("# batches\n")
