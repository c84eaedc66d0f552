"""The audit without a network: an advisory is told exactly when a pinned version is affected."""

import importlib.util
import json
import sys
import zipfile

import pytest
from infra_files import INFRA
from packaging.version import Version

SPEC = importlib.util.spec_from_file_location("audit", INFRA / "audit.py")
audit = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(audit)


def advisory(name="Zarr", events=(), versions=(), **more):
    ranges = [{"type": "ECOSYSTEM", "events": list(events)}] if events else []
    affected = {"package": {"ecosystem": "PyPI", "name": name}, "ranges": ranges, "versions": list(versions)}
    return {"id": "PYSEC-1", "aliases": ["CVE-2"], "summary": "Bad.", "affected": [affected], **more}


@pytest.mark.parametrize(
    ("version", "events", "versions", "expected"),
    [
        ("3.1.6", [{"introduced": "0"}], [], True),
        ("3.1.6", [{"introduced": "0"}, {"fixed": "3.1.6"}], [], False),
        ("3.1.6", [{"introduced": "0"}, {"fixed": "3.1.10"}], [], True),  # no comparison of texts
        ("3.1.6", [{"introduced": "3.2"}], [], False),
        ("3.1.6", [{"introduced": "0"}, {"last_affected": "3.1.6"}], [], True),
        ("3.1.6", [{"introduced": "0"}, {"last_affected": "3.1.5"}], [], False),
        ("3.1.6", [{"introduced": "3.1"}, {"introduced": "1.0"}, {"fixed": "2.0"}], [], True),
        ("2.5", [{"introduced": "3.1"}, {"introduced": "1.0"}, {"fixed": "2.0"}], [], False),
        ("3.1.6", [], ["3.1.6"], True),
        ("3.1.6+cpu", [], ["3.1.6"], True),
        ("3.1.6", [], ["3.1.60", "not a version"], False),
    ],
)
def test_versions_and_ranges(version, events, versions, expected):
    found = audit.findings({"zarr": Version(version)}, [advisory(events=events, versions=versions)])
    assert bool(found) is expected
    assert not found or found == [f"Zarr {version}: PYSEC-1, CVE-2: Bad."]


def test_other_packages_ecosystems_and_withdrawn_advisories_do_not_count(tmp_path):
    other = advisory(versions=["1.0"])
    other["affected"][0]["package"]["ecosystem"] = "npm"
    known = {
        "a": advisory("numcodecs", versions=["1.0"]),
        "b": other,
        "c": advisory(versions=["1.0"], withdrawn="2026"),
    }
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as file:
        for name, content in known.items():
            file.writestr(f"{name}.json", json.dumps(content))
    assert audit.findings({"zarr": Version("1.0")}, audit.advisories(tmp_path / "all.zip")) == []


@pytest.mark.parametrize("hit", [True, False])
def test_the_command_compares_what_the_images_install(tmp_path, monkeypatch, capsys, hit):
    pinned = audit.pins((INFRA / "constraints.txt").read_text(encoding="utf-8"))
    assert {"torch", "zarr", "prefect", "distributed"} <= set(pinned)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as file:
        file.writestr("a.json", json.dumps(advisory(versions=[str(pinned["zarr"])] if hit else ["0.1"])))
    monkeypatch.setattr(sys, "argv", ["audit.py", "--database", str(tmp_path / "all.zip")])
    assert audit.main() == int(hit)
    assert f"{len(pinned)} packages, {int(hit)} advisories" in capsys.readouterr().out


def test_an_index_that_does_not_answer_is_no_audit(monkeypatch, capsys):
    monkeypatch.setattr(audit, "INDEX", "http://127.0.0.1:9/")
    monkeypatch.setattr(sys, "argv", ["audit.py"])
    assert audit.main() == 3
    assert capsys.readouterr().err.startswith("NOT AUDITED: http://127.0.0.1:9/ does not answer")
