"""A store behind TLS with a certificate of a private authority: reached by who trusts it, and by nobody else."""

import pytest
import s3fs
from services.tls_proxy import TlsProxy, authority

from tasks.checkpoints.storage import Storage, StorageError


@pytest.fixture
def gateway(s3_url, s3_endpoint, tmp_path, monkeypatch):
    """The store behind TLS, and the authority of its certificate; the environment names it as endpoint."""
    files = authority(tmp_path, "lab")
    with TlsProxy(s3_endpoint, files) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        s3fs.S3FileSystem.clear_instance_cache()
        yield proxy, files
        s3fs.S3FileSystem.clear_instance_cache()


def test_a_campaign_lives_behind_tls(gateway, s3_url, monkeypatch):
    proxy, files = gateway
    monkeypatch.setenv("AWS_CA_BUNDLE", files["ca"])
    storage = Storage(f"{s3_url}/kinase")
    storage.prove_create_if_absent()
    storage.write_many({f"checkpoints/{i}": bytes([i]) * 70_000 for i in range(8)})
    assert storage.read("checkpoints/7") == bytes([7]) * 70_000
    assert storage.list() == [*(f"checkpoints/{i}" for i in range(8)), "store.json"]
    storage.remove_many(["checkpoints/0", "checkpoints/none"])
    assert not storage.exists("checkpoints/0")
    assert proxy.refused == []


@pytest.mark.parametrize("trust", ["nobody", "another"])
def test_a_certificate_of_an_authority_that_is_not_trusted_is_one_clear_line(
    gateway, s3_url, trust, tmp_path, monkeypatch
):
    proxy, _ = gateway
    if trust == "another":
        monkeypatch.setenv("AWS_CA_BUNDLE", authority(tmp_path, "stranger")["ca"])
    else:
        monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    with pytest.raises(StorageError) as caught:
        Storage(f"{s3_url}/kinase").read("store.json")
    assert "\n" not in str(caught.value)
    assert "CERTIFICATE_VERIFY_FAILED" in str(caught.value)
    assert "AWS_CA_BUNDLE" in str(caught.value)
    assert proxy.has_refused()


def test_a_store_with_tls_is_not_reached_without(gateway, s3_url, monkeypatch):
    proxy, _ = gateway
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url.replace("https", "http"))
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(StorageError):
        Storage(f"{s3_url}/kinase").read("store.json")
    assert proxy.has_refused()
