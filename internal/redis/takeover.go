package redis

import "context"

// ClusterTakeover makes a replica take its master's slots without any votes: CLUSTER FAILOVER TAKEOVER. Nothing does that by itself;
// it is for a person who accepts what it costs, when a majority of the masters is lost for good.
func (c *Client) ClusterTakeover(ctx context.Context) error {
	return c.order(ctx, "CLUSTER", "FAILOVER", "TAKEOVER")
}
