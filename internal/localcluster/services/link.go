package services

import (
	"k8s.io/apimachinery/pkg/types"

	"redstart.dev/redstart/internal/relay"
)

// link is one connection through the proxy.
type link struct {
	relay.Link
	pod  types.UID
	free bool // set stays away from it; guarded by the pool's lock
}
