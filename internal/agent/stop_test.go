//go:build unix

package agent_test

import (
	"errors"
	"fmt"
	"os"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"redstart.dev/redstart/api/v1alpha1"
)

// TestStopWhileTheFirstFileIsWritten: a server that has just copied its master does not end while it writes its first append-only
// file, and does not remember that it was told to. It ends when the file is there.
func TestStopWhileTheFirstFileIsWritten(t *testing.T) {
	const keys, perKey = 100, 30_000 // µs
	c := newCluster(t, v1alpha1.ModeReplication, 2, func(a *v1alpha1.AgentConfig) { a.Config["rdb-key-save-delay"] = fmt.Sprint(perKey) })
	master := c.ready()
	ctx := t.Context()
	client := goredis.NewClient(&goredis.Options{Addr: master.address(v1alpha1.PortRedis), Password: password, Protocol: 2})
	defer client.Close()
	for n := range keys {
		if err := client.Set(ctx, fmt.Sprint("k", n), n, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	c.inStep(master)
	replica := c.members()[0]
	if replica == master {
		replica = c.members()[1]
	}
	replica.kill()
	if err := errors.Join(os.RemoveAll(replica.data), os.Mkdir(replica.data, 0o700)); err != nil {
		t.Fatal(err)
	}
	c.start(replica)
	server := c.server(replica)
	eventually(t, "the replica writes its first append-only file", func() error {
		info, err := server.Info(ctx)
		if err == nil && (info["master_link_status"] != "up" || info["aof_rewrite_in_progress"] != "1") {
			err = fmt.Errorf("link %s, rewrite %s", info["master_link_status"], info["aof_rewrite_in_progress"])
		}
		return err
	})
	replica.terminate(t)
}
