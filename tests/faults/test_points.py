"""Which boundaries are tried."""

from kill_points import enumerate_points


def test_every_kind_of_boundary_is_among_the_points():
    passed = ["before flow round", "before read lab/inbox/a", "before read lab/inbox/b", "before read lab/inbox/c"]
    folder = f"lab/checkpoints/fit/ab/{'0' * 64}"
    passed += [f"before write {folder}/x-{name}.npy" for name in "abc"]
    passed += [f"before create {folder}/manifest.json", f"before create {folder}/manifest.2.json"]
    assert enumerate_points(passed) == [name for name in passed if not name.endswith(("inbox/b", "x-b.npy"))]
