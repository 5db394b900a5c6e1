package rollout

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/rollout/notify"
)

// notifier tells webhooks what waits in the statuses of Rollouts. It is a controller of its own, so that a webhook that is
// slow or dead holds no release up. It writes no status: the controller of releases, which is the only one that does,
// learns from it who has been told.
type notifier struct {
	live    client.Reader
	events  eventRecorder
	metrics *metrics
	log     *slog.Logger
	now     func() time.Time
	client  *http.Client
	began   time.Time
	// told wakes the controller of releases for a Rollout.
	told chan event.GenericEvent

	mu sync.Mutex
	// settled are the messages that a webhook has been told, or that were given up, until the status says so too.
	settled map[types.NamespacedName]map[settlement]bool
}

// settlement is a message and a webhook.
type settlement struct{ id, webhook string }

func newNotifier(r *reconciler) *notifier {
	return &notifier{
		live: r.live, events: r.events, metrics: r.metrics, log: r.log, now: r.now, client: notify.NewClient(), began: r.now(),
		told: make(chan event.GenericEvent), settled: map[types.NamespacedName]map[settlement]bool{},
	}
}

func (n *notifier) setUp(m manager.Manager) error {
	waiting := func(o client.Object) []v1alpha1.NotificationStatus {
		if ro, ok := o.(*v1alpha1.Rollout); ok {
			return ro.Status.Notifications
		}
		return nil
	}
	b := builder.ControllerManagedBy(m).Named("rollout-notifications").
		For(&v1alpha1.Rollout{}, builder.WithPredicates(predicate.Funcs{
			CreateFunc: func(e event.CreateEvent) bool { return len(waiting(e.Object)) > 0 },
			UpdateFunc: func(e event.UpdateEvent) bool {
				return !equality.Semantic.DeepEqual(waiting(e.ObjectOld), waiting(e.ObjectNew))
			},
		})).
		WithOptions(controller.Options{MaxConcurrentReconciles: concurrency})
	if err := b.Complete(n); err != nil {
		return fmt.Errorf("set up the controller of notifications: %w", err)
	}
	return nil
}

// note takes off the status who has been told, and adds what its change gives. It returns what had to be dropped.
func (n *notifier) note(ro *v1alpha1.Rollout, before *v1alpha1.RolloutStatus, image string) []v1alpha1.NotificationStatus {
	key := client.ObjectKeyFromObject(ro)
	left := notify.Remaining(ro.Status.Notifications, &ro.Spec, func(id, webhook string) bool { return n.isSettled(key, id, webhook) })
	added := notify.Of(before, &ro.Status, &ro.Spec, image)
	now := n.now()
	for i := range added {
		added[i].Time.Time = now
		added[i].ID = shortHash(fmt.Appendf(nil, "%s %s %d %d", ro.UID, added[i].Event, added[i].Step, now.UnixNano()))
	}
	kept, dropped := notify.Queue(left, added)
	ro.Status.Notifications = kept
	return dropped
}

// drop tells people what no webhook will be told, because too many messages waited.
func (n *notifier) drop(ro *v1alpha1.Rollout, dropped []v1alpha1.NotificationStatus) {
	for _, m := range dropped {
		for _, webhook := range m.To {
			n.metrics.notification(client.ObjectKeyFromObject(ro), webhook, notify.Dropped)
		}
		n.fail(ro, &m, fmt.Sprintf("webhooks %s are not told (too many messages wait)", strings.Join(m.To, ", ")))
	}
}

func (n *notifier) fail(ro *v1alpha1.Rollout, m *v1alpha1.NotificationStatus, why string) {
	n.events.Event(ro, eventType(true), "NotificationFailed", fmt.Sprintf("%s: %s", m.Event, why))
	n.log.Warn("rollout", "rollout", ro.Namespace+"/"+ro.Name, "notification", m.Event, "id", m.ID, "problem", why)
}

