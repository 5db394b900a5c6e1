"""Writes and reads through the Sentinels: MASTER VALUE HOST:PORT..., password on standard input."""
import sys
import time

from redis.exceptions import RedisError
from redis.sentinel import Sentinel

name, value, addresses = sys.argv[1], sys.argv[2], sys.argv[3:]
password = sys.stdin.read()
nodes = [(host, int(port)) for host, port in (a.rsplit(":", 1) for a in addresses)]
sentinel = Sentinel(nodes, socket_timeout=1, sentinel_kwargs={"password": password}, password=password)
end = time.monotonic() + 30
while True:
    try:
        master = sentinel.master_for(name)
        master.set("python", value)
        assert master.get("python") == value.encode()
        assert sentinel.discover_slaves(name), "no replica known"
        break
    except (RedisError, AssertionError) as error:
        if time.monotonic() > end:
            sys.exit(f"{type(error).__name__}: {error}")
        time.sleep(0.1)
