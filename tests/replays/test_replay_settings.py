"""What a replay's file may say."""

import pytest

from tasks.errors import UserError
from tasks.replays.results import dump_replay, read_replay
from tasks.replays.settings import CONTROL, ReplayConfig


def test_a_file_is_read_with_absolute_paths(write, tmp_path):
    config = read_replay(write())
    assert config.screens[0].uri == str(tmp_path / "screen.csv")
    assert config.replay.storage == str(tmp_path / "replays")
    assert ReplayConfig.model_validate(config.model_dump()) == config


def test_what_is_dumped_reads_as_the_same(write, tmp_path):
    config = read_replay(write())
    (tmp_path / "again.yaml").write_text(dump_replay(config))
    assert read_replay(tmp_path / "again.yaml") == config


def test_random_is_always_played_and_once(write, content):
    names = [arm.name for arm in read_replay(write()).played]
    assert names == [CONTROL, "clusters"]
    content["arms"].append({"name": CONTROL, "slots": [{"strategy": "random", "share": 1.0}]})
    assert [arm.name for arm in read_replay(write()).played] == names


def test_a_preset_fills_what_is_not_given(write, content):
    content["protocol"] = {"preset": "genedisco", "batch": 16}
    protocol = read_replay(write()).protocol
    assert (protocol.initial, protocol.batch, protocol.rounds, protocol.test) == (256, 16, 8, 0.2)


def test_the_plates_preset_brings_plates_that_fail(write, content):
    content["protocol"] = {"preset": "plates"}
    config = read_replay(write())
    noise = config.noise_of(config.screens[0])
    assert noise.failures > 0
    assert noise.plate > 0
    assert noise.wells + 2 * noise.controls == 384
    assert config.protocol.batch * noise.replicates % noise.wells == 0


def test_noise_of_a_screen_goes_before_that_of_the_protocol(write, content):
    content["protocol"]["noise"] = {"level": 0.1}
    assert (config := read_replay(write())).noise_of(config.screens[0]).level == 0.1
    content["screens"][0]["noise"] = {"level": 0.2}
    assert (config := read_replay(write())).noise_of(config.screens[0]).level == 0.2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"protocol": {"preset": "nosuch"}}, "no preset 'nosuch'"),
        ({"protocol": {"rounds": 0}}, "protocol.rounds"),
        ({"unknown": 1}, "unknown key unknown"),
        ({"arms": []}, "arms"),
        ({"replay": {"name": "../up"}}, "replay.name"),
        ({"replay": {"name": "x", "seeds": 1}}, "replay.seeds"),
    ],
)
def test_mistakes_are_named(write, content, change, said):
    content.update(change)
    with pytest.raises(UserError, match=said):
        read_replay(write())


def test_two_arms_of_one_name_are_refused(write, content):
    content["arms"] = content["arms"] * 2
    with pytest.raises(UserError, match="two arms are named clusters"):
        read_replay(write())


def test_a_strategy_that_is_not_known_is_named_with_its_arm(write, content):
    content["arms"][0]["slots"][0]["strategy"] = "magic"
    with pytest.raises(UserError, match=r"arms\.0\.slots.*'magic'"):
        read_replay(write())


@pytest.mark.parametrize("where", ["screen", "protocol"])
def test_noise_is_not_added_to_classes(write, content, where):
    content["readout"] = {"kind": "binary"}
    place = content["screens"][0] if where == "screen" else content["protocol"]
    place["noise"] = {"level": 0.1}
    with pytest.raises(UserError, match="continuous readouts alone"):
        read_replay(write())
