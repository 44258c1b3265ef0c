"""Why a model is not faster: one file per cause, found by file name; each is tested by an experiment that is run.

A cause that cannot be looked for (a runtime without the setting that the experiment needs) says so; nothing is found on
suspicion.
"""

from __future__ import annotations

from compressor.core.plugins import PluginFolder

CAUSES = PluginFolder("compressor.doctor", "cause")
