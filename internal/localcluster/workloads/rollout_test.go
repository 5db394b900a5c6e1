package workloads

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"
)

func TestRollingBounds(t *testing.T) {
	for _, tt := range []struct {
		want               int32
		surge, unavailable string
		out                bounds
	}{
		{want: 4, out: bounds{1, 1}},
		{want: 3, out: bounds{1, 0}},
		{want: 10, surge: "25%", unavailable: "25%", out: bounds{3, 2}},
		{want: 3, surge: "1", unavailable: "0", out: bounds{1, 0}},
		{want: 3, surge: "0", unavailable: "0", out: bounds{0, 1}},
		{want: 3, surge: "0", unavailable: "10%", out: bounds{0, 1}},
		{want: 2, surge: "0", unavailable: "5", out: bounds{0, 2}},
		{want: 2, surge: "100%", unavailable: "0%", out: bounds{2, 0}},
	} {
		t.Run(fmt.Sprint(tt.want, tt.surge, tt.unavailable), func(t *testing.T) {
			d := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: &tt.want}}
			if tt.surge != "" {
				s, u := intstr.Parse(tt.surge), intstr.Parse(tt.unavailable)
				d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: &s, MaxUnavailable: &u}
			}
			got, err := rollingBounds(d)
			if err != nil || got != tt.out {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.out)
			}
		})
	}
}

