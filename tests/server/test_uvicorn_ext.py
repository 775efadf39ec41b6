"""What uvicorn_ext takes from uvicorn's inner parts: a release of uvicorn that changes them fails here, by name."""

import ast
import asyncio
import inspect
from pathlib import Path

import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

import voiceagent
from voiceagent.server import uvicorn_ext

PACKAGE = Path(voiceagent.__file__).parent

HTTP_METHODS = {
    "connection_made": ["self", "transport"],
    "data_received": ["self", "data"],
    "connection_lost": ["self", "exc"],
}
WEBSOCKET_METHODS = {
    "handle_connect": ["self", "event"],
    "handle_ping": ["self"],
    "handle_parser_exception": ["self"],
    "send_receive_event_to_app": ["self"],
    "receive": ["self"],
    "send": ["self", "message"],
    "run_asgi": ["self"],
    "data_received": ["self", "data"],
    "connection_lost": ["self", "exc"],
}
WEBSOCKET_STATE = (
    *("conn", "queue", "frames", "curr_msg_data_type", "read_paused", "close_sent", "close_timer"),
    *("handshake_complete", "initial_response", "disconnected", "transport", "loop"),
)
HTTP_STATE = ("cycle", "transport", "loop")


@pytest.mark.parametrize(
    ("protocol", "methods"), [(H11Protocol, HTTP_METHODS), (WebSocketsSansIOProtocol, WEBSOCKET_METHODS)]
)
def test_the_methods_that_are_overridden_are_uvicorns(protocol: type, methods: dict[str, list[str]]) -> None:
    for name, parameters in methods.items():
        method = getattr(protocol, name, None)
        assert method is not None, f"uvicorn {uvicorn.__version__}: {protocol.__name__} has no {name} any more"
        found = list(inspect.signature(method).parameters)
        assert found == parameters, f"uvicorn {uvicorn.__version__}: {protocol.__name__}.{name} takes {found}"


def test_every_override_is_listed_here() -> None:
    """So that nothing of uvicorn's is overridden unseen: a method that uvicorn has by the same name is an override."""
    for mine, base, listed in (
        (uvicorn_ext.HttpConnection, H11Protocol, HTTP_METHODS),
        (uvicorn_ext.ReadAhead, WebSocketsSansIOProtocol, WEBSOCKET_METHODS),
        (uvicorn_ext.WebSocketConnection, WebSocketsSansIOProtocol, WEBSOCKET_METHODS),
    ):
        assert {name for name in vars(mine) if not name.startswith("__") and hasattr(base, name)} <= listed.keys()


@pytest.mark.parametrize(
    ("protocol", "state"), [(H11Protocol, HTTP_STATE), (WebSocketsSansIOProtocol, WEBSOCKET_STATE)]
)
async def test_the_state_that_is_read_is_uvicorns(protocol: type[asyncio.Protocol], state: tuple[str, ...]) -> None:
    config = uvicorn.Config(lambda scope: None, lifespan="off", ws="websockets-sansio", log_config=None)
    config.load()
    made = protocol(config=config, server_state=uvicorn.server.ServerState(), app_state={})  # type: ignore[call-arg]
    declared = {*vars(made), *getattr(type(made), "__annotations__", {})}
    missing = [name for name in state if name not in declared and not hasattr(made, name)]
    source = inspect.getsource(protocol)
    missing = [name for name in missing if f"self.{name} =" not in source and f"self.{name}:" not in source]
    assert not missing, f"uvicorn {uvicorn.__version__}: {protocol.__name__} has no {missing} any more"


def test_a_response_cycle_says_when_it_is_complete() -> None:
    assert "self.response_complete" in inspect.getsource(RequestResponseCycle)


def test_nothing_else_imports_uvicorns_inner_parts() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("uvicorn."):
                assert path.name == "uvicorn_ext.py", f"{path} imports {node.module}"
