"""What can go wrong while a module becomes a file.

ExportError
  + InvalidExportOption    a format or option is unknown or out of range         2
  + MissingRuntime         the format exists, its package is not installed       3
  + UnsupportedOperator    the exporter or the format cannot express the model   4
  + UnreadableProgram      a .pt2 file is damaged, or holds parts that could run code 4

Every sentence has the form: owner: what is wrong, where. What to do next.
"""

from __future__ import annotations


class ExportError(Exception):
    """Root of this package's errors; `exit_code` is what the command line returns."""

    exit_code = 70


class InvalidExportOption(ExportError):
    """A format or option is unknown or out of range, or the inputs do not fit the module."""

    exit_code = 2


class MissingRuntime(ExportError):
    """The format exists; a package that it needs is not installed."""

    exit_code = 3


class UnsupportedOperator(ExportError):
    """The exporter or the format cannot express the model; `reason` is the sentence without the advice."""

    exit_code = 4

    def __init__(self, owner: str, reason: str, next_step: str) -> None:
        self.owner, self.reason, self.next_step = owner, reason, next_step
        super().__init__(f"{owner}: {reason}. {next_step}")


class UnreadableProgram(ExportError):
    """A .pt2 file is no program, is damaged, or holds parts that could run code."""

    exit_code = 4
