"""The KServe v2 protocol over gRPC: Triton speaks it, ours and the user's; so does whatever else follows the standard.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pytest_gpuperf.errors import ConfigError, EngineError, InfraError
from pytest_gpuperf.records import TensorSpec
from pytest_gpuperf.serving import pbtxt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[np.generic]]

_INFER = "/inference.GRPCInferenceService/ModelInfer"
#: Messages of any size; a pool of subchannels of our own, so that two servers on one port in turn are never mixed up.
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
)
#: How far an answer may be from the engine's own output, RMSE over the output's root mean square, before it is wrong:
#: far above what another batch size or precision does, far below a mixed-up or damaged answer.
WRONG_REL_RMSE = 0.1


class Client:
    """One connection to a server."""

    def __init__(self, url: str) -> None:
        grpc, self._pb, stub = _import()
        self._grpc = grpc
        self.url = url
        self._channel = grpc.insecure_channel(url.removeprefix("grpc://"), options=_OPTIONS)
        self._stub = stub(self._channel)
        self._infer = self._channel.unary_unary(
            _INFER, request_serializer=bytes, response_deserializer=self._pb.ModelInferResponse.FromString
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def is_ready(self, model: str, *, timeout_s: float = 1.0) -> bool:
        """Return whether the server would answer requests for the model now."""
        try:
            reply = self._stub.ModelReady(self._pb.ModelReadyRequest(name=model), timeout=timeout_s)
        except self._grpc.RpcError:
            return False
        return bool(reply.ready)

    def server(self) -> str:
        """Return name and version of the server.

        Raises:
            InfraError: it does not answer.
        """
        reply = self._ask("ServerMetadata", self._pb.ServerMetadataRequest())
        return f"{reply.name} {reply.version}"

    def inputs(self, model: str) -> tuple[TensorSpec, ...]:
        """Return the inputs that the server says the model has.

        Raises:
            InfraError: the server does not answer, or does not know the model.
        """
        names = {name: dtype for dtype, name in pbtxt.TYPES.items()}
        reply = self._ask("ModelMetadata", self._pb.ModelMetadataRequest(name=model))
        return tuple(
            TensorSpec(name=tensor.name, dtype=names.get(tensor.datatype, tensor.datatype), shape=tuple(tensor.shape))
            for tensor in reply.inputs
        )

    def statistics(self, model: str) -> Any | None:
        """Return Triton's own counters of the model; ``None`` where the server keeps none or does not show them."""
        try:
            reply = self._stub.ModelStatistics(self._pb.ModelStatisticsRequest(name=model), timeout=5)
        except self._grpc.RpcError:
            return None
        return reply.model_stats[0] if reply.model_stats else None

    def request(self, model: str, arrays: Arrays) -> bytes:
        """Return a request for one batch, ready to be sent as often as one likes."""
        message = self._pb.ModelInferRequest(model_name=model)
        for name, array in arrays.items():
            tensor = message.inputs.add()
            tensor.name, tensor.datatype = name, pbtxt.datatype(array.dtype.name)
            tensor.shape.extend(array.shape)
            message.raw_input_contents.append(array.tobytes())
        return bytes(message.SerializeToString())

    def infer(self, request: bytes, *, timeout_s: float = 60.0) -> Arrays:
        """Send a request and return the outputs.

        Raises:
            EngineError: the server refused or failed it.
        """
        try:
            return outputs(self._infer(request, timeout=timeout_s))
        except self._grpc.RpcError as error:
            raise EngineError("the server failed a request", got=f"{error.code().name}: {error.details()}") from error

    def send(self, request: bytes, answer: Callable[[Any], None], *, timeout_s: float) -> None:
        """Send a request and return at once; ``answer`` gets gRPC's finished call in another thread."""
        self._infer.future(request, timeout=timeout_s).add_done_callback(answer)

    def _ask(self, method: str, request: Any) -> Any:
        try:
            return getattr(self._stub, method)(request, timeout=10)
        except self._grpc.RpcError as error:
            raise InfraError(
                "the model server does not answer as KServe v2 wants it",
                got=f"{error.code().name}: {error.details()}",
                expected=f"an answer to {method} from {self.url}",
                hint="start the server, or correct --gpu-serving-url",
            ) from error


class System:
    """A served model as LoadGen's system under test: one request for each sample, sent from memory.

    Args:
        url: of the server.
        model: its name there.
        samples: file of arrays: ``in:NAME`` for inputs, ``out:NAME`` for the answers that are expected.
        lost_after_s: when to give up on a request.
    """

    def __init__(self, *, url: str, model: str, samples: str, lost_after_s: str) -> None:
        import numpy as np

        self._client = Client(url)
        with np.load(samples, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        inputs = {name[3:]: array for name, array in arrays.items() if name.startswith("in:")}
        self._expected = {name[4:]: array for name, array in arrays.items() if name.startswith("out:")}
        self.samples = len(next(iter(inputs.values())))
        self._requests = [
            self._client.request(model, {name: array[i : i + 1] for name, array in inputs.items()})
            for i in range(self.samples)
        ]
        self._timeout_s = float(lost_after_s)

    def submit(self, index: int, done: Callable[[], None], fault: Callable[[str], None]) -> None:
        """Ask for one sample; ``done`` is called first, so that checking the answer is no part of its latency."""

        def answer(call: Any) -> None:
            done()
            code = call.code().name
            if code != "OK":
                fault("lost" if code == "DEADLINE_EXCEEDED" else code.lower())
            elif not self._is_right(index, call.result()):
                fault("wrong")

        self._client.send(self._requests[index], answer, timeout_s=self._timeout_s)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _is_right(self, index: int, reply: Any) -> bool:
        import numpy as np

        try:
            given = outputs(reply)
        except (ValueError, KeyError):
            return False
        for name, expected in self._expected.items():
            want = expected[index].astype(np.float64).ravel()
            have = given[name].ravel() if name in given else np.empty(0)
            if have.size != want.size or not np.isfinite(have.astype(np.float64)).all():
                return False
            if np.mean((have - want) ** 2) > WRONG_REL_RMSE**2 * max(np.mean(want**2), 1e-12):
                return False
        return True


def outputs(reply: Any) -> Arrays:
    """Return a reply's tensors; raises ``ValueError`` or ``KeyError`` where sizes or types are impossible."""
    import numpy as np

    names = {name: dtype for dtype, name in pbtxt.TYPES.items()}
    if len(reply.raw_output_contents) != len(reply.outputs):
        raise ValueError("an output has no content")
    return {
        tensor.name: np.frombuffer(content, names[tensor.datatype]).reshape(tuple(tensor.shape))
        for tensor, content in zip(reply.outputs, reply.raw_output_contents, strict=True)
    }


def _import() -> tuple[Any, Any, Any]:
    try:
        import grpc
        from tritonclient.grpc import service_pb2, service_pb2_grpc
    except ImportError as error:
        raise ConfigError(
            "the client of model servers is not installed",
            got=str(error),
            hint="pip install 'pytest-gpuperf[serving]'",
        ) from error
    return grpc, service_pb2, service_pb2_grpc.GRPCInferenceServiceStub
