import textwrap
from typing import get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.campaigns.config import CampaignConfig, Section
from tasks.campaigns.reading import dump_config, parse_config, read_config
from tasks.errors import UserError

GOOD = textwrap.dedent(
    """
    campaign: {name: pilot, seed: 3}
    library: {uri: library.csv}
    readout: {kind: continuous, tolerance: 0.5}
    plates:
      format: 96
      negcon: {wells: [A01:D01]}
    """
)


TWO_POINT = GOOD + "  poscon: {wells: [A12:D12], nominal: 5}\nalignment: {method: two-point}\n"


def changed(**changes):
    """The good configuration with values set by dotted path; None removes."""
    content = yaml.safe_load(GOOD)
    for path, value in changes.items():
        *sections, key = path.split("__")
        part = content
        for section in sections:
            part = part.setdefault(section, {})
        if value is None:
            del part[key]
        else:
            part[key] = value
    return yaml.safe_dump(content)


def test_a_good_file_is_read_and_its_paths_are_absolute(tmp_path):
    (tmp_path / "campaign.yaml").write_text(GOOD)
    config = read_config(tmp_path / "campaign.yaml")
    assert config.campaign.storage == str(tmp_path / "campaigns")
    assert config.library.uri == str(tmp_path / "library.csv")
    assert config.stopping.gamma == 0.9


def test_what_an_alignment_needs_is_asked_for_by_that_alignment_only():
    points = TWO_POINT.replace("D01]", "D01], nominal: 0")
    assert parse_config(points, "x").alignment.method == "two-point"
    assert parse_config(changed(alignment__method="of-my-own"), "x").alignment.method == "of-my-own"


@pytest.mark.parametrize(
    ("readout", "expected"),
    [
        ({"kind": "continuous", "tolerance": 1.0}, "eigenspace-clusters"),
        ({"kind": "binary", "threshold": 0.5}, "least-confidence"),
    ],
)
def test_the_default_strategy_is_the_readouts(readout, expected):
    given = changed(readout=readout)
    assert [slot.strategy for slot in parse_config(given, "c.yaml").batch.slots] == [expected]
    chosen = changed(readout=readout, batch={"slots": [{"strategy": "random", "share": 1.0}]})
    assert [slot.strategy for slot in parse_config(chosen, "c.yaml").batch.slots] == ["random"]


def test_a_url_stays_as_it_is(tmp_path):
    (tmp_path / "campaign.yaml").write_text(changed(campaign__storage="s3://lab/x"))
    assert read_config(tmp_path / "campaign.yaml").campaign.storage == "s3://lab/x"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (changed(stopping__gama=0.9), ["unknown key stopping.gama", "spelling"]),
        (changed(stopping__gamma=1.4), ["stopping.gamma", "got 1.4", "less than 1"]),
        (changed(stopping__gamma=0), ["stopping.gamma", "got 0", "greater than 0"]),
        (changed(stopping__gamma="high"), ["stopping.gamma", "got 'high'", "number"]),
        (changed(stopping__gamma=float("nan")), ["stopping.gamma", "finite"]),
        (changed(plates__format=97), ["plates.format", "96, 384 or 1536", "got 97"]),
        (changed(campaign__name="../up"), ["campaign.name", "got '../up'"]),
        (changed(readout__tolerance=None), ["readout", "tolerance is needed"]),
        (changed(readout__kind="binary"), ["readout", "threshold is needed"]),
        (changed(library=None), ["library is missing"]),
        (changed(batch__slots=[{"strategy": "random", "share": 0.5}]), ["batch", "sum to 1"]),
        (
            changed(batch__slots=[{"strategy": "random", "share": 0.4}, {"strategy": "random", "share": 0.6}]),
            ["batch", "strategy random stands in two slots", "add their shares up"],
        ),
        (changed(alignment__method="two-point"), ["two-point needs plates.poscon"]),
        (TWO_POINT, ["plates.negcon.nominal", "plates.poscon.nominal", "not None and 5.0"]),
        (TWO_POINT.replace("D01]", "D01], nominal: 5"), ["two different values", "not 5.0 and 5.0"]),
        (changed(quality__poscon_reads="up"), ["quality.poscon_reads", "got 'up'", "'higher' or 'lower'"]),
        (changed(plates__replicates=5), ["initial must be at least replicates"]),
        (changed(ensemble__members=1, stopping__risk=2), ["ensemble.members", "1 more"]),
        (GOOD + "campaign: {name: again}\n", ["not valid YAML", "stands twice"]),
        ("campaign: [", ["not valid YAML", "line"]),
        ("- a\n- b\n", ["not a campaign"]),
        ("", ["not a campaign"]),
        ("campaign: !!python/object/apply:os.system [ls]", ["not valid YAML"]),
    ],
)
def test_a_mistake_is_one_line_that_names_it(text, words):
    with pytest.raises(UserError) as caught:
        parse_config(text, "campaign.yaml")
    message = str(caught.value)
    assert message.startswith("campaign.yaml: ")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"none\.yaml: the configuration cannot be read; got no such file"):
        read_config(tmp_path / "none.yaml")


