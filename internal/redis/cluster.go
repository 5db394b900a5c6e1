package redis

import (
	"context"
	"fmt"
	"net"

	goredis "github.com/redis/go-redis/v9"

	"redstart.dev/redstart/api/v1alpha1"
)

// Ways of ClusterFailover.
const (
	// FailoverPlanned asks the master to hand over; no write is lost. It fails by itself after five seconds.
	FailoverPlanned = ""
	// FailoverForce does without the master, but still needs the votes of a majority of the masters.
	FailoverForce = "FORCE"
)

// States of ClusterSetSlot.
const (
	SlotMigrating = "MIGRATING"
	SlotImporting = "IMPORTING"
	SlotNode      = "NODE"
	SlotStable    = "STABLE"
)

// ClusterView asks the server for CLUSTER INFO and CLUSTER NODES in one round trip. The
// server may change its mind between the two.
func (c *Client) ClusterView(ctx context.Context) (v1alpha1.ClusterView, error) {
	var info, nodes *goredis.Cmd
	_, err := c.rdb.Pipelined(ctx, func(p goredis.Pipeliner) error {
		info = p.Do(ctx, "CLUSTER", "INFO")
		nodes = p.Do(ctx, "CLUSTER", "NODES")
		return nil
	})
	if err != nil {
		return v1alpha1.ClusterView{}, fmt.Errorf("CLUSTER INFO and NODES at %s: %w", c.addr, err)
	}
	infoText, errInfo := info.Text()
	nodesText, errNodes := nodes.Text()
	if errInfo != nil || errNodes != nil {
		return v1alpha1.ClusterView{}, fmt.Errorf("CLUSTER INFO and NODES at %s: expected text", c.addr)
	}
	list, err := ParseClusterNodes(nodesText)
	if err != nil {
		return v1alpha1.ClusterView{}, fmt.Errorf("at %s: %w", c.addr, err)
	}
	return v1alpha1.ClusterView{Info: ParseClusterInfo(infoText), Nodes: list}, nil
}

// ClusterInfo asks for CLUSTER INFO.
func (c *Client) ClusterInfo(ctx context.Context) (v1alpha1.ClusterInfo, error) {
	s, err := c.text(ctx, "CLUSTER", "INFO")
	return ParseClusterInfo(s), err
}

// ClusterMyID is the node ID of the server.
func (c *Client) ClusterMyID(ctx context.Context) (string, error) {
	return c.text(ctx, "CLUSTER", "MYID")
}

// ClusterMeet makes the server shake hands with the node at addr, IP:PORT. busPort 0 means PORT + 10000. The answer
// comes before the handshake, which may fail later without a word.
func (c *Client) ClusterMeet(ctx context.Context, addr string, busPort int) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("CLUSTER MEET at %s: %w", c.addr, err)
	}
	args := []any{"CLUSTER", "MEET", host, port}
	if busPort != 0 {
		args = append(args, busPort)
	}
	return c.order(ctx, args...)
}

// ClusterForget makes the server forget the node id, and not learn of it again for a minute. All nodes must be told
// within that minute.
func (c *Client) ClusterForget(ctx context.Context, id string) error {
	return c.order(ctx, "CLUSTER", "FORGET", id)
}

// ClusterReplicate makes the server a replica of the master id. A master with slots or keys refuses.
func (c *Client) ClusterReplicate(ctx context.Context, id string) error {
	return c.order(ctx, "CLUSTER", "REPLICATE", id)
}

// ClusterFailover makes the replica that it is sent to ask for its master's slots: FailoverPlanned or FailoverForce.
// The answer comes before the election. There is no TAKEOVER: nothing of ours takes slots without votes.
func (c *Client) ClusterFailover(ctx context.Context, way string) error {
	args := []any{"CLUSTER", "FAILOVER"}
	if way != FailoverPlanned {
		args = append(args, way)
	}
	return c.order(ctx, args...)
}

// ClusterAddSlots makes the server the owner of slots that nobody owns as far as it knows.
func (c *Client) ClusterAddSlots(ctx context.Context, slots v1alpha1.SlotSet) error {
	return c.slotsOrder(ctx, "ADDSLOTS", slots)
}

// ClusterDelSlots makes the server forget who owns slots; the others do not hear of it.
func (c *Client) ClusterDelSlots(ctx context.Context, slots v1alpha1.SlotSet) error {
	return c.slotsOrder(ctx, "DELSLOTS", slots)
}

// slotsOrder lists the slots one by one, for Redis 6.2 knows no ranges here.
func (c *Client) slotsOrder(ctx context.Context, name string, slots v1alpha1.SlotSet) error {
	if len(slots) == 0 {
		return nil
	}
	args := make([]any, 0, 2+slots.Len())
	args = append(args, "CLUSTER", name)
	for slot := range slots.All() {
		args = append(args, slot)
	}
	return c.order(ctx, args...)
}

// ClusterSetSlot changes one slot: SlotMigrating to the node id, SlotImporting from it, SlotNode to make it the
// owner, SlotStable (id is not used) to close it.
func (c *Client) ClusterSetSlot(ctx context.Context, slot int, state, id string) error {
	args := []any{"CLUSTER", "SETSLOT", slot, state}
	if state != SlotStable {
		args = append(args, id)
	}
	return c.order(ctx, args...)
}

// ClusterSetConfigEpoch gives a node that knows no other its config epoch, so that new nodes do not all begin with 0.
func (c *Client) ClusterSetConfigEpoch(ctx context.Context, epoch int64) error {
	return c.order(ctx, "CLUSTER", "SET-CONFIG-EPOCH", epoch)
}

// ClusterReset makes a node forget all others and its slots, and with hard its ID and epochs too. A master with keys
// refuses, which is the point: it is for a node without data that shall begin anew, never for one that has some. A
// replica, however, drops the data that it copied.
func (c *Client) ClusterReset(ctx context.Context, hard bool) error {
	how := "SOFT"
	if hard {
		how = "HARD"
	}
	return c.order(ctx, "CLUSTER", "RESET", how)
}

// order sends a command whose answer says nothing but OK.
func (c *Client) order(ctx context.Context, args ...any) error {
	_, err := c.do(ctx, args...)
	return err
}

func (c *Client) text(ctx context.Context, args ...any) (string, error) {
	v, err := c.do(ctx, args...)
	if err != nil {
		return "", err
	}
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("%s at %s: expected text, got %T", commandName(args), c.addr, v)
	}
	return s, nil
}

// IsClusterDisabled tells whether err is the answer of a server that does not run in cluster mode.
func IsClusterDisabled(err error) bool {
	return hasPrefix(err, "ERR This instance has cluster support disabled")
}
