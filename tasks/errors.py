"""The errors that a user of the pipeline may meet."""

_LONGEST, _END = 2000, 400


def one_line(text: str) -> str:
    """Text as one line that is safe to show: blanks joined, what cannot be seen escaped, its middle left out if long.

    What a message quotes comes from files and may hold anything: a control character could rewrite a terminal, a mark
    of direction could make a name look like another one.
    """
    line = " ".join(text.split())
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST - _END]} … {line[-_END:]}"
    if line.isprintable():
        return line
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in line)


class HybridScreenError(Exception):
    """Base of every error that this project raises on purpose. Its text is always one printable line."""

    def __str__(self) -> str:
        return one_line(super().__str__())


class UserError(HybridScreenError):
    """A mistake in what the user gave. Printed as one line; the command exits with status 2.

    Args:
        what: What is wrong, in a few words.
        where: File, key, plate, well or line.
        got: What was found.
        expected: What would have been right.
        todo: What to do about it.
    """

    def __init__(self, what: str, *, where: str = "", got: object = None, expected: str = "", todo: str = "") -> None:
        self.what, self.where, self.got, self.expected, self.todo = what, where, got, expected, todo
        super().__init__(self._line())

    def _line(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        facts = []
        if self.got is not None:
            facts.append(f"got {self.got}")
        if self.expected:
            facts.append(f"expected {self.expected}")
        if facts:
            line += "; " + ", ".join(facts)
        if self.todo:
            line += f". {self.todo}"
        return line


class NumericalError(HybridScreenError):
    """A computation met a matrix or a value it cannot work with (not positive definite, not finite)."""