func TestPlanRolling(t *testing.T) {
	s := func(name string, size, available int) set { return set{name: name, size: size, available: available} }
	for _, tt := range []struct {
		name    string
		want    int
		b       bounds
		current set
		old     []set
		out     []scaling
	}{
		{"first start", 3, bounds{1, 0}, s("n", 0, 0), nil, []scaling{{"n", 0, 3}}},
		{"done", 3, bounds{1, 0}, s("n", 3, 3), []set{s("o", 0, 0)}, nil},
		{"grow by the surge", 3, bounds{1, 0}, s("n", 0, 0), []set{s("o", 3, 3)}, []scaling{{"n", 0, 1}}},
		{"wait for the new pod", 3, bounds{1, 0}, s("n", 1, 0), []set{s("o", 3, 3)}, nil},
		{"shrink when it is available", 3, bounds{1, 0}, s("n", 1, 1), []set{s("o", 3, 3)}, []scaling{{"o", 3, 2}}},
		{"a status that lags counts no pod twice", 3, bounds{1, 0}, s("n", 2, 1), []set{s("o", 2, 3)}, nil},
		{"without surge shrink first", 3, bounds{0, 1}, s("n", 0, 0), []set{s("o", 3, 3)}, []scaling{{"o", 3, 2}}},
		{"then grow", 3, bounds{0, 1}, s("n", 0, 0), []set{s("o", 2, 2)}, []scaling{{"n", 0, 1}}},
		{"then wait", 3, bounds{0, 1}, s("n", 1, 0), []set{s("o", 2, 2)}, nil},
		{"a broken old pod costs nothing", 3, bounds{0, 1}, s("n", 0, 0), []set{s("o", 3, 2)}, []scaling{{"o", 3, 2}}},
		{"broken old pods go first", 3, bounds{1, 0}, s("n", 1, 1), []set{s("a", 1, 1), s("b", 2, 1)}, []scaling{{"b", 2, 1}}},
		{"the oldest goes first", 4, bounds{1, 0}, s("n", 1, 1), []set{s("a", 2, 2), s("b", 2, 2)}, []scaling{{"a", 2, 1}}},
		{"a new set that is too large shrinks", 2, bounds{1, 0}, s("n", 5, 5), nil, []scaling{{"n", 5, 2}}},
		{"to nothing", 0, bounds{0, 1}, s("n", 3, 3), nil, []scaling{{"n", 3, 0}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := planRolling(tt.want, tt.b, tt.current, tt.old)
			if d := cmp.Diff(tt.out, got, cmp.AllowUnexported(scaling{})); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestRollingUpdateEnds runs rolling updates in which pods become available in random order: never are there more pods
// than maxSurge allows or fewer available ones than maxUnavailable allows, and each ends with the new set alone.
func TestRollingUpdateEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.IntRange(0, 8).Draw(t, "want")
		b := bounds{rapid.IntRange(0, 3).Draw(t, "surge"), rapid.IntRange(0, 3).Draw(t, "unavailable")}
		b.unavailable = min(b.unavailable, want)
		if b.surge == 0 && b.unavailable == 0 {
			b.unavailable = 1
		}
		sets := []set{{name: "n"}, {name: "a"}, {name: "b"}}
		sets[1].size = rapid.IntRange(0, want).Draw(t, "a")
		sets[2].size = want - sets[1].size
		sets[1].available, sets[2].available = sets[1].size, sets[2].size
		for range 500 {
			plan := planRolling(want, b, sets[0], sets[1:])
			if len(plan) == 0 {
				waiting := false
				for i := range sets {
					if sets[i].available < sets[i].size {
						sets[i].available, waiting = sets[i].available+1, true
						break
					}
				}
				if waiting {
					continue
				}
				if sets[0].size != want || sets[1].size+sets[2].size != 0 {
					t.Fatalf("stuck at %+v", sets)
				}
				return
			}
			for _, p := range plan {
				for i := range sets {
					if sets[i].name == p.name {
						sets[i].size = p.to
						sets[i].available = min(sets[i].available, p.to)
					}
				}
			}
			if n := total(sets, size); n > want+b.surge {
				t.Fatalf("%d pods, at most %d are allowed: %+v", n, want+b.surge, sets)
			}
			if n := total(sets, usable); n < want-b.unavailable {
				t.Fatalf("%d available, at least %d have to be: %+v after %+v", n, want-b.unavailable, sets, plan)
			}
		}
		t.Fatalf("does not end: %+v", sets)
	})
}

func TestPlanScale(t *testing.T) {
	for _, tt := range []struct {
		name string
		want int
		b    bounds
		sets []set
		out  []scaling
	}{
		{"one set", 5, bounds{1, 0}, []set{{name: "n", size: 3}}, []scaling{{"n", 3, 5}}},
		{"from nothing the newest", 2, bounds{1, 0}, []set{{name: "o"}, {name: "n"}}, []scaling{{"n", 0, 2}}},
		{"in proportion", 20, bounds{0, 2}, []set{{name: "o", size: 5, maxAtScaling: 10}, {name: "n", size: 5, maxAtScaling: 10}}, []scaling{{"o", 5, 10}, {"n", 5, 10}}},
		{"down in proportion", 5, bounds{0, 1}, []set{{name: "o", size: 8, maxAtScaling: 10}, {name: "n", size: 2, maxAtScaling: 10}}, []scaling{{"o", 8, 4}, {"n", 2, 1}}},
		{"to nothing", 0, bounds{1, 0}, []set{{name: "o", size: 2, maxAtScaling: 4}, {name: "n", size: 2, maxAtScaling: 4}}, []scaling{{"o", 2, 0}, {"n", 2, 0}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.out, planScale(tt.want, tt.b, tt.sets), cmp.AllowUnexported(scaling{})); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestPlanRecreate(t *testing.T) {
	for _, tt := range []struct {
		name    string
		current set
		old     []set
		pods    int
		out     []scaling
	}{
		{"empty the old", set{name: "n"}, []set{{name: "o", size: 2}}, 2, []scaling{{"o", 2, 0}}},
		{"wait for the last old pod", set{name: "n"}, []set{{name: "o"}}, 1, nil},
		{"fill the new", set{name: "n"}, []set{{name: "o"}}, 0, []scaling{{"n", 0, 3}}},
		{"done", set{name: "n", size: 3}, []set{{name: "o"}}, 0, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.out, planRecreate(3, tt.current, tt.old, tt.pods), cmp.AllowUnexported(scaling{})); d != "" {
				t.Error(d)
			}
		})
	}
}
