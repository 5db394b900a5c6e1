"""Writes keys to a Redis Cluster, HOST:PORT of any node, until standard input ends, whose first line is the password; then
reads them back. It prints {"acked", "failed", "stumbled", "lost", "error"} as JSON."""
import json
import sys
import threading
import time

from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException, RedisError

host, port = sys.argv[1].rsplit(":", 1)
password = sys.stdin.readline().rstrip("\n")
over = threading.Event()


def wait_for_end():
    sys.stdin.read()
    over.set()


threading.Thread(target=wait_for_end, daemon=True).start()
cluster = RedisCluster(host=host, port=int(port), password=password, socket_timeout=5, cluster_error_retry_attempts=20)
acked, failed, stumbled, error = [], 0, 0, ""
n = 0
while not over.is_set():
    try:
        cluster.set(f"python:{n}", n)
        acked.append(n)
        if len(acked) == 1:
            print("writing", flush=True)
    except (RedisError, RedisClusterException, OSError) as e:  # in redis-py 4.3 the second is none of the first
        failed += 1
        error = f"{type(e).__name__}: {e}"
    except AttributeError:  # redis-py 4.3 itself, when it is sent to a node that it has not heard of
        stumbled += 1
    n += 1
    time.sleep(0.001)
lost = sum(cluster.get(f"python:{n}") != str(n).encode() for n in acked)
print(json.dumps({"acked": len(acked), "failed": failed, "stumbled": stumbled, "lost": lost, "error": error}))
