"""The DSN of a Redis or Valkey server, or of a cluster."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from ssl import TLSVersion
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

import redis
from attrs import evolve, field, frozen
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool
from redis.exceptions import RedisError
from redis.retry import Retry

from rstore.adapters.redis.connection import unconnected

_SCHEMES: Final = {
    "valkey": "redis",
    "valkeys": "rediss",
    "redis+cluster": "redis",
    "rediss+cluster": "rediss",
}
_PORT: Final = 6379
_DRIVER_OPTIONS: Final = frozenset(
    {
        *("db", "username", "password", "client_name", "socket_keepalive"),
        *("ssl_keyfile", "ssl_certfile", "ssl_password", "ssl_cert_reqs", "ssl_check_hostname", "ssl_min_version"),
        *("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_ciphers"),
    }
)
_AUTHORITY: Final = re.compile(r"[/?#]")
_SHORTEST_SECONDS: Final = 0.1
_GRACE_SECONDS: Final = 1.0


@frozen
class Server:
    """The server, or cluster, of a DSN, with its options. ``timeout`` is in seconds.

    ``seeds`` are the nodes that the DSN of a cluster names, as ``host:port``. A single server has none.
    """

    name: str
    uri: str = field(repr=False)
    durability: str
    timeout: float
    replicas: int
    seeds: tuple[str, ...] = ()

    @classmethod
    def at(cls, uri: str, durability: str, timeout: float) -> Server:
        """Return the server of a DSN without the options that all adapters have. This does not connect.

        Raises:
            ValueError: it is malformed, or has an unknown option. The message never repeats the DSN, nor its password.
        """
        try:
            parts, seeds = _split(uri)
            options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
            replicas = int(options.pop("replicas", "0"))
            name = _cluster_name(parts, options, seeds) if seeds else _name(parts, options)
            if replicas < 0:
                raise ValueError
        except ValueError:
            raise _malformed(uri) from None
        for option in options.keys() - _DRIVER_OPTIONS:
            known = "durability=full|normal, timeout=SECONDS, replicas=NUMBER, db, username, client_name or ssl_..."
            raise ValueError(f"unknown option {option!r} in the DSN: use {known}")
        scheme = _SCHEMES.get(parts.scheme, parts.scheme)
        if scheme != "rediss" and any(option.startswith("ssl_") for option in options):
            raise ValueError("options ssl_... are for rediss://, valkeys:// and rediss+cluster://")
        for_driver = f"{scheme}://{parts.netloc}{parts.path}?{urlencode(options)}"
        server = cls(name, for_driver, durability, max(timeout, _SHORTEST_SECONDS), replicas, seeds)
        try:
            TLSVersion(int(options.get("ssl_min_version", TLSVersion.TLSv1_2)))
            unconnected((server.node_at(seeds[0]) if seeds else server).connections())  # checks the driver's options
        except (ValueError, TypeError, RedisError):
            raise _malformed(uri) from None
        return server

    def connections(self) -> ConnectionPool:
        """Return the driver's pool, which makes connections and has none yet."""
        return ConnectionPool.from_url(
            self.uri,
            protocol=2,
            socket_connect_timeout=self.timeout,
            socket_timeout=self.timeout + _GRACE_SECONDS,  # so that WAITAOF may use all of it
            retry=Retry(NoBackoff(), 0),
            **_driver_info(),
        )

    def node_at(self, address: str) -> Server:
        """Return the node of this cluster that has an address."""
        parts = urlsplit(self.uri)
        user, at, _ = parts.netloc.rpartition("@")
        uri = parts._replace(netloc=f"{user}{at}{address}").geturl()
        return evolve(self, name=f"{self.name.partition('://')[0]}://{address}", uri=uri, seeds=())


@cache
def _driver_info() -> Mapping[str, Any]:
    """Return the facts about the driver that each connection tells the server.

    Each would look it up anew in the metadata of the driver's package, which takes longer than to connect. Versions of
    the driver that know no ``DriverInfo`` look it up once.
    """
    return {"driver_info": redis.DriverInfo()} if hasattr(redis, "DriverInfo") else {}


def _malformed(uri: str) -> ValueError:
    scheme = uri.partition(":")[0]
    where = "host[:port][,host:port...]" if scheme.endswith("+cluster") else "host[:port][/db]"
    return ValueError(
        f"a DSN is {scheme}://[user:password@]{where}[?durability=full|normal&timeout=SECONDS&replicas=NUMBER"
        "&ssl_...], with special characters percent-encoded"
    )


def address_of(host: str, port: int) -> str:
    """Return an address as it is written in a DSN.

    >>> address_of("::1", 7000), address_of("localhost", 7000)
    ('[::1]:7000', 'localhost:7000')
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _split(uri: str) -> tuple[SplitResult, tuple[str, ...]]:
    """Return the parts of a DSN, and the addresses of the nodes of a cluster. The parts then have the first of these.

    The standard library parses a URL with several hosts, but none with brackets in the middle of them.
    """
    scheme, _, rest = uri.partition("://")
    if not scheme.endswith("+cluster"):
        return urlsplit(uri), ()
    authority = _AUTHORITY.split(rest, maxsplit=1)[0]
    user, at, hosts = authority.rpartition("@")
    each = [urlsplit(f"//{address}") for address in hosts.split(",")]
    seeds = tuple(address_of(one.hostname or "localhost", one.port or _PORT) for one in each)
    return urlsplit(f"{scheme}://{user}{at}{seeds[0]}{rest[len(authority) :]}"), seeds


def _cluster_name(parts: SplitResult, options: Mapping[str, str], seeds: Sequence[str]) -> str:
    _check_no_secret(parts)
    if int(options.get("db") or parts.path.strip("/") or 0):
        raise ValueError  # a cluster has but one database
    return f"{parts.scheme}://{','.join(seeds)}"


def _name(parts: SplitResult, options: Mapping[str, str]) -> str:
    """Return a DSN as it may be shown."""
    _check_no_secret(parts)
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    host, database = parts.hostname or "localhost", int(options.get("db") or parts.path.strip("/") or 0)
    return f"{parts.scheme}://{address_of(host, parts.port or _PORT)}/{database}"


def _check_no_secret(parts: SplitResult) -> None:
    """Raise ValueError if a password with a special character has spilled into later parts."""
    if parts.fragment or "@" in parts.path or "@" in parts.query:
        raise ValueError
