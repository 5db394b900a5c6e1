package agent

import (
	"context"
	"fmt"
	"os"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/redis"
)

// Run is the life of an agent. The end of ctx is SIGTERM: a member hands over, then its server saves and ends, and Run
// returns. An error says what kept the agent from starting, or its server from ending well.
func Run(ctx context.Context, o Options, c Cluster) error {
	if info, err := os.Stat(o.Dir); err != nil || !info.IsDir() {
		return fmt.Errorf("data directory %s: expected a directory: mount a volume there, or set REDSTART_MOUNT_DATA", o.Dir)
	}
	version, err := redis.Detect(ctx, o.Server)
	if err != nil {
		return err
	}
	b, err := newBase(o, c)
	if err != nil {
		return err
	}
	b.version = version
	b.log.Info("agent started", "boot", b.boot, "engine", version.String(), "component", o.Component)

	// Everything but the loop ends when the loop did.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer b.working.Wait()
	defer b.peers.closeAll()
	defer end()
	b.working.Go(func() { b.cluster.Watch(life, b.poke) })
	b.working.Go(func() { b.followLease(life) })
	reapOrphans(life, b)

	if o.Component == v1alpha1.ComponentSentinel {
		s := newSentinel(b)
		if err := b.serve(life, hooks{status: func(context.Context) v1alpha1.AgentStatus { return *b.status.Load() }}); err != nil {
			return err
		}
		return s.run(life, ctx.Done())
	}
	m, err := newMember(b)
	if err != nil {
		return err
	}
	if err := b.serve(life, hooks{status: m.freshStatus, handover: m.askHandover, takeover: m.askTakeover}); err != nil {
		return err
	}
	return m.run(life, ctx.Done())
}
