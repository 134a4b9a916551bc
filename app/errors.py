"""The one family of errors that a user can act on."""


class LabError(Exception):
    """A problem with its cure: what went wrong (with the value), and what to do next.

    Scripts print the two as two plain lines and exit with 2; any other exception is a bug and shows its traceback.
    """

    at_start = False  # whether the machine may be the cause: then scripts point to the doctor

    def __init__(self, problem: str, cure: str = "") -> None:
        super().__init__(problem, cure)
        self.problem = problem
        self.cure = cure

    def __str__(self) -> str:
        return "\n".join(line for line in (self.problem, self.cure) if line)
