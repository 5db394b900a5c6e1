package redis

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// The engines.
const (
	EngineRedis  = "redis"
	EngineValkey = "valkey"
)

// Version is an engine and its version.
type Version struct {
	Engine              string
	Major, Minor, Patch int
}

// String is for example "redis 7.0.15".
func (v Version) String() string { return v.Engine + " " + v.Number() }

// Number is for example "7.0.15".
func (v Version) Number() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// AtLeast compares versions of the same engine.
func (v Version) AtLeast(major, minor int) bool {
	return v.Major > major || v.Major == major && v.Minor >= minor
}

// versionLine is "Redis server v=7.0.15 sha=..." or "Valkey server v=8.0.1 ...", also "Server v=7.2.5 ..." of Valkey 7.2.
var versionLine = regexp.MustCompile(`(?i)\b(?:(redis|valkey) )?(?:server|sentinel) v=(\d{1,6})\.(\d{1,6})\.(\d{1,6})`)

// ParseVersion reads what `redis-server --version` prints.
func ParseVersion(out string) (Version, error) {
	m := versionLine.FindStringSubmatch(out)
	if m == nil {
		line, _, _ := strings.Cut(strings.TrimSpace(out), "\n")
		return Version{}, fmt.Errorf("%.100q is not the version line of a Redis or Valkey server", line)
	}
	v := Version{Engine: strings.ToLower(m[1])}
	if v.Engine == "" {
		v.Engine = EngineValkey
	}
	for i, part := range []*int{&v.Major, &v.Minor, &v.Patch} {
		n, err := strconv.Atoi(m[i+2])
		if err != nil {
			return Version{}, fmt.Errorf("version %q: %w", m[0], err)
		}
		*part = n
	}
	return v, nil
}

// NewVersion is that of an engine whose server says, in INFO, that it is version number, MAJOR.MINOR.PATCH.
func NewVersion(engine, number string) (Version, error) {
	v := Version{Engine: engine}
	if _, err := fmt.Sscanf(number, "%d.%d.%d", &v.Major, &v.Minor, &v.Patch); err != nil {
		return Version{}, fmt.Errorf("version %.40q of %s: %w", number, engine, err)
	}
	return v, nil
}

// MovesSlots tells whether a master of a cluster can move slots by itself (CLUSTER MIGRATESLOTS).
func (v Version) MovesSlots() bool { return v.Engine == EngineValkey && v.AtLeast(9, 0) }

// KeepsReplicas tells whether a node of a cluster can be told to leave the spread of replicas to others
// (cluster-allow-replica-migration).
func (v Version) KeepsReplicas() bool { return v.Engine == EngineValkey || v.AtLeast(7, 0) }

// AnnouncesHostnames tells whether a node of a cluster can tell clients a host name (cluster-announce-hostname).
func (v Version) AnnouncesHostnames() bool { return v.Engine == EngineValkey || v.AtLeast(7, 0) }

// CheckSupported refuses servers that Redstart cannot run, in one line that says which it can.
func (v Version) CheckSupported() error {
	if v.Engine == EngineRedis && !v.AtLeast(6, 2) || v.Engine == EngineValkey && !v.AtLeast(7, 2) {
		return fmt.Errorf("%s is too old: install Redis 6.2 or later, or Valkey 7.2 or later", v)
	}
	return nil
}

// Detect asks the program at path for its version, at most five seconds, and refuses those too old.
func Detect(ctx context.Context, path string) (Version, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	if err != nil {
		return Version{}, fmt.Errorf("ask %s for its version: %w", path, err)
	}
	v, err := ParseVersion(string(out))
	if err != nil {
		return Version{}, fmt.Errorf("ask %s for its version: %w", path, err)
	}
	if err := v.CheckSupported(); err != nil {
		return v, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

// FindServer finds redis-server or, where that is absent, valkey-server on PATH.
func FindServer() (string, error) {
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("neither redis-server nor valkey-server is on PATH: install Redis 6.2 or later, or Valkey 7.2 or later")
}
