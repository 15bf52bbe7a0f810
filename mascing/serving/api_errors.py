"""Errors in the shape that clients of OpenAI's API read."""

import re

from fastapi.responses import JSONResponse

_LONG_WORD = re.compile(r"(\S{200})\S+")


def error_body(status: int, message: str) -> dict[str, object]:
    """The JSON of an error that a client sees; ``type`` follows from the status."""
    kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": status}}


def error_response(status: int, message: str) -> JSONResponse:
    """The same as an HTTP response."""
    return JSONResponse(error_body(status, printable(message)), status)


def printable(message: str) -> str:
    """The message in one line, with long words cut: it may quote what a client sent."""
    return _LONG_WORD.sub(r"\1...", " ".join(message.split()))


_KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
