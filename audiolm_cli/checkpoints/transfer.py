"""One HTTP request for the bytes of a file from some offset on, and what its answer is worth.

Follows redirects itself, so that a token stays with its host and no redirect leads from https to http.
Knows nothing about files, hashes or retries: `download.py` does.
"""

from __future__ import annotations

import email.utils
import ipaddress
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

import requests

from audiolm_cli.config.fetching import FetchConfig
from audiolm_cli.errors import NetworkError
from audiolm_cli.version import __version__

BLOCK_BYTES = 1 << 14
"""Read at a time; what is lost of a connection that breaks is less than this."""
MAX_REDIRECTS = 10
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524, 598, 599})
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class SourceRefusedError(NetworkError):
    """This address will not give the file, however often it is asked."""


class RangeRefusedError(NetworkError):
    """This address will not go on from that offset; it may from the start."""


class BrokenTransferError(NetworkError):
    """The transfer broke off, and may go on when asked again.

    Attributes:
        wait_s: how long the server asks to wait; None when it does not say.
    """

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


@dataclass(frozen=True, kw_only=True)
class Stream:
    """An answer whose headers fit; its body has not been read yet."""

    response: requests.Response
    """The answer."""
    start: int
    """Offset of its first byte."""
    total: int | None
    """Size of the whole file; None when the server does not say."""
    validator: str
    """Strong entity tag or date by which the server knows this version of the file; empty when there is none."""

    def blocks(self) -> Iterator[bytes]:
        """The body in blocks of at most `BLOCK_BYTES`.

        Raises:
            BrokenTransferError: the connection broke, or the body is shorter than announced.
        """
        try:
            yield from self.response.iter_content(BLOCK_BYTES)
        except (requests.RequestException, OSError) as error:
            raise BrokenTransferError(f"the connection broke ({_describe_cause(error)})") from error

    def close(self) -> None:
        """Give the connection up."""
        self.response.close()


