"""The errors a person is meant to read, and the exit codes they end a command with."""

import enum


class ExitCode(enum.IntEnum):
    """What a command's exit status says; documented in the README."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    HELD = 3
    COLLAPSED = 4
    LOST_LEASE = 5
    INTERRUPTED = 130


class S2DError(Exception):
    """A failure with a message that says what, where and what to do; shown without a traceback."""

    exit_code = ExitCode.FAILED


class BadInputError(S2DError):
    """The configuration, the data or the plan can't work: nothing was started or changed."""

    exit_code = ExitCode.BAD_INPUT


class LostLeaseError(S2DError):
    """Another driver took over this run."""

    exit_code = ExitCode.LOST_LEASE


class StoppedError(S2DError):
    """The run was asked to stop and left at a safe point."""

    exit_code = ExitCode.INTERRUPTED


class StalledError(S2DError):
    """The run made no progress for `run.no_progress_s`."""


class EngineError(S2DError):
    """An engine could not be started, refreshed or proved, or a call failed for good."""


class TrainError(S2DError):
    """Training failed for good, or its export did not pass its checks."""


class RequestError(S2DError):
    """One request can't be served whatever engine it goes to; it costs its own input only."""

    reason = "generation_failed"
    """Why the input is dropped."""


class UnansweredError(S2DError):
    """A held-out input failed, so a system has no figure on the held-out set."""


class PromptTooLongError(RequestError):
    """The prompt, as the model's own tokens, doesn't fit the engine's context."""


class ConversationRefusedError(RequestError):
    """The model's chat template refuses this conversation, whatever engine renders it."""

    reason = "template_refused"


class DeadlyRequestError(RequestError):
    """Engine after engine ended while it worked on this request."""

    reason = "ends_engines"


class NotRecordedError(RequestError):
    """A call that must be answered from a recording isn't in it."""

    reason = "not_recorded"


class UnreachableError(Exception):
    """A source's service didn't answer, or not in time; another try may help."""


class SourceError(S2DError):
    """A source could not be read for as long as it was given; what was committed is kept."""