// Reconcile tells every webhook of one Rollout the first message that waits for it, all at once.
func (n *notifier) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	ro := &v1alpha1.Rollout{}
	if err := n.live.Get(ctx, req.NamespacedName, ro); err != nil {
		if apierrors.IsNotFound(err) {
			n.keep(req.NamespacedName, nil)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	ro.Default()
	n.keep(req.NamespacedName, ro.Status.Notifications)
	told := func(id, webhook string) bool { return n.isSettled(req.NamespacedName, id, webhook) }
	pauses := make([]time.Duration, len(ro.Spec.Notifications))
	var all sync.WaitGroup
	for i := range ro.Spec.Notifications {
		webhook := &ro.Spec.Notifications[i]
		if m := notify.Next(ro.Status.Notifications, webhook.Name, told); m != nil {
			all.Go(func() { pauses[i] = n.tell(ctx, ro, webhook, m) })
		}
	}
	all.Wait() // every try has its own bound
	if slices.Contains(pauses, again) {
		select {
		case n.told <- event.GenericEvent{Object: ro}:
		case <-ctx.Done():
		}
	}
	return ctrl.Result{RequeueAfter: soonest(pauses...)}, nil
}

// again is the pause after a message that is settled: the next one may follow.
const again = time.Millisecond

// tell makes one try, and says when to look again; 0 for never.
func (n *notifier) tell(ctx context.Context, ro *v1alpha1.Rollout, webhook *v1alpha1.RolloutNotification, m *v1alpha1.NotificationStatus) time.Duration {
	err := n.post(ctx, ro, webhook, m)
	if ctx.Err() != nil {
		return 0 // we stop; the next one tries again
	}
	since := m.Time.Time
	if since.Before(n.began) {
		since = n.began // nobody tried while no controller ran
	}
	verdict, pause := notify.Judge(err, n.now().Sub(since))
	if verdict == notify.TryAgain {
		n.log.Info("rollout", "rollout", ro.Namespace+"/"+ro.Name, "webhook", webhook.Name, "notification", m.Event, "problem", err, "again", pause)
		return pause
	}
	if err != nil {
		n.fail(ro, m, fmt.Sprintf("webhook %s is not told: %v", webhook.Name, err))
	}
	key := client.ObjectKeyFromObject(ro)
	n.metrics.notification(key, webhook.Name, verdict)
	n.settle(key, settlement{m.ID, webhook.Name})
	return again
}

func (n *notifier) post(ctx context.Context, ro *v1alpha1.Rollout, webhook *v1alpha1.RolloutNotification, m *v1alpha1.NotificationStatus) error {
	ctx, cancel := context.WithTimeout(ctx, webhook.Timeout.Duration)
	defer cancel()
	address, err := n.address(ctx, ro.Namespace, webhook)
	if err != nil {
		return err
	}
	subject := notify.Subject{Namespace: ro.Namespace, Rollout: ro.Name}
	if _, plan := ro.Spec.Strategy.Use(); plan != nil {
		subject.Steps = len(plan.Steps)
	}
	body, err := notify.Body(webhook.Format, subject, m)
	if err != nil {
		return err
	}
	return notify.Post(ctx, n.client, address, body)
}

// address is where a webhook is. A Secret is read each time: it may have been corrected.
func (n *notifier) address(ctx context.Context, namespace string, webhook *v1alpha1.RolloutNotification) (string, error) {
	ref := webhook.SecretRef
	if ref == nil {
		return webhook.URL, nil
	}
	s := &corev1.Secret{}
	if err := n.live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, s); err != nil {
		if apierrors.IsNotFound(err) {
			return "", fmt.Errorf("Secret %s does not exist", ref.Name)
		}
		return "", fmt.Errorf("read Secret %s: %w", ref.Name, err)
	}
	address := strings.TrimSpace(string(s.Data[ref.Key]))
	if address == "" {
		return "", errors.New("Secret " + ref.Name + " has no key " + ref.Key)
	}
	return address, nil
}

func (n *notifier) isSettled(key types.NamespacedName, id, webhook string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.settled[key][settlement{id, webhook}]
}

func (n *notifier) settle(key types.NamespacedName, s settlement) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.settled[key] == nil {
		n.settled[key] = map[settlement]bool{}
	}
	n.settled[key][s] = true
}

// keep forgets what the status does not wait for any more. Nobody else forgets, so that a status that was read before it
// was written is never taken for one that still waits.
func (n *notifier) keep(key types.NamespacedName, waiting []v1alpha1.NotificationStatus) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for s := range n.settled[key] {
		if !slices.ContainsFunc(waiting, func(m v1alpha1.NotificationStatus) bool { return m.ID == s.id && slices.Contains(m.To, s.webhook) }) {
			delete(n.settled[key], s)
		}
	}
	if len(n.settled[key]) == 0 {
		delete(n.settled, key)
	}
}
