"""Every error a caller may want to catch. Each says what is wrong with which input, and how to mend it."""

from typing import ClassVar


class RagloomError(Exception):
    """Base of all ragloom errors.

    Args:
        problem: what is wrong, naming the input.
        remedy: what to do about it; shown on its own line at the command line.
    """

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem}; {remedy}" if remedy else problem)
        self.problem = problem
        self.remedy = remedy


class ConfigError(RagloomError):
    """A setting is missing, unknown, or has a value that cannot work."""

    exit_code = 2


class InputError(RagloomError):
    """A file, document or question cannot be used as it is."""

    exit_code = 65


class StoreError(RagloomError):
    """The workspace cannot be opened, read or written."""

    exit_code = 74


class StoreLocked(StoreError):
    """Another process is writing to the workspace."""

    exit_code = 75
    retryable = True


class StoreUnreachable(StoreError):
    """The server that holds the workspace does not answer; everything committed before is safe."""

    exit_code = 75
    retryable = True


class StoreFull(StoreError):
    """The disk under the workspace is full; everything committed before is safe."""


class StoreCorrupt(StoreError):
    """Stored rows or files are not what was written."""


class IndexMismatch(StoreError):
    """An index was built with another model, dimension or setting than the one in use."""


class LLMError(RagloomError):
    """A language or embedding model could not be asked, or answered with an error."""

    exit_code = 69


class EndpointUnreachable(LLMError):
    """No connection to the model's server, or none that lasted until the answer."""

    retryable = True


class RateLimited(LLMError):
    """The server asks to wait longer than the call may take."""

    retryable = True


class DeadlineExceeded(LLMError):
    """A call took longer than its total deadline."""

    retryable = True


class RequestRefused(LLMError):
    """The server refuses the request as it is: wrong key, unknown model, spent quota, prompt too long."""


class BadReply(LLMError):
    """The model's reply is malformed, empty, or not of the form that was asked for."""

    retryable = True


class EmptyReply(BadReply):
    """The model replied without saying anything."""


class BudgetExceeded(RagloomError):
    """A run's budget does not cover the next call, which was not made; or its seconds were over during a call."""

    exit_code = 75
