"""Tests of signals: which signal interrupts which step, and what other handlers receive."""

import os
import signal
import subprocess
import time

import pytest

from diffcore_hf.core import signals
from diffcore_hf.core.terminal_text import EscapedStream

ALL = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]


def send(number, times=1):
    """Send signals to this process, with pauses, so that each of them is counted."""
    for _ in range(times):
        time.sleep(signals.SAME_SIGNAL)
        os.kill(os.getpid(), number)


def send_and_wait():
    send(signal.SIGTERM)
    time.sleep(60)


@pytest.mark.parametrize("number", ALL)
def test_the_first_signal_is_recorded_and_the_earlier_handler_is_restored(number):
    before = signal.getsignal(number)
    told = []
    with signals.handled(tell=told.append):
        assert signals.requested() is None
        signals.check()
        send(number)
        assert signals.requested() == number
        with pytest.raises(signals.Stopped) as stopped:
            signals.check()
    assert stopped.value.number == number
    assert signals.exit_status(stopped.value) == 128 + number
    assert told == [signal.Signals(number).name]
    assert signal.getsignal(number) is before
    assert signals.requested() is None


@pytest.mark.parametrize(
    "step, sent, is_stopped",
    [(signals.PREPARATION, 1, True), (signals.BATCH, 1, False), (signals.BATCH, 2, True), (signals.EXPORT, 2, False),
     (signals.EXPORT, 3, True)],
)  # fmt: skip
def test_each_step_is_interrupted_by_its_signal(step, sent, is_stopped):
    reached, stopped = [], False
    with signals.handled():
        try:
            with signals.interruptible(step):
                send(signal.SIGTERM, sent)
                reached.append("end")
        except signals.Stopped:
            stopped = True
    assert (stopped, reached) == (is_stopped, [] if is_stopped else ["end"])


def test_a_protected_step_is_finished_before_the_signal_raises():
    reached = []

    def step():
        with signals.protected():
            send(signal.SIGTERM, 3)
            reached.append("saved")
        reached.append("after")

    with signals.handled(), pytest.raises(signals.Stopped), signals.interruptible(signals.PREPARATION):
        step()
    assert reached == ["saved"]


def test_a_step_does_not_start_if_its_signal_was_received_before():
    with signals.handled():
        send(signal.SIGHUP, 2)
        with pytest.raises(signals.Stopped), signals.interruptible(signals.BATCH):
            raise AssertionError("the step started")


def test_signals_at_the_same_time_are_one_signal():
    with signals.handled():
        send(signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        with signals.interruptible(signals.BATCH):
            pass
    with pytest.raises(signals.Stopped), signals.handled(), signals.interruptible(signals.BATCH):
        send(signal.SIGINT, 2)


def test_the_end_of_the_grace_interrupts_a_step_that_waits():
    started = time.monotonic()
    with signals.handled(grace=0.2), pytest.raises(signals.Stopped), signals.interruptible(signals.EXPORT):
        send_and_wait()
    assert time.monotonic() - started < 30


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.handled():
            send(signal.SIGHUP)
            assert signals.requested() is None
            send(signal.SIGTERM)
            assert signals.requested() == signal.SIGTERM
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_inner_context_keeps_the_handlers_and_changes_the_grace():
    with signals.handled(grace=60):
        with signals.handled(grace=0.2):
            pass
        with pytest.raises(signals.Stopped), signals.interruptible(signals.EXPORT):
            send_and_wait()


def test_a_signal_is_passed_on_to_child_processes():
    child = subprocess.Popen(["sleep", "60"])
    with signals.handled(), signals.passed_on(child.pid):
        send(signal.SIGUSR1)
        assert child.wait(30) == -signal.SIGUSR1


def test_a_signal_is_delivered_again_to_the_handler_of_the_caller():
    received = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: received.append(number))
    try:
        with signals.handled():
            send(signal.SIGUSR1)
            assert not received
            number = signals.requested()
        signals.deliver_again(number)
        assert received == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)
    with pytest.raises(KeyboardInterrupt):
        signals.deliver_again(signal.SIGINT)


def test_after_a_signal_a_stream_whose_reader_has_ended_writes_nothing():
    """Ctrl-C also ends `tee` in `diffcore-hf augment ... | tee log`. The run goes on without a reader of its output."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stream:
        escaped = EscapedStream(stream)
        with pytest.raises(BrokenPipeError):
            print("before", file=escaped, flush=True)
        with signals.handled():
            send(signal.SIGINT)
            print("after", file=escaped, flush=True)
        print("end", file=escaped, flush=True)


def test_a_child_process_that_starts_after_a_signal_receives_it_too():
    with signals.handled():
        send(signal.SIGTERM)
        child = subprocess.Popen(["sleep", "60"])
        with signals.passed_on(child.pid):
            assert child.wait(30) == -signal.SIGTERM
