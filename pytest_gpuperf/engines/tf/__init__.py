"""What TensorFlow's engines share: the process's settings, signatures, placement and bindings."""

from __future__ import annotations
