package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"redstart.dev/redstart/api/v1alpha1"
)

// mapsEvery is short beside the time that a node takes to learn whose its slots are, and long enough to leave the processors to others.
const mapsEvery = 20 * time.Millisecond

// mapsWatcher asks every node that clients are told of, and the access Service, for its map of the slots, again and again. A
// client that loads its map from a node that lacks owners asks any node for these slots, and the one that lacks them refuses
// (CLUSTERDOWN): not every client tries that again.
type mapsWatcher struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	// asked is how many maps there were; holes are those that lacked slots, and refusals when a node took no keys at all.
	asked           int
	holes, refusals []string
}

func startMapsWatcher(service, password string) *mapsWatcher {
	ctx, cancel := context.WithCancel(context.Background())
	w := &mapsWatcher{cancel: cancel}
	w.done.Go(func() {
		clients := map[string]redis.UniversalClient{}
		defer func() {
			for _, c := range clients {
				_ = c.Close()
			}
		}()
		told := map[string]bool{}
		for ; ctx.Err() == nil; time.Sleep(mapsEvery) {
			next := map[string]bool{}
			through := direct(service, password)() // another connection each time: to any member that is ready
			w.ask(ctx, "the Service", through, next)
			_ = through.Close()
			for addr := range told {
				if clients[addr] == nil {
					clients[addr] = direct(addr, password)()
				}
				w.ask(ctx, addr, clients[addr], next)
			}
			told = next
		}
	})
	return w
}

// ask one node, and add to next whom it names. One that does not answer is gone: clients ask another.
func (w *mapsWatcher) ask(ctx context.Context, addr string, c redis.UniversalClient, next map[string]bool) {
	var slots *redis.ClusterSlotsCmd
	var info, id *redis.StringCmd
	_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		slots, info = p.ClusterSlots(ctx), p.ClusterInfo(ctx)
		id = p.ClusterMyID(ctx)
		return nil
	})
	if err != nil {
		return
	}
	w.asked++
	covered := 0
	for _, s := range slots.Val() {
		covered += s.End - s.Start + 1
		for _, n := range s.Nodes {
			next[n.Addr] = true
		}
	}
	when := fmt.Sprintf("%s %s (node %.8s)", time.Now().Format("15:04:05.000"), addr, id.Val())
	if covered != v1alpha1.SlotCount {
		w.holes = append(w.holes, fmt.Sprintf("%s: %d slots", when, covered))
	}
	if !strings.Contains(info.Val(), "cluster_state:ok") {
		w.refusals = append(w.refusals, when)
	}
}

// stop ends it, and fails the test where a client could have been refused.
func (w *mapsWatcher) stop(t *testing.T) {
	t.Helper()
	w.cancel()
	w.done.Wait()
	t.Logf("%d maps of the slots were asked for", w.asked)
	if len(w.holes) > 0 {
		t.Errorf("%d maps lacked slots, the first: %s", len(w.holes), w.holes[0])
	}
	if len(w.refusals) > 0 {
		t.Errorf("%d times a node that clients are told of found the cluster not whole, the first: %s", len(w.refusals), w.refusals[0])
	}
}
