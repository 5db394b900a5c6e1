package migrate_test

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"testing"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/redis/clustertest"
	"redstart.dev/redstart/internal/redis/migrate"
)

// pythonWorkload writes and reads through redis-py's RedisCluster until its input ends, and then prints how often, and
// which errors its caller saw.
const pythonWorkload = `
import json, sys, threading
from redis.cluster import RedisCluster
host, port = sys.argv[1].split(":")
c = RedisCluster(host=host, port=int(port))
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
n, errors, wrong = 0, [], []
acked = {}
print("ready", flush=True)
while not over.is_set():
    n += 1
    k = "py:%d" % (n % 500)
    try:
        c.set(k, n)
        acked[k] = n
        if int(c.get(k)) != n:
            wrong.append(k)
        c.mset_nonatomic({"{%s}a" % k: n, "{%s}b" % k: n})
    except Exception as e:
        errors.append("%s: %s" % (type(e).__name__, e))
for k, v in acked.items():
    if int(c.get(k)) != v:
        wrong.append(k)
print(json.dumps({"writes": n, "errors": errors[:10], "wrong": wrong[:10]}))
`

// TestPythonClient: a client of another language sees no error while most slots of a cluster move.
func TestPythonClient(t *testing.T) {
	var python string
	for _, p := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(p, "-c", "import redis.cluster").Run() == nil {
			python = p
			break
		}
	}
	if python == "" {
		t.Skip("no Python with redis-py 4 or later; make test installs Debian's python3-redis")
	}
	// The third master has a slot from the start: redis-py 4.3 fails (AttributeError) when it is sent by ASK to a node that it
	// does not know, and it knows only those with slots.
	nodes := clustertest.Start(t, 3, nil)
	clustertest.Form(t, nodes, 3, v1alpha1.SlotSet{{First: 0, Last: 8190}}, v1alpha1.SlotSet{{First: 8192, Last: 16383}}, v1alpha1.Slots(8191))
	fill(t, clusterClient(t, nodes, ""), 20_000)
	cmd := exec.CommandContext(t.Context(), python, "-c", pythonWorkload, nodes[0].Addr)
	cmd.WaitDelay = 10 * time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 6)); err != nil {
		t.Fatalf("%v: %s", err, errOut.String())
	}
	moves := third(nodes)
	c := connect(t, nodes, migrate.Credentials{})
	if _, err := migrate.Migrate(t.Context(), c, moves, migrate.Options{}); err != nil {
		t.Fatal(err)
	}
	// And one slot after the other, which is what such a client sees most of.
	for slot := 3000; slot < 3050; slot++ {
		if _, err := migrate.Migrate(t.Context(), c, []v1alpha1.SlotMove{{From: nodes[0].ID, To: nodes[2].ID, Slots: v1alpha1.Slots(slot)}}, migrate.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	_ = in.Close()
	var result struct {
		Writes        int
		Errors, Wrong []string
	}
	if err := json.NewDecoder(out).Decode(&result); err != nil {
		t.Fatalf("%v: %s", err, errOut.String())
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("%d rounds", result.Writes)
	if len(result.Errors) > 0 || len(result.Wrong) > 0 || result.Writes < 10 {
		t.Errorf("redis-py saw %+v", result)
	}
}
