package redis

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"redstart.dev/redstart/api/v1alpha1"
)

// SettingsHash is the short hash by which two sets of settings are compared (AgentStatus.ConfigHash).
func SettingsHash(settings map[string]string) string {
	h := sha256.New()
	for _, name := range sortedKeys(settings) {
		fmt.Fprintf(h, "%q=%q\n", name, settings[name])
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// ApplySettings changes a running server from the settings in force to those wanted. It returns the settings now in
// force and the names of those that only a restart changes: those that the server refuses to change while it runs, and
// those that are no longer wanted, whose default only a restart brings back. A value that the server does not accept
// is an error that names the setting (IsRefusal); the others are applied all the same. Any other error ends it: what is in force is not
// known then, and all has to be applied again.
func (c *Client) ApplySettings(ctx context.Context, inForce, wanted map[string]string) (now map[string]string, restart []string, err error) {
	now = map[string]string{}
	for name, value := range inForce {
		now[name] = value
		if _, ok := wanted[name]; !ok {
			restart = append(restart, name)
		}
	}
	var errs []error
	for _, name := range sortedKeys(wanted) {
		value := wanted[name]
		if old, ok := inForce[name]; ok && old == value {
			continue
		}
		if _, owned := v1alpha1.OwnedSetting(name); owned {
			continue
		}
		switch err := c.ConfigSet(ctx, name, value); {
		case err == nil:
			now[name] = value
		case needsRestart(err):
			restart = append(restart, name)
		case !IsRefusal(err):
			return inForce, nil, err
		default:
			errs = append(errs, fmt.Errorf("set %s to %q: %w", name, value, err))
		}
	}
	slices.Sort(restart)
	return now, restart, errors.Join(errs...)
}

// needsRestart knows the server's refusal to change a setting that it has, or that only its file may have: "can't set
// immutable config" since 7.0, "Unsupported CONFIG parameter" before.
func needsRestart(err error) bool {
	var e goredis.Error
	if !errors.As(err, &e) {
		return false
	}
	msg := e.Error()
	return strings.Contains(msg, "immutable config") || strings.Contains(msg, "Unsupported CONFIG parameter") ||
		strings.Contains(msg, "can't set protected config")
}
