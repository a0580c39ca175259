"""config.pbtxt, read back by Triton's own message type."""

from __future__ import annotations

import pytest

from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import TensorSpec
from pytest_gpuperf.serving import Batching, pbtxt

IMAGES = TensorSpec(name='im"ages', dtype="float32", shape=(-1, 8, 8, 1))
LOGITS = TensorSpec(name="logits", dtype="float16", shape=(-1, 10))


def read(text):
    messages = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    from google.protobuf import text_format

    return text_format.Parse(text, messages.ModelConfig())


def test_triton_reads_what_was_meant():
    batching = Batching(max_batch=32, max_queue_delay_us=500, preferred=(8, 16), instances=2)
    config = read(pbtxt.config("digits", [IMAGES], [LOGITS], batching, backend="python"))
    assert (config.name, config.backend, config.max_batch_size) == ("digits", "python", 32)
    assert config.input[0].name == 'im"ages'
    assert list(config.input[0].dims) == [8, 8, 1]
    assert (
        config.output[0].data_type
        == config.output[0].DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_name["TYPE_FP16"].number
    )
    assert config.instance_group[0].count == 2
    assert list(config.dynamic_batching.preferred_batch_size) == [8, 16]
    assert config.dynamic_batching.max_queue_delay_microseconds == 500


def test_no_dynamic_batching_is_left_out():
    config = read(pbtxt.config("digits", [IMAGES], [LOGITS], Batching(is_dynamic=False), backend="onnxruntime"))
    assert not config.HasField("dynamic_batching")


def test_a_type_without_a_name_is_refused():
    with pytest.raises(ConfigError, match="a tensor's type cannot be served\n  got:      complex64"):
        pbtxt.datatype("complex64")
