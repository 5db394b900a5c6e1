package routing

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// Balance is how requests are spread over the pods of a Service.
type Balance string

const (
	// RoundRobin takes the pods in turn.
	RoundRobin Balance = "roundRobin"
	// Weighted takes them in turn, each as often as its weight says; see AnnotationWeight.
	Weighted Balance = "weighted"
	// LeastResponseTime takes the pod that would answer first, by how fast it answered lately and how many requests
	// it has at the moment.
	LeastResponseTime Balance = "leastResponseTime"
)

// Policy is the value of the annotation redstart.dev/upstream of a Service, as YAML or JSON.
type Policy struct {
	// Balance is RoundRobin if it is empty.
	Balance Balance `json:"balance,omitempty"`
	// Health asks the pods how they are, apart from their readiness probes; nil asks nothing.
	Health *HealthCheck `json:"healthCheck,omitempty"`
	// Passive leaves out pods that fail requests; nil leaves out none.
	Passive *PassiveCheck `json:"passive,omitempty"`
}

// HealthCheck is an active check: a GET whose answer has to be 200 to 399.
type HealthCheck struct {
	// Path is /health if it is empty.
	Path string `json:"path,omitempty"`
	// Interval between two checks is 30 s if it is zero; at least 100 ms.
	Interval metav1.Duration `json:"interval,omitempty"`
	// Timeout of one check is 2 s, or the interval if that is shorter.
	Timeout metav1.Duration `json:"timeout,omitempty"`
	// Failures in a row take a pod out, 3 if it is zero, and Successes in a row take it in again, 1 if it is zero.
	Failures  int `json:"failures,omitempty"`
	Successes int `json:"successes,omitempty"`
}

// PassiveCheck takes out a pod whose answers are failures: connections that break, and 502, 503 and 504.
type PassiveCheck struct {
	// Failures in a row, 5 if it is zero.
	Failures int `json:"failures,omitempty"`
	// Duration for which the pod gets no request then, 30 s if it is zero.
	Duration metav1.Duration `json:"duration,omitempty"`
}

const (
	leastInterval = 100 * time.Millisecond
	mostInterval  = time.Hour
	mostFailures  = 100
)

// ParsePolicy reads the annotation and fills in what it leaves out. An error names the field, what was expected, and
// what to write. An empty text is the policy of a Service that says nothing.
func ParsePolicy(text string) (Policy, error) {
	var p Policy
	if err := yaml.UnmarshalStrict([]byte(text), &p); err != nil {
		why := strings.Join(strings.Fields(err.Error()), " ")
		for _, prefix := range []string{"error unmarshaling JSON: ", "while decoding JSON: ", "json: "} {
			why = strings.TrimPrefix(why, prefix)
		}
		return p, fmt.Errorf("%s; expected for example {balance: leastResponseTime, healthCheck: {path: /health, interval: 30s}}", why)
	}
	switch p.Balance {
	case "":
		p.Balance = RoundRobin
	case RoundRobin, Weighted, LeastResponseTime:
	default:
		return p, fmt.Errorf("balance: %q is not known; expected %s, %s or %s", p.Balance, RoundRobin, Weighted, LeastResponseTime)
	}
	if h := p.Health; h != nil {
		fill(&h.Path, "/health")
		fill(&h.Interval.Duration, 30*time.Second)
		fill(&h.Timeout.Duration, min(2*time.Second, h.Interval.Duration))
		fill(&h.Failures, 3)
		fill(&h.Successes, 1)
		if !strings.HasPrefix(h.Path, "/") {
			return p, fmt.Errorf("healthCheck.path: %q does not begin with /", h.Path)
		}
		if err := within("healthCheck.interval", h.Interval.Duration, leastInterval, mostInterval); err != nil {
			return p, err
		}
		if err := within("healthCheck.timeout", h.Timeout.Duration, time.Millisecond, h.Interval.Duration); err != nil {
			return p, err
		}
		if err := within("healthCheck.failures", h.Failures, 1, mostFailures); err != nil {
			return p, err
		}
		if err := within("healthCheck.successes", h.Successes, 1, mostFailures); err != nil {
			return p, err
		}
	}
	if c := p.Passive; c != nil {
		fill(&c.Failures, 5)
		fill(&c.Duration.Duration, 30*time.Second)
		if err := within("passive.failures", c.Failures, 1, mostFailures); err != nil {
			return p, err
		}
		if err := within("passive.duration", c.Duration.Duration, leastInterval, mostInterval); err != nil {
			return p, err
		}
	}
	return p, nil
}

func fill[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

func within[T int | time.Duration](name string, v, least, most T) error {
	if v < least || v > most {
		return fmt.Errorf("%s: %v; expected %v to %v", name, v, least, most)
	}
	return nil
}
