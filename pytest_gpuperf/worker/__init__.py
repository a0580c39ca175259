"""The measuring process: started, asked, supervised and ended by the parent, which never loads an engine library."""

from __future__ import annotations
