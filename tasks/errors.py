"""The errors that a user of the pipeline may meet."""


class HybridScreenError(Exception):
    """Base of every error that this project raises on purpose."""


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
        return " ".join(line.split())


class NumericalError(HybridScreenError):
    """A computation met a matrix or a value it cannot work with (not positive definite, not finite)."""
