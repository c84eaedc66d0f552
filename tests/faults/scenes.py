"""What is interrupted: commands on a tiny campaign at several moments of its life."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tasks.labs.tiny import write_tiny_campaign

NAME = "self-test"


@dataclass(frozen=True)
class Scene:
    """One command that is interrupted and started again.

    Attributes:
        name: What a person would call it.
        before: Commands that lead there, each with its options.
        do: The command.
        options: Its options.
        arguments: Further arguments; {folder} is the folder of the campaign's file.
        changes: What the configuration says besides, by section.
        parts: In how many parts its points are tried, side by side.
    """

    name: str
    before: tuple[str, ...]
    do: str
    options: dict = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    changes: dict = field(default_factory=dict)
    parts: int = 1


APPROVAL = {"approval": "required"}
FIRST = ("open", "measure", "round")
SCENES = (
    Scene("open", (), "open"),
    Scene("round 0", ("open", "measure"), "round", parts=2),
    Scene("round 0 without plates", ("open",), "round"),
    Scene("round 1, a plate fails", (*FIRST, "measure"), "round", {"round_index": 1}, parts=2),
    Scene(
        "round 1, the plate is repeated", (*FIRST, "measure", "round", "measure"), "round", {"round_index": 1}, parts=2
    ),
    Scene("release", FIRST, "release", changes=APPROVAL),
    Scene("abandon a plate", (*FIRST, "measure", "round"), "plates", {"note": "dropped"}, ("abandon", "{plates}")),
    Scene("publish a copy", FIRST, "publish", arguments=("{folder}/copies",)),
    Scene("upload", ("open",), "upload", arguments=("{folder}/plate1.csv", "{folder}/plate2.csv")),
)


class Stage:
    """A scene set up in a folder, with a copy of its beginning to return to.

    Always the same folder, because its name stands in the configuration's revisions.
    """

    def __init__(self, scene, folder, warm):
        self.scene, self.folder, self.kept, self._warm = scene, folder / "lab", folder / "beginning", warm
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.kept, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.path = write_tiny_campaign(self.folder)
        self.path.write_text(yaml.safe_dump(yaml.safe_load(self.path.read_text()) | scene.changes))
        for number in (1, 2):
            (self.folder / f"plate{number}.csv").write_text(f"plate,well,value\n{number},A01,1.5\n" * 200)
        for command in scene.before:
            status, answer, _ = warm.order(command, self.path, watch=False)
            assert status == 0, (command, status)
            assert "result" in answer, answer
        shutil.copytree(self.folder, self.kept)

    @property
    def campaign(self):
        """Folder of the campaign's files."""
        return self.folder / "campaigns" / NAME

    def again(self):
        """Back to the beginning."""
        shutil.rmtree(self.folder)
        shutil.copytree(self.kept, self.folder)

    def perform(self, **how):
        """Do what the scene is about."""
        scene = self.scene
        arguments = [each.format(folder=self.folder, plates=f"{NAME}-R01-P01") for each in scene.arguments]
        return self._warm.order(scene.do, self.path, *arguments, options=scene.options, **how)


def below(folder: Path):
    """Every file of a folder, without those that no name was ever given to."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".tmp-"))
