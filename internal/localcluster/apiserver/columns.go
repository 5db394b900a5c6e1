package apiserver

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

func name[T object]() column[T] {
	return column[T]{name: "Name", value: func(o T) any { return o.GetName() }}
}

func age[T object]() column[T] {
	return column[T]{name: "Age", value: func(o T) any { return since(o.GetCreationTimestamp().Time) }}
}

func created(o metav1.Object) string { return o.GetCreationTimestamp().UTC().Format(time.RFC3339) }

func since(t time.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(t))
}

func itoa(n int32) string { return strconv.Itoa(int(n)) }

// orNone is what kubectl shows where there is nothing.
func orNone(s string) string { return or(s, "<none>") }

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// firstFew joins some of the items, and tells how many are left out.
func firstFew(items []string, few int) string {
	if len(items) <= few {
		return orNone(strings.Join(items, ","))
	}
	return fmt.Sprintf("%s + %d more...", strings.Join(items[:few], ","), len(items)-few)
}

var endpointSliceColumns = []column[*discoveryv1.EndpointSlice]{
	name[*discoveryv1.EndpointSlice](),
	{"AddressType", func(s *discoveryv1.EndpointSlice) any { return string(s.AddressType) }, false},
	{"Ports", func(s *discoveryv1.EndpointSlice) any {
		var ports []string
		for _, p := range s.Ports {
			if p.Port != nil {
				ports = append(ports, itoa(*p.Port))
			}
		}
		return firstFew(ports, 3)
	}, false},
	{"Endpoints", func(s *discoveryv1.EndpointSlice) any {
		var all []string
		for _, e := range s.Endpoints {
			all = append(all, e.Addresses...)
		}
		return firstFew(all, 3)
	}, false},
	age[*discoveryv1.EndpointSlice](),
}

var budgetColumns = []column[*policyv1.PodDisruptionBudget]{
	name[*policyv1.PodDisruptionBudget](),
	{"Min Available", func(b *policyv1.PodDisruptionBudget) any {
		if b.Spec.MinAvailable == nil {
			return "N/A"
		}
		return b.Spec.MinAvailable.String()
	}, false},
	{"Max Unavailable", func(b *policyv1.PodDisruptionBudget) any {
		if b.Spec.MaxUnavailable == nil {
			return "N/A"
		}
		return b.Spec.MaxUnavailable.String()
	}, false},
	{"Allowed Disruptions", func(b *policyv1.PodDisruptionBudget) any { return int64(b.Status.DisruptionsAllowed) }, false},
	age[*policyv1.PodDisruptionBudget](),
}
