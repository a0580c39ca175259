"""A KServe v2 server of one model, ``doubler``: answers twice its input, unless a fault is planted."""

# ruff: noqa: N802 - the methods are named by the protocol
from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as rpc


class Doubler(rpc.GRPCInferenceServiceServicer):
    """``fault``: garble, shrink, nan, refuse, lose, slow or die, on every ``every``-th request."""

    def __init__(self, fault: str = "", *, every: int = 1) -> None:
        self.fault, self.every, self.count = fault, every, 0

    def ServerMetadata(self, request, context):
        return pb.ServerMetadataResponse(name="fake", version="1.0")

    def ModelReady(self, request, context):
        return pb.ModelReadyResponse(ready=request.name == "doubler")

    def ModelMetadata(self, request, context):
        if request.name != "doubler":
            context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
        tensor = pb.ModelMetadataResponse.TensorMetadata(name="x", datatype="FP32", shape=[-1, 4])
        return pb.ModelMetadataResponse(name="doubler", inputs=[tensor])

    def ModelInfer(self, request, context):
        self.count += 1
        fault = self.fault if self.count % self.every == 0 else ""
        values = 2 * np.frombuffer(request.raw_input_contents[0], np.float32)
        if fault == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "refuse":
            context.abort(grpc.StatusCode.UNAVAILABLE, "too many requests")
        if fault in ("lose", "slow"):
            time.sleep(2.5 if fault == "lose" else 0.05)
        values = {"garble": values[::-1] + 7, "shrink": values[:-1], "nan": values * np.nan}.get(fault, values)
        reply = pb.ModelInferResponse(model_name="doubler")
        tensor = reply.outputs.add(name="y", datatype="FP32")
        tensor.shape.extend(request.inputs[0].shape)
        reply.raw_output_contents.append(values.tobytes())
        return reply


def start(servicer: Doubler, *, port: int = 0) -> tuple[grpc.Server, str]:
    """Serve; return the server and its url."""
    server = grpc.server(ThreadPoolExecutor(8))
    rpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, f"grpc://127.0.0.1:{port}"
