"""Models behind a real server: NVIDIA Triton as a supervised child, and MLPerf LoadGen's traffic.

plan        the nouns: Batching, ServingBudget, Traffic, Trial
triton      the server: repository → child with a ready deadline, a log and an end
backend     our engines inside of Triton's Python backend
kserve      the client: KServe v2 over gRPC, for our server and for the user's
traffic     LoadGen in a child of its own; its detail log is checked by ``detail``
search      the highest rate that keeps a percentile under its budget
statistics  batch sizes and queue times, as the server counted them
tuning      which batching serves best; ``pbtxt`` writes it down, ``picture`` draws it
"""

from __future__ import annotations

from pytest_gpuperf.serving.plan import Batching, ServingBudget

__all__ = ["Batching", "ServingBudget"]
