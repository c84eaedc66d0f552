import pytest

from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import CheckpointStore


@pytest.fixture
def storage(tmp_path):
    return Storage(str(tmp_path / "campaign"))


@pytest.fixture
def store(storage):
    return CheckpointStore(storage)
