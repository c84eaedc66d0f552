"""What the samples of a JUMP layout are: the role of a well from the metadata of its sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.errors import UserError
from tasks.readouts.layouts.model import Role, filled
from tasks.readouts.layouts.source import Line, Source, read_table

_KINDS: dict[str, Role] = {"trt": "sample", "negcon": "negcon", "poscon": "poscon", "empty": "empty"}
_POSCON = "poscon"


@dataclass(frozen=True)
class Samples:
    """The samples of a screen.

    Attributes:
        column: Column of maps and metadata with the sample.
        id: Column of the metadata with the perturbation; None: the sample.
        metadata: Line of each sample; that of the empty text is the vehicle's. Empty when there is no table.
        controls: Role of a sample or a control type, before what the metadata say.
        blank: Role of wells without a sample, where the metadata do not tell it.
        notes: What was overlooked, what was decided.
    """

    column: str
    id: str | None
    metadata: Mapping[str, Line]
    controls: Mapping[str, Role]
    blank: Role | None
    notes: tuple[str, ...]

    def role(self, sample: str, line: Line) -> Role:
        """Role of a well.

        Args:
            sample: What stands in it; empty for nothing.
            line: The well's line of its map.

        Raises:
            UserError: Nothing tells the role.
        """
        if sample in self.controls:
            return self.controls[sample]
        if sample in self.metadata:
            return self._by_kind(self.metadata[sample])
        if not sample and self.blank is not None:
            return self.blank
        if not sample:
            raise UserError(
                "a well without a sample, of which the metadata say nothing",
                where=line.where,
                todo="Set layout.blank to negcon (vehicle), other or empty.",
            )
        if self.metadata:
            raise UserError(
                "sample without metadata",
                where=line.where,
                got=repr(sample),
                expected="a line in layout.metadata, or its role in layout.controls",
            )
        return "sample"

    def perturbation(self, sample: str) -> str:
        """The perturbation that a sample is; the sample itself where the metadata have no id."""
        line = self.metadata.get(sample)
        return (filled(line, self.id) if self.id is not None and line is not None else "") or sample

    def _by_kind(self, line: Line) -> Role:
        kind = kind_of(line)
        role = self.controls.get(kind) or _KINDS.get(kind)
        if role is None and kind.startswith(_POSCON):
            return "poscon"
        if role is None:
            raise UserError(
                "unknown kind of sample",
                where=line.where,
                got=f"pert_type {line.cells.get('pert_type')!r}, control_type {line.cells.get('control_type')!r}",
                expected="trt, negcon, poscon or empty",
                todo="Give its role in layout.controls.",
            )
        return role


def kind_of(line: Line) -> str:
    """control_type of a sample, or where it has none its pert_type."""
    cells = line.cells
    kinds = (filled(line, column) for column in ("control_type", "pert_type") if column in cells)
    return next((kind for kind in kinds if kind), "")


def read_samples(
    source: Source, names: Sequence[str], column: str, id_: str | None, controls: Mapping[str, Role], blank: Role | None
) -> Samples:
    """Read the metadata of the samples.

    Raises:
        UserError: A mistake in the files; one line that names file and line.
    """
    metadata: dict[str, Line] = {}
    notes: list[str] = []
    for name in names:
        table = read_table(source, name, (column, *([id_] if id_ else [])))
        notes.extend(table.notes)
        if not {"pert_type", "control_type"} & set(table.columns):
            got = ", ".join(table.columns)
            raise UserError("neither a column pert_type nor control_type", where=f"{name}, line 1", got=got)
        for line in table.lines:
            known = metadata.setdefault(filled(line, column), line)
            if any((kind_of(known) != kind_of(line), id_ and filled(known, id_) != filled(line, id_))):
                expected = f"kind and id of {known.where}"
                raise UserError(
                    "the sample is something else here", where=line.where, got=line[column], expected=expected
                )
    poscons = sorted({kind_of(line) for line in metadata.values()} - set(controls) - {_POSCON})
    taken = [kind for kind in poscons if kind.startswith(_POSCON)]
    if taken:
        notes.append(f"positive controls are all of {', '.join(taken)}; layout.controls can give them another role")
    nameless = sum(1 for line in metadata.values() if id_ and kind_of(line) == "trt" and not filled(line, id_))
    if nameless:
        notes.append(f"samples without {id_}, which are named by their {column}: {nameless}")
    return Samples(column, id_, metadata, controls, blank, tuple(notes))
