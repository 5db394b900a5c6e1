package agent

import (
	"testing"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/redis"
)

func TestHostname(t *testing.T) {
	outside := map[string]string{"cache-0": "lb.example.com:6379"}
	for _, tc := range []struct {
		about   string
		version redis.Version
		config  v1alpha1.AgentConfig
		want    string
	}{
		{"addresses", redis.Version{Engine: redis.EngineRedis, Major: 7}, v1alpha1.AgentConfig{}, ""},
		{"names of pods", redis.Version{Engine: redis.EngineRedis, Major: 7}, v1alpha1.AgentConfig{Domain: "cache-members.default.svc"}, "cache-0.cache-members.default.svc"},
		{"load balancers", redis.Version{Engine: redis.EngineValkey, Major: 8}, v1alpha1.AgentConfig{Announce: outside, Domain: "cache-members.default.svc"}, "lb.example.com"},
		{"another member's", redis.Version{Engine: redis.EngineRedis, Major: 7}, v1alpha1.AgentConfig{Announce: map[string]string{"cache-1": "lb.example.com:6379"}}, ""},
		{"too old", redis.Version{Engine: redis.EngineRedis, Major: 6, Minor: 2}, v1alpha1.AgentConfig{Announce: outside, Domain: "d"}, ""},
	} {
		tc.config.Mode = v1alpha1.ModeCluster
		m := member{base: &base{opts: Options{Name: "cache-0"}, version: tc.version, config: &tc.config}}
		if got := m.hostname(); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.about, got, tc.want)
		}
	}
}
