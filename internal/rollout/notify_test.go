package rollout_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"redstart.dev/redstart/api/v1alpha1"
)

// hook is a webhook. It keeps the bodies that it took, and refuses its first requests.
type hook struct {
	url string

	mu     sync.Mutex
	refuse []int // answers to the first requests
	took   []map[string]any
}

func webhook(t *testing.T, refuse ...int) *hook {
	h := &hook{refuse: refuse}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	h.url = s.URL + "/services/T0/B0/x"
	return h
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.refuse) > 0 {
		w.WriteHeader(h.refuse[0])
		h.refuse = h.refuse[1:]
		return
	}
	var body map[string]any
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	h.took = append(h.took, body)
}

// field lists one field of every body.
func (h *hook) field(of func(map[string]any) any) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, b := range h.took {
		out = append(out, fmt.Sprint(of(b)))
	}
	return out
}

func (h *hook) events() []string { return h.field(func(b map[string]any) any { return b["event"] }) }
func (h *hook) texts() []string  { return h.field(func(b map[string]any) any { return b["text"] }) }

// TestNotifications releases a version while one webhook refuses at first, one is dead, one is for good not there, and
// the Secret of another comes late; and the controller is started anew in the middle.
func TestNotifications(t *testing.T) {
	c := startCluster(t)
	counted := notified(t)
	log, slack, gone := webhook(t, 503), webhook(t), webhook(t, 410)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = dead.Close()
	d := deployment("web", 1)
	c.create(d)
	c.rollout("web", `
workloadRef: {apiVersion: apps/v1, kind: Deployment, name: web}
strategy: {canary: {steps: [{name: one, replicas: 1, pause: {}}]}}
notifications:
- {name: log, url: "`+log.url+`"}
- {name: team, format: slack, secretRef: {name: slack}}
- {name: gone, events: [Started], url: "`+gone.url+`"}
- {name: dead, events: [Started, Completed], url: "http://`+dead.Addr().String()+`", timeout: 1s}`)
	c.healthy("web", 1)
	c.version(d, func() *corev1.PodTemplateSpec { return &d.Spec.Template }, "v2")
	c.phase("web", v1alpha1.RolloutPaused, 1)
	// waiting tells who has not heard what, and waits until it is like that.
	waiting := func(want string) {
		t.Helper()
		c.eventually("messages wait: "+want, func() error {
			ro := &v1alpha1.Rollout{}
			if err := c.get("web", ro); err != nil {
				return err
			}
			var got []string
			for _, n := range ro.Status.Notifications {
				got = append(got, fmt.Sprint(n.Event, n.To))
			}
			if s := strings.Join(got, " "); s != want {
				return fmt.Errorf("%s", s)
			}
			return nil
		})
	}
	waiting("Started[team dead] ApprovalNeeded[team]")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "slack"}, StringData: map[string]string{"url": slack.url + "\n"}}
	c.create(secret)
	waiting("Started[dead]")

	c.restart()
	c.command("web", "approve")
	c.healthy("web", 2)
	waiting("Started[dead] Completed[dead]")
	if got, want := log.events(), []string{"Started", "ApprovalNeeded", "StepCompleted", "Completed"}; !slices.Equal(got, want) {
		t.Errorf("webhook log was told %q, want %q", got, want)
	}
	ids := log.field(func(b map[string]any) any { return b["id"] })
	slices.Sort(ids)
	if n := len(slices.Compact(ids)); n != 4 {
		t.Errorf("%d IDs, want one for each of 4 messages", n)
	}
	if got := slack.texts(); len(got) != 4 || got[1] != "*default/web*: step 1 of 1 (one) waits for an approval" || !strings.HasPrefix(got[3], "*default/web*: web:1 (revision ") {
		t.Errorf("Slack was told %q, want four messages", got)
	}
	var events corev1.EventList
	c.eventually("an event about the webhook that is gone", func() error {
		if err := c.List(c.ctx, &events, client.InNamespace("default")); err != nil {
			return err
		}
		for _, e := range events.Items {
			if strings.Contains(e.Message, "services") {
				t.Errorf("event %q shows the address of a webhook", e.Message)
			}
			if e.Reason == "NotificationFailed" && e.Message == "Started: webhook gone is not told: it answers 410 Gone" && e.Type == corev1.EventTypeWarning {
				return nil
			}
		}
		return fmt.Errorf("none of %d", len(events.Items))
	})
	for series, want := range map[string]float64{"log delivered": 4, "team delivered": 4, "gone failed": 1, "dead delivered": 0, "dead failed": 0} {
		if got := notified(t)[series] - counted[series]; got != want {
			t.Errorf("metric of %s: %v, want %v", series, got, want)
		}
	}

	// A webhook that is taken out of the spec is waited for no longer.
	c.eventually("a spec without the dead webhook", func() error {
		ro := &v1alpha1.Rollout{}
		if err := c.get("web", ro); err != nil {
			return err
		}
		ro.Spec.Notifications = ro.Spec.Notifications[:2]
		return c.Update(c.ctx, ro)
	})
	waiting("")
}

// notified is the metric of notifications, by webhook and result.
func notified(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := ctrlmetrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "redstart_rollout_notifications_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			out[labels["webhook"]+" "+labels["result"]] += m.GetCounter().GetValue()
		}
	}
	return out
}
