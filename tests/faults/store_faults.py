"""A small round on S3 while the store fails: for a moment, or until it is mended and the round started again."""

import os
import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import s3fs
import yaml
from services.faulty_s3 import FaultyS3
from services.rclone_s3 import rclone_s3
from warmed import serving, warmed

from tasks.labs.tiny import write_tiny_campaign

NAMES = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
#: Requests at which the store fails: method, part of the address, and what a person would call them.
PLACES = (
    ("GET", "/design/platemap.csv", "reading the plate map"),
    ("GET", "/inbox/self", "reading an upload"),
    ("GET", "/manifest.json", "reading a manifest"),
    ("GET", "/checkpoints/predict/", "reading predictions"),
    ("GET", "list-type=2", "listing"),
    ("PUT", "/checkpoints/fit/", "writing weights"),
    ("PUT", "/manifest.json", "writing a manifest"),
    ("PUT", "/round.lock.json", "claiming the run"),
    ("PUT", "/screens/0001/screen.", "writing the screen"),
    ("PUT", "/run.json", "ending the run"),
    ("PUT", "/rounds/0001/design/", "releasing the design"),
)
EVERYWHERE = ("internal error", "slow down", "reset", "silence")
ONLY = {"GET": ("truncated", "flipped", "slow"), "PUT": ("answer lost", "conflict")}
#: What ends the round where it lasts. A slow answer, and one whose condition failed, ends nothing.
LASTING = ("internal error", "reset", "silence", "truncated", "flipped")
#: Files by which two campaigns are compared; the screen's manifest holds the digests of all of its files.
TOLD = (
    "screens/0001/manifest.json",
    "screens/0001/screen.csv",
    "rounds/0000/runs/01/round.lock.json",
    "rounds/0000/runs/01/run.json",
    "rounds/0001/design/design.json",
    "rounds/0001/design/platemap.csv",
)


@dataclass(frozen=True)
class Fault:
    """What fails, where, and for how many requests."""

    kind: str
    places: tuple
    times: int

    def __str__(self):
        where = ", ".join(name for _, _, name in self.places) if len(self.places) < 3 else "everywhere"
        return f"{self.kind} at {where}"


def of_a_moment():
    """Every kind, at every place that it can come to, for two requests each: nobody may notice."""
    kinds = [*EVERYWHERE, *ONLY["GET"], *ONLY["PUT"]]
    return [Fault(kind, tuple(place for place in PLACES if _can_come(kind, place)), 2) for kind in kinds]


def that_last():
    """Every kind at every place, for good."""
    return [Fault(kind, (place,), 10**9) for kind in LASTING for place in PLACES if _can_come(kind, place)]


def _can_come(kind, place):
    if (kind, place[1]) == ("flipped", "list-type=2"):
        return False  # of a listing nothing can be compared; what it names is read
    if kind == "conflict" and place[2] in ("writing weights", "writing the screen"):
        return False  # only a condition can fail
    return kind in EVERYWHERE or kind in ONLY[place[0]]


class Bench:
    """Campaigns of one bucket behind a proxy, and who computes their rounds."""

    def __init__(self, proxy, warm, folder, variables):
        self.proxy, self.warm, self.folder = proxy, warm, folder
        self.variables = {**variables, "AWS_MAX_ATTEMPTS": "4", "FAULTS_IMPATIENT": "1"}
        self.bucket = proxy.folder().split("/")[2]
        self.files = s3fs.S3FileSystem(endpoint_url=f"http://{proxy.upstream}", use_listings_cache=False)

    def campaign(self):
        """A campaign of its own with its plates in: its file and its folder in the bucket."""
        name = uuid.uuid4().hex[:8]
        folder = self.folder / name
        folder.mkdir(parents=True)
        path = write_tiny_campaign(folder)
        content = yaml.safe_load(path.read_text())
        content["campaign"]["storage"] = f"s3://{self.bucket}/{name}"
        path.write_text(yaml.safe_dump(content))
        self.proxy.heal()
        for command in ("open", "measure"):
            self.do(command, path)
        return path, f"{self.bucket}/{name}/self-test"

    def do(self, command, path):
        """The result, if it ended well."""
        answer = self.order(command, path)
        assert "result" in answer, answer
        return answer["result"]

    def order(self, command, path):
        status, answer, _ = self.warm.order(command, path, watch=False, environment=self.variables)
        assert status == 0, status
        return answer

    def told(self, root):
        """What a campaign came to: names of its files, and contents of some."""
        names = {name.removeprefix(f"{root}/") for name in self.files.find(root)}
        contents = {name: self.files.cat_file(f"{root}/{name}") for name in TOLD if name in names}
        return names, contents

    def keys(self, root):
        return [name.partition("/")[2] for name in self.files.find(root)]