def open_download(
    session: requests.Session, url: str, config: FetchConfig, offset: int = 0, validator: str = ""
) -> Stream:
    """The answer to a request for `url` from `offset` on, with its headers checked.

    Args:
        session: keeps connections open between requests.
        url: where the file is.
        config: timeouts, endpoint and token.
        offset: the first byte wanted. A server may answer with the whole file: look at `Stream.start`.
        validator: makes the server send the whole file when its version is another one.

    Raises:
        SourceRefusedError: a redirect or a status that asking again will not change.
        RangeRefusedError: the server does not go on from `offset`.
        BrokenTransferError: no connection, or a status that may pass.
    """
    headers = {"Accept-Encoding": "identity", "User-Agent": f"audiolm/{__version__}"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if validator:
            headers["If-Range"] = validator

    response = _follow(session, url, headers, config)
    try:
        return _check_answer(response, offset)
    except NetworkError:
        response.close()
        raise


def check_address(url: str, *, pinned: bool) -> None:
    """Refuse an address that must not be asked.

    Args:
        url: the address.
        pinned: whether the hash of what is expected is known, so that no change on the way goes unnoticed.

    Raises:
        SourceRefusedError: it is no http(s) address with a host, carries a password, or is http without a hash.
    """
    parts = _split_address(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SourceRefusedError(f"{url!r} is no https address")
    if parts.username or parts.password:
        raise SourceRefusedError("an address with a user or password in it is not asked; it would end up in records")
    if parts.scheme == "http" and not pinned and not _is_loopback(parts.hostname):
        raise SourceRefusedError("an http address is asked only when --sha256 says what is expected; use https")


def _follow(session: requests.Session, url: str, headers: dict[str, str], config: FetchConfig) -> requests.Response:
    """The answer at the end of all redirects; the token goes to its own host alone."""
    for _ in range(MAX_REDIRECTS + 1):
        own = {**headers, "Authorization": f"Bearer {config.token}"} if _may_have_token(url, config) else headers
        try:
            response = session.get(
                url,
                headers=own,
                stream=True,
                allow_redirects=False,
                auth=_keep_headers,
                timeout=(config.connect_timeout_s, config.read_timeout_s),
            )
            target = session.get_redirect_target(response)

        except requests.exceptions.SSLError as error:
            raise SourceRefusedError(
                f"its certificate is not trusted ({_describe_cause(error)}); behind a proxy, set REQUESTS_CA_BUNDLE"
            ) from error
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            raise BrokenTransferError(f"no connection ({_describe_cause(error)})") from error
        except (requests.RequestException, ValueError) as error:  # urllib3 lets some malformed addresses through
            raise SourceRefusedError(f"it cannot be asked ({_describe_cause(error)})") from error

        if target is None:
            return response

        response.close()
        target = urljoin(url, target)
        check_address(target, pinned=True)  # http may lead to http; https to http is refused below
        if _split_address(url).scheme == "https" and _split_address(target).scheme == "http":
            raise SourceRefusedError(f"it redirects from https to http ({_split_address(target).hostname})")
        url = target

    raise SourceRefusedError(f"it redirects more than {MAX_REDIRECTS} times")


def _check_answer(response: requests.Response, offset: int) -> Stream:
    """The answer as a stream, when its status and headers fit the request."""
    status = response.status_code
    if status in _RETRIED:
        raise BrokenTransferError(f"the server answered {status}", _retry_after(response))
    if status == 416:
        raise RangeRefusedError(f"the server has nothing from byte {offset} on")
    if status in (401, 403):
        raise SourceRefusedError(f"the server answered {status}; a private repository needs HF_TOKEN")
    if status not in (200, 206):
        raise SourceRefusedError(f"the server answered {status}")

    # The body may be compressed on the way: then its offsets and its length are not those of the file.
    encoded = response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity")
    start, total = 0, _parse_count(response.headers.get("Content-Length"))
    if status == 206:
        found = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if found is None or int(found[1]) != offset or encoded:
            raise RangeRefusedError(f"the server sent another part than that from byte {offset} on")
        start, total = offset, None if found[3] == "*" else int(found[3])

    # Weak tags stand for versions that mean the same, not for the same bytes.
    tag = response.headers.get("ETag", "")
    strong = tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
    return Stream(
        response=response,
        start=start,
        total=None if encoded else total,
        validator="" if encoded else strong,
    )


def _retry_after(response: requests.Response) -> float | None:
    """How many seconds the server asks to wait, which it says in seconds or as a date; None when it does not."""
    text = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}", text):
        return float(text)

    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _parse_count(text: str | None) -> int | None:
    """The whole number in a header; None where there is none."""
    return int(text) if text is not None and re.fullmatch(r"\d{1,18}", text.strip()) else None


def _may_have_token(url: str, config: FetchConfig) -> bool:
    """Whether this is the endpoint the token is for, spoken to in private."""
    own, asked = _split_address(config.endpoint), _split_address(url)
    private = asked.scheme == "https" or _is_loopback(asked.hostname or "")
    same = (own.scheme, own.hostname, own.port) == (asked.scheme, asked.hostname, asked.port)
    return bool(config.token) and private and same


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _split_address(url: str) -> SplitResult:
    """The parts of an address.

    Raises:
        SourceRefusedError: it is none.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises where it is no number
        return parts
    except ValueError as error:
        raise SourceRefusedError(f"{url!r} is no address ({error})") from error


def _keep_headers(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No authentication but ours: without this, requests adds what a .netrc says."""
    return request


def _describe_cause(error: BaseException) -> str:
    """The innermost cause of a requests error in one short line."""
    while error.__cause__ is not None or (error.args and isinstance(error.args[0], BaseException)):
        error = error.__cause__ or error.args[0]
    return " ".join(str(error).split())[:200] or type(error).__name__