def test_a_file_that_is_not_text_is_one_line(tmp_path):
    (tmp_path / "campaign.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not utf-8"):
        read_config(tmp_path / "campaign.yaml")


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    gamma=st.floats(0.01, 0.99),
    shares=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    replicates=st.integers(1, 4),
)
def test_a_configuration_survives_the_round_trip(seed, gamma, shares, replicates):
    slots = [{"strategy": f"s{i}", "share": share / sum(shares)} for i, share in enumerate(shares)]
    config = parse_config(
        changed(campaign__seed=seed, stopping__gamma=gamma, batch__slots=slots, plates__replicates=replicates), "x"
    )
    assert parse_config(dump_config(config), "y") == config


def sections(model):
    yield model
    for field in model.model_fields.values():
        yield from (found for kind in kinds(field.annotation) for found in sections(kind))


def kinds(annotation):
    """The sections that a field may hold: itself, or those of a union."""
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, Section) else []
    return [kind for part in get_args(annotation) for kind in kinds(part)]


def test_every_field_says_what_it_is():
    for section in sections(CampaignConfig):
        for name, field in section.model_fields.items():
            if not kinds(field.annotation):
                assert field.description, f"{section.__name__}.{name} has no description"


TLS = {"ca": "tls/ca.pem", "certificate": "/etc/lab/cert.pem", "key": "tls/key.pem"}


def test_tls_files_are_found_beside_the_configuration(tmp_path):
    text = changed(compute__dask="tls://scheduler.lab:8786", compute__tls=TLS)
    (tmp_path / "campaign.yaml").write_text(text)
    tls = read_config(tmp_path / "campaign.yaml").compute.tls
    assert (tls.ca, tls.certificate) == (str(tmp_path / "tls/ca.pem"), "/etc/lab/cert.pem")


@pytest.mark.parametrize(
    "address", ["local", "cuda", "tcp://10.0.0.7:8786", "tcp://[::1]:8786", "tcp://dask-scheduler:1"]
)
def test_places_to_compute(address):
    assert parse_config(changed(compute__dask=address), "x").compute.dask == address


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dask": "10.0.0.7:8786"}, "compute.dask: "),
        ({"dask": "tcp://10.0.0.7"}, "compute.dask: "),
        ({"dask": "ucx://10.0.0.7:8786"}, "compute.dask: "),
        ({"dask": "cuda", "workers": 2}, "workers goes with dask: local"),
        ({"dask": "tcp://10.0.0.7:8786", "workers": 2}, "workers goes with dask: local"),
        ({"dask": "tls://10.0.0.7:8786"}, "tls:// needs the files in tls"),
        ({"dask": "tcp://10.0.0.7:8786", "tls": TLS}, "an address that begins with tls://"),
        ({"dask": "tls://10.0.0.7:8786", "tls": {"ca": "x"}}, "compute.tls.certificate is missing"),
        ({"tls": TLS}, "an address that begins with tls://"),
        ({"workers": -1}, "compute.workers: "),
        ({"group_members": 0}, "compute.group_members: "),
        ({"wait_seconds": 0}, "compute.wait_seconds: "),
        ({"device": "gpu"}, "compute.device: "),
        ({"gpus": 1}, "unknown key compute.gpus"),
    ],
)
def test_places_to_compute_that_cannot_be(changes, words):
    with pytest.raises(UserError) as caught:
        parse_config(changed(**{f"compute__{name}": value for name, value in changes.items()}), "x")
    assert words in str(caught.value)
