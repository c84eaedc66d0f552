"""What `hybridscreen deploy` applies to a real server, and that applying it again changes nothing."""

import json
import time

import pytest
from served import write_campaign

pytestmark = pytest.mark.slow
DEPLOYMENTS = {"open", "watch", "round", "release", "repeat-plates", "publish", "replay", "self-test"}

#: What a schedule's run changes.
SLOTS = ("active_slots", "denied_slots", "avg_slot_occupancy_seconds")
MOVES = ("updated", "created", "id", "status", "last_polled", *SLOTS)


def applied(api):
    """Everything that is on the server, without when it was changed."""

    def still(found):
        if isinstance(found, dict):
            return {key: still(value) for key, value in found.items() if key not in MOVES}
        return [still(each) for each in found] if isinstance(found, list) else found

    variables = api("/variables/filter", {})[1]
    limits = api("/v2/concurrency_limits/filter", {})[1]
    return still([api.named("deployments"), api.named("automations"), variables, limits])


def test_all_is_there_and_applying_it_again_changes_nothing(service, api, campaign):
    assert set(api.named("deployments")) == DEPLOYMENTS
    assert set(api.named("automations")) == {"hybridscreen-lost-runs", "hybridscreen-arrivals"}
    before = applied(api)
    done = service.command("deploy", campaign, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["campaigns"] == {"pilot": str(campaign)}
    assert applied(api) == before


def test_what_a_person_switched_off_stays_off(service, api):
    watch, arrivals = api.named("deployments")["watch"], api.named("automations")["hybridscreen-arrivals"]
    (schedule,) = watch["schedules"]
    api(f"/deployments/{watch['id']}/schedules/{schedule['id']}", {"active": False}, "PATCH")
    api(f"/automations/{arrivals['id']}", {"enabled": False}, "PATCH")
    try:
        assert service.command("deploy").returncode == 0
        assert [each["active"] for each in api.named("deployments")["watch"]["schedules"]] == [False]
        assert not api.named("automations")["hybridscreen-arrivals"]["enabled"]
    finally:
        (schedule,) = api.named("deployments")["watch"]["schedules"]
        api(f"/deployments/{watch['id']}/schedules/{schedule['id']}", {"active": True}, "PATCH")
        api(f"/automations/{arrivals['id']}", {"enabled": True}, "PATCH")


def test_forms_offer_campaigns_by_name_and_refuse_a_wrong_value_with_its_name(service, api):
    form = api.named("deployments")["round"]["parameter_openapi_schema"]["properties"]
    assert form["campaign"]["enum"] == ["pilot"]
    for field, wrong in (("campaign", "piolt"), ("round_index", -1), ("plan", "perhaps")):
        status, said = api.ask("round", **{"campaign": "pilot", field: wrong})
        assert status == 409, said
        assert field in said["detail"]


def test_a_campaign_can_be_registered_and_forgotten(service, api, tmp_path):
    other = write_campaign(tmp_path / "other", campaign={"name": "other", "storage": "campaigns"})
    assert service.command("deploy", other).returncode == 0
    assert api.named("deployments")["watch"]["parameter_openapi_schema"]["properties"]["campaign"]["enum"] == [
        "*",
        "other",
        "pilot",
    ]
    assert service.command("deploy", "--forget", "other").returncode == 0
    assert api.named("deployments")["round"]["parameter_openapi_schema"]["properties"]["campaign"]["enum"] == ["pilot"]
    done = service.command("deploy", "--forget", "other")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "no campaign of this name is registered; got 'other', expected one of pilot" in done.stderr


def test_the_schedule_starts_the_watch(service, api):
    """Scheduled runs are made by the server, some seconds after the deployment was applied."""
    body = {"deployments": {"name": {"any_": ["watch"]}}, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    deadline = time.monotonic() + 90
    while not api("/flow_runs/filter", body)[1]:
        assert time.monotonic() < deadline, "no run of watch was scheduled"
        time.sleep(1)
