"""The child's side of the conversation, without a child: every request is answered, whatever the engine does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import cases

from pytest_gpuperf.records import BatchSpec, EngineSpec
from pytest_gpuperf.worker import protocol as p
from pytest_gpuperf.worker.channel import Channel
from pytest_gpuperf.worker.server import Server, _first_line

DEADLINE_S = 20.0


class Conversation:
    """The parent's end of the socket."""

    def __init__(self, cache: Path) -> None:
        ours, theirs = socket.socketpair()
        self.channel, self.theirs, self.cache = Channel(ours), theirs, cache
        self.said: list[str] = []
        self.thread = threading.Thread(target=Server(Channel(theirs)).serve, daemon=True)
        self.thread.start()

    def ask(self, request: p.Request) -> p.Message:
        self.channel.send(p.encode(request))
        return self.reply()

    def reply(self) -> p.Message:
        while True:
            message = p.decode_reply(self.channel.receive(deadline=time.monotonic() + DEADLINE_S))
            if not isinstance(message, p.Progress):
                return message
            self.said.append(message.text)

    def open(self, spec: EngineSpec, batches: BatchSpec | None = None) -> p.Message:
        return self.ask(p.Open(spec=spec, batches=batches or cases.batches(), cache=str(self.cache)))

    def end(self) -> None:
        self.channel.close()
        self.thread.join(DEADLINE_S)
        self.theirs.close()


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Conversation]:
    child = Conversation(tmp_path)
    yield child
    child.end()
    assert not child.thread.is_alive()


def test_nothing_can_be_asked_before_an_engine_is_open(child: Conversation) -> None:
    for request in (p.Evaluate(), p.WarmUp(max_s=1.0), p.Measure(seconds=1.0, max_calls=1)):
        reply = child.ask(request)
        assert isinstance(reply, p.Failed)
        assert (reply.kind, reply.what, reply.expected) == ("EngineError", "no engine is open", "Open first")
        assert reply.got == type(request).__name__
    assert isinstance(child.ask(p.Close()), p.Closed)


def test_a_case_from_open_to_close(child: Conversation) -> None:
    opened = child.open(cases.engine(gflop="8"))
    assert isinstance(opened, p.Opened)
    assert opened.info.cost is not None
    assert opened.info.cost.flop == 8e9
    assert not opened.has_built
    evaluated = child.ask(p.Evaluate())
    assert isinstance(evaluated, p.Evaluated)
    assert p.unpack(evaluated.outputs["logits"]).shape == (16, 10)
    warmed = child.ask(p.WarmUp(max_s=5.0))
    assert isinstance(warmed, p.WarmedUp)
    assert warmed.steady.warmup_runs > 0
    timed = child.ask(p.Measure(seconds=10.0, max_calls=3))
    assert isinstance(timed, p.Timed)
    assert len(timed.block.host_ns) == 3
    saturated = child.ask(p.Saturate(in_flight=2, seconds=0.05))
    assert isinstance(saturated, p.Saturated)
    assert saturated.volley.in_flight == 2
    assert saturated.volley.held_mib is not None
    assert isinstance(child.ask(p.Close()), p.Closed)
    assert isinstance(child.ask(p.Evaluate()), p.Failed)


def test_an_engine_is_loaded_again_only_when_it_is_another(child: Conversation) -> None:
    spec = cases.engine()
    child.open(spec)
    child.open(spec, cases.batches(8, 16))
    assert child.said == ["opening the fake fake"]
    child.open(replace(spec, precision="fp16"))
    assert child.said == ["opening the fake fake"] * 2


def test_other_batches_of_one_input_set_are_the_same_inputs(child: Conversation) -> None:
    first, second, third = (
        child.open(cases.engine(), batches) for batches in (cases.batches(4), cases.batches(8), cases.batches(8, 32))
    )
    assert isinstance(first, p.Opened)
    assert isinstance(second, p.Opened)
    assert isinstance(third, p.Opened)
    assert first.inputs_digest == second.inputs_digest != third.inputs_digest


@pytest.mark.parametrize(
    ("fault", "kind", "what", "got"),
    [
        ("error", "EngineError", "the engine raised RuntimeError", "kernel launch failed: invalid argument"),
        ("memory", "EngineError", "the engine raised MemoryError", "Unable to allocate 93.1 GiB"),
        ("config", "ConfigError", "the fake dislikes its input", "1"),
        ("engine", "EngineError", "out of device memory", "24 GiB"),
    ],
)
def test_what_an_engine_raises_is_answered_and_the_next_one_can_be_opened(
    child: Conversation, fault: str, kind: str, what: str, got: str
) -> None:
    reply = child.open(cases.engine(fault=fault, at="open"))
    assert isinstance(reply, p.Failed)
    assert (reply.kind, reply.what, reply.got) == (kind, what, got)
    assert isinstance(child.open(cases.engine()), p.Opened)


def test_an_exception_is_told_in_one_line() -> None:
    assert _first_line(RuntimeError()) == "no message"
    assert _first_line(RuntimeError("\n one\ntwo")) == "one"
    assert _first_line(RuntimeError("x" * 600)) == "x" * 500


def test_a_frame_that_is_no_request_is_answered_and_ends_the_conversation(child: Conversation) -> None:
    child.channel.send(b"hello")
    reply = child.reply()
    assert isinstance(reply, p.Failed)
    assert reply.kind == "WorkerError"
    child.thread.join(DEADLINE_S)
    assert not child.thread.is_alive()


def test_a_parent_that_goes_away_while_an_engine_is_opened_ends_the_child(child: Conversation) -> None:
    child.channel.send(
        p.encode(p.Open(spec=cases.engine(chatter="1"), batches=cases.batches(), cache=str(child.cache)))
    )
    child.channel.close()
    child.thread.join(DEADLINE_S)
    assert not child.thread.is_alive()