@contextmanager
def bench(folder):
    """A bench on the S3 server that the environment names, or on one in this process."""
    with ExitStack() as stack:
        if not all(os.environ.get(name) for name in NAMES):
            from moto.server import ThreadedMotoServer

            server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
            server.start()
            stack.callback(server.stop)
            host, port = server.get_host_and_port()
            os.environ.update(zip(NAMES, (f"http://{host}:{port}", "test-key", "test-secret"), strict=True))
            stack.callback(lambda: [os.environ.pop(name) for name in NAMES])
        variables = {name: os.environ[name] for name in NAMES} | {"AWS_DEFAULT_REGION": "us-east-1"}
        proxy = stack.enter_context(FaultyS3(variables["AWS_ENDPOINT_URL"], silence=15.0))
        server = stack.enter_context(serving(folder))
        home = {"PREFECT_API_URL": server.url, "PREFECT_HOME": str(folder / "home")}
        (warm,) = stack.enter_context(warmed(folder, 1, **home))
        yield Bench(proxy, warm, folder / "labs", variables | {"AWS_ENDPOINT_URL": proxy.url})


def try_fault(at, expected, fault):
    """What is wrong with a round during which the store failed, and with the one after it; empty if nothing is."""
    path, root = at.campaign()
    for method, name, _ in fault.places:
        at.proxy.fail(fault.kind, fault.times, method, name)
    answer = at.order("round", path)
    met = at.proxy.met[fault.kind]
    problems = [] if met >= len(fault.places) else [f"only {met} requests met it"]
    if "error" in answer:
        problems.append(f"no clear line, but {answer['error']}")
    if "refusal" in answer:
        problems += [f"more than one line: {answer['refusal']}"] if "\n" in answer["refusal"] else []
        problems += [f"it stopped, and need not have: {answer['refusal']}"] if fault.times < 4 else []
        at.proxy.heal()
        again = at.order("round", path)
        if "result" not in again:
            return [*problems, f"started again it did not end right: {again}"]
    at.proxy.heal()
    return problems + unlike(at.told(root), expected, damaged=fault.kind == "flipped")


def unlike(found, expected, *, damaged=False):
    """How a campaign differs from the undisturbed one. What was taken for damaged was stored once more."""
    names, contents = found
    more = {name for name in names - expected[0] if not (damaged and name.rsplit("/", 1)[-1].startswith("manifest."))}
    lines = [f"missing: {name}" for name in sorted(expected[0] - names)] + [f"too much: {name}" for name in more]
    return lines + [f"differs: {name}" for name in TOLD if contents.get(name) != expected[1][name]]


def try_stale(at, expected):
    """All through a round the listings show the campaign as it was before."""
    path, root = at.campaign()
    at.proxy.remember(at.keys(root))
    at.proxy.fail("stale", method="GET", name="list-type=2")
    answer = at.order("round", path)
    problems = [] if at.proxy.met["stale"] else ["no listing was stale"]
    at.proxy.heal()
    if "result" not in answer:
        problems += [f"no clear line, but {answer['error']}"] if "error" in answer else []
        answer = at.order("round", path)
    if "result" not in answer:
        return [*problems, str(answer)]
    return problems + unlike(at.told(root), expected)


def try_no_condition(at, folder):
    """A server that ignores `If-None-Match` is refused at the opening."""
    (folder / "buckets" / "plates").mkdir(parents=True)
    path = write_tiny_campaign(folder)
    content = yaml.safe_load(path.read_text())
    content["campaign"]["storage"] = "s3://plates/lab"
    path.write_text(yaml.safe_dump(content))
    with rclone_s3(folder / "buckets") as variables:
        _, answer, _ = at.warm.order("open", path, watch=False, environment=variables)
    if "create-if-absent" not in answer.get("refusal", ""):
        return [f"not refused: {answer}"]
    files = [each.name for each in (folder / "buckets").rglob("*") if each.is_file()]
    return [] if files == ["store.json"] else [f"written all the same: {files}"]


def try_all(folder, every=1):
    """Outcomes of every fault, of those that last only every n-th: what, where, what was wrong."""
    with bench(folder) as at:
        path, root = at.campaign()
        at.do("round", path)
        expected = at.told(root)
        found = [("store, a moment", str(fault), try_fault(at, expected, fault)) for fault in of_a_moment()]
        found += [("store, lasting", str(fault), try_fault(at, expected, fault)) for fault in that_last()[::every]]
        found.append(("store, stale listings", "the whole round", try_stale(at, expected)))
        (folder / "rclone").mkdir()
        found.append(("store, no create-if-absent", "open", try_no_condition(at, folder / "rclone")))
    return found
