"""Authentication of operators: by the admin key itself, or by a cookie that was given for it."""

import hashlib
import hmac
import time
from collections.abc import Callable

from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response

from voiceagent.channels.channel import Denied, presented_key

COOKIE = "voiceagent_admin"
COOKIE_SECONDS = 12 * 3600
CHANGE_HEADER = "x-voiceagent-admin"
"""Goes with whatever changes something and comes with a cookie: no other site's page can send it."""
WRONG = Denied(401, "invalid_admin_key", "the admin key is missing or wrong")
FORGED = Denied(403, "header_missing", f"what changes something needs the key, or the header {CHANGE_HEADER}")


class AdminAuth:
    def __init__(self, key: SecretStr, clock: Callable[[], float] = time.time) -> None:
        """`clock` is Unix time, by which cookies expire."""
        self._key = key.get_secret_value().encode()
        self._clock = clock

    def check(self, request: Request) -> None:
        """Raises Denied 401."""
        if not self._has_key(request) and not self._has_cookie(request):
            raise WRONG

    def check_change(self, request: Request) -> None:
        """Raises Denied 401 and 403."""
        if self._has_key(request):
            return
        self.check(request)
        if CHANGE_HEADER not in request.headers:
            raise FORGED

    def opens(self, key: str) -> bool:
        return hmac.compare_digest(key.encode(), self._key)

    def let_in(self, request: Request, response: Response) -> None:
        """Give the browser a cookie."""
        expires = str(int(self._clock()) + COOKIE_SECONDS)
        self._set(request, response, f"{expires}.{self._mark(expires)}", COOKIE_SECONDS)

    def let_out(self, request: Request, response: Response) -> None:
        self._set(request, response, "", 0)

    def _has_key(self, request: Request) -> bool:
        authorization = request.headers.get("authorization")
        return authorization is not None and self.opens(presented_key(authorization, []))

    def _has_cookie(self, request: Request) -> bool:
        expires, _, mark = request.cookies.get(COOKIE, "").partition(".")
        genuine = hmac.compare_digest(mark.encode(), self._mark(expires).encode())
        return genuine and expires.isdecimal() and int(expires) > self._clock()

    def _mark(self, expires: str) -> str:
        return hmac.new(self._key, f"admin until {expires}".encode(), hashlib.sha256).hexdigest()

    def _set(self, request: Request, response: Response, value: str, seconds: int) -> None:
        response.set_cookie(
            COOKIE,
            value,
            max_age=seconds,
            path=f"{request.scope.get('root_path', '')}/admin",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
