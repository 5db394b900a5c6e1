package operator

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/plan"
	"redstart.dev/redstart/internal/redis/migrate"
)

// migration moves slots beside the reconciler, which goes on looking meanwhile. What it leaves open, should this operator end, the
// next one finishes: open slots are work to internal/plan. A nil migration is none.
type migration struct {
	began    time.Time
	cancel   context.CancelFunc
	progress atomic.Pointer[migrate.Progress]
	done     chan struct{}
	// err, and how many slots were moved, are read when done is closed.
	err   error
	moved int64
}

func (m *migration) running() bool {
	if m == nil {
		return false
	}
	select {
	case <-m.done:
		return false
	default:
		return true
	}
}

// stop ends it within the time of a batch, and does not wait for that.
func (m *migration) stop() {
	if m != nil {
		m.cancel()
	}
}

// status is how far it is, nil while that is not known.
func (m *migration) status() *v1alpha1.MigrationStatus {
	if !m.running() {
		return nil
	}
	p := m.progress.Load()
	if p == nil {
		return nil
	}
	s := &v1alpha1.MigrationStatus{SlotsTotal: int32(p.SlotsTotal), SlotsMoved: int32(p.Slots), KeysMoved: p.Keys, BytesMoved: p.Bytes}
	if p.Left > 0 {
		s.SecondsLeft = ptr.To(int64((p.Left + time.Second - 1) / time.Second))
	}
	return s
}

// migrations waits for those that run when the operator ends.
type migrations struct{ running sync.WaitGroup }

// Start waits for the end of the operator, and of all migrations.
func (m *migrations) Start(ctx context.Context) error {
	<-ctx.Done()
	m.running.Wait()
	return nil
}

// startMigration finishes what an earlier migration left open, and then moves slots.
func (c *redisController) startMigration(ctx context.Context, r *v1alpha1.Redis, mem *memory, o *observation, move plan.ClusterMigrate, password string) error {
	if mem.migration.running() {
		return nil
	}
	var seeds []string
	for _, x := range o.members {
		if x.pod != nil && x.isMaster() {
			seeds = append(seeds, v1alpha1.PodAddress(x.pod, v1alpha1.PortRedis))
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	m := &migration{began: time.Now(), cancel: cancel, done: make(chan struct{})}
	mem.migration = m
	c.migrations.running.Go(func() {
		defer close(m.done)
		defer cancel()
		m.moved, m.err = m.run(ctx, seeds, migrate.Credentials{Password: password}, move.Moves)
		if m.err != nil {
			c.log.Warn("Slots stopped moving", "redis", client.ObjectKeyFromObject(r), "error", m.err)
		}
	})
	return nil
}

func (m *migration) run(ctx context.Context, seeds []string, credentials migrate.Credentials, moves []v1alpha1.SlotMove) (int64, error) {
	cluster, err := migrate.Connect(ctx, seeds, credentials)
	if err != nil {
		return 0, err
	}
	defer cluster.Close()
	options := migrate.Options{Progress: func(p migrate.Progress) { m.progress.Store(&p) }}
	finished, err := migrate.Resume(ctx, cluster, options)
	if err != nil {
		return finished.Progress.Slots, fmt.Errorf("finish open slots: %w", err)
	}
	if finished.Progress.Slots > 0 || len(finished.Closed) > 0 {
		return finished.Progress.Slots, nil // who owns what has changed: the rest is planned anew
	}
	report, err := migrate.Migrate(ctx, cluster, moves, options)
	return report.Progress.Slots, err
}

// tellMigration makes an event of a migration that has ended since the last look.
func (c *redisController) tellMigration(r *v1alpha1.Redis, mem *memory) {
	m := mem.migration
	if m == nil || m.running() {
		return
	}
	mem.migration = nil
	took := time.Since(m.began).Round(time.Millisecond)
	if m.err != nil {
		c.events.Eventf(r, corev1.EventTypeWarning, v1alpha1.EventSlotsMoved, "%d slots moved in %s, then: %v", m.moved, took, m.err)
		return
	}
	if m.moved > 0 {
		c.events.Eventf(r, corev1.EventTypeNormal, v1alpha1.EventSlotsMoved, "%d slots moved in %s", m.moved, took)
	}
}
