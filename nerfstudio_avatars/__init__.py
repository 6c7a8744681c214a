# Copyright 2026 the nerfstudio-avatars authors. Licensed under the Apache License, Version 2.0.
"""Animatable human avatars for nerfstudio.

Nothing is imported here: nerfstudio imports this package for every `ns-*` command, before its own modules are complete.
"""

__version__ = "0.1.0"
