"""Everything that can go wrong, with the exit code that the command line returns.

CompressionError
  + InvalidOption               an option is unknown, out of range or contradicts another   2
  + UnknownPlugin               no such method, format, target ("did you mean")             2
  + OutputError                 the run folder cannot be written or holds something else    2
  + DataError                   images or labels cannot be read                             2
  + MissingDependency           the plug-in exists, its package is not installed            3
  + ModelFileError              the file is not a model that can be read                    4
      + RefusedPickle           it asks for code that is not on the allow-list              4
      + WeightsMismatch         the weights do not fit the architecture                     4
  + UnsupportedModel            an operator or a layer cannot be handled                    4
      + NothingPrunable         no channel may leave                                        4
  + IncomparableMeasurements    machine, target, threads or batch size differ               5
  + ContractViolation           a plug-in broke its protocol, or we did                    70

Exit codes 6 (an exported file disagrees) and 7 (a budget or --max-drop was not met, the best is written) are no
exceptions: such runs end and are written; see `compressor.runs.summary.exit_code`.

The sentence: owner: `option` must be ALLOWED, but got VALUE. Next step.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CompressionError(Exception):
    """Root of the tree; `exit_code` is what the command line returns."""

    exit_code = 70


class InvalidOption(CompressionError):
    """An option is out of range; the parts of the sentence are attributes too."""

    exit_code = 2

    def __init__(self, owner: str, option: str, allowed: str, got: object, next_step: str = "") -> None:
        self.owner, self.option, self.allowed, self.got = owner, option, allowed, got
        given = "was not given" if got is None else f"got {got!r}"
        sentence = f"{owner}: `{option}` must be {allowed}, but {given}."
        super().__init__(f"{sentence} {next_step}".strip())


class UnknownPlugin(CompressionError):
    """No plug-in has this name; the nearest one is suggested."""

    exit_code = 2

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        near = difflib.get_close_matches(name, self.known, n=1)
        hint = f"Did you mean '{near[0]}'? " if near else ""
        super().__init__(f"No {kind} is named '{name}'. {hint}There are: {', '.join(self.known)}.")


class OutputError(CompressionError):
    """The run folder cannot be written, or holds something else."""

    exit_code = 2


class DataError(CompressionError):
    """Images or labels are missing, or cannot be read."""

    exit_code = 2


class MissingDependency(CompressionError):
    """A package that a chosen plug-in or model file needs is not installed."""

    exit_code = 3

    def __init__(self, owner: str, package: str, install: str) -> None:
        self.owner, self.package, self.install = owner, package, install
        super().__init__(f"{owner} needs the package '{package}', which is not installed. Run: pip install {install}")


class ModelFileError(CompressionError):
    """A model file or a saved run cannot be read."""

    exit_code = 4


class RefusedPickle(ModelFileError):
    """The pickle asks for names outside the allow-list; nothing of it was run."""


class WeightsMismatch(ModelFileError):
    """Weights or a plan do not fit the architecture that was given."""


class UnsupportedModel(CompressionError):
    """An operator or a layer of the model cannot be handled."""

    exit_code = 4


class NothingPrunable(UnsupportedModel):
    """No channel of the model may leave; the sentence holds the reasons."""


class IncomparableMeasurements(CompressionError):
    """Two measurements differ in machine, target, threads or batch size."""

    exit_code = 5


class ContractViolation(CompressionError):
    """A plug-in broke its protocol, or one of our own stages did: a bug, never the user's fault."""

    exit_code = 70
