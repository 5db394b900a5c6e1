package v1alpha1

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The rules here are in the CRD too, beside the fields in rollout.go; a test runs every case through both. Validate
// speaks about a Rollout after Default.

const (
	maxSteps    = 50
	maxChecks   = 16
	maxMatches  = 16
	maxWebhooks = 8
)

var (
	percentage     = regexp.MustCompile(`^([0-9]|[1-9][0-9]|100)%$`)
	somePercentage = regexp.MustCompile(`^([1-9]|[1-9][0-9]|100)%$`)
	webAddress     = regexp.MustCompile(`^https?://\S+$`)
	cookieName     = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	hostedAddress  = regexp.MustCompile(`^https?://[^\s/?#]\S*$`)
	decimal        = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)
)

// Validate names every field that is wrong, what was expected there, and what to write instead.
func (r *Rollout) Validate() field.ErrorList {
	path, s := field.NewPath("spec"), &r.Spec
	var errs field.ErrorList
	if r.Name != "" && len(r.Name) > maxNameLength {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), r.Name, fmt.Sprintf("expected at most %d characters", maxNameLength)))
	} else if r.Name != "" {
		errs = append(errs, messages(validation.IsDNS1035Label(r.Name), r.Name, field.NewPath("metadata", "name"))...)
	}
	errs = append(errs, s.WorkloadRef.validate(path.Child("workloadRef"))...)
	errs = append(errs, s.validateStrategy(path.Child("strategy"))...)
	if a := s.Analysis; a != nil {
		at := path.Child("analysis")
		errs = append(errs, validateChecks(a.Before, at.Child("before"))...)
		errs = append(errs, validateChecks(a.Background, at.Child("background"))...)
		errs = append(errs, validateChecks(a.After, at.Child("after"))...)
	}
	errs = append(errs, validateNotifications(s.Notifications, path.Child("notifications"))...)
	errs = append(errs, oneOf(s.OnFailure, path.Child("onFailure"), FailureRollback, FailurePause)...)
	errs = append(errs, oneOf(s.DeletionPolicy, path.Child("deletionPolicy"), DeletionKeep, DeletionPromote, DeletionRollback)...)
	errs = append(errs, lasting(s.StepDeadline, time.Second, 24*time.Hour, path.Child("stepDeadline"))...)
	errs = append(errs, lasting(s.MaxDuration, time.Second, 720*time.Hour, path.Child("maxDuration"))...)
	errs = append(errs, between(s.HistoryLimit, 1, 50, path.Child("historyLimit"))...)
	return append(errs, between(s.RollbackWindow, 0, 50, path.Child("rollbackWindow"))...)
}

// ValidateUpdate names what must not change.
func (r *Rollout) ValidateUpdate(old *Rollout) field.ErrorList {
	if r.Spec.WorkloadRef != old.Spec.WorkloadRef {
		return field.ErrorList{field.Forbidden(field.NewPath("spec", "workloadRef"), "it cannot be changed; make another Rollout")}
	}
	return nil
}

func (w *WorkloadReference) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if w.APIVersion != "apps/v1" {
		errs = append(errs, field.Invalid(path.Child("apiVersion"), w.APIVersion, "expected apps/v1"))
	}
	switch w.Kind {
	case "Deployment", "StatefulSet", "DaemonSet":
	default:
		errs = append(errs, field.NotSupported(path.Child("kind"), w.Kind, []string{"Deployment", "StatefulSet", "DaemonSet"}))
	}
	return append(errs, named(w.Name, 63, path.Child("name"))...)
}

func (s *RolloutSpec) validateStrategy(path *field.Path) field.ErrorList {
	c := s.Strategy
	given := 0
	for _, x := range []*StrategySpec{c.Canary, c.BlueGreen, c.Partition} {
		if x != nil {
			given++
		}
	}
	if given != 1 {
		return field.ErrorList{field.Invalid(path, fmt.Sprintf("%d of them", given), "expected exactly one of canary, blueGreen and partition")}
	}
	name, use := c.Use()
	at := path.Child(name)
	var errs field.ErrorList
	if s.WorkloadRef.Kind != "Deployment" && c.Partition == nil {
		errs = append(errs, field.Forbidden(path, "only a Deployment can have a second set of pods; write partition"))
	}
	if use.ScaleDownDelay != nil && c.BlueGreen == nil {
		errs = append(errs, field.Forbidden(at.Child("scaleDownDelay"), "only blueGreen keeps the old pods; remove it"))
	}
	if use.PatchPodTemplateMetadata != nil && c.Partition != nil {
		errs = append(errs, field.Forbidden(at.Child("patchPodTemplateMetadata"), "pods that are replaced in place are those of the workload; remove it"))
	}
	if c.Partition != nil && len(use.TrafficRoutings) > 0 {
		for i, step := range use.Steps {
			if n := step.Replicas; n != nil && n.Type == intstr.String && n.StrVal == "100%" && (step.Traffic == nil || *step.Traffic != "100%") {
				errs = append(errs, field.Forbidden(at.Child("steps").Index(i).Child("replicas"),
					"no old pod is left at 100%, so the new version must get all traffic; write traffic: 100% too, or fewer replicas"))
			}
		}
	}
	if c.BlueGreen != nil {
		for i, step := range use.Steps {
			if step.Replicas != nil {
				errs = append(errs, field.Forbidden(at.Child("steps").Index(i).Child("replicas"), "the second set is always full; remove it"))
			}
		}
		if len(use.TrafficRoutings) == 0 {
			errs = append(errs, field.Required(at.Child("trafficRoutings"), "expected what to switch"))
		}
	}
	return append(errs, use.validate(at)...)
}

func (s *StrategySpec) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	steps := path.Child("steps")
	if len(s.Steps) == 0 {
		errs = append(errs, field.Required(steps, "expected at least one step"))
	}
	if len(s.Steps) > maxSteps {
		errs = append(errs, field.TooMany(steps, len(s.Steps), maxSteps))
	}
	for i := range s.Steps {
		errs = append(errs, s.Steps[i].validate(steps.Index(i), len(s.TrafficRoutings) > 0)...)
	}
	routings := path.Child("trafficRoutings")
	if len(s.TrafficRoutings) > 8 {
		errs = append(errs, field.TooMany(routings, len(s.TrafficRoutings), 8))
	}
	for i := range s.TrafficRoutings {
		errs = append(errs, s.TrafficRoutings[i].validate(routings.Index(i))...)
	}
	if t := s.FailureThreshold; t != nil && (t.Type == intstr.Int && t.IntVal < 0 || t.Type == intstr.String && !percentage.MatchString(t.StrVal)) {
		errs = append(errs, field.Invalid(path.Child("failureThreshold"), t.String(), "expected a number of pods, or a percentage such as 20%"))
	}
	return append(errs, lasting(s.ScaleDownDelay, 0, 168*time.Hour, path.Child("scaleDownDelay"))...)
}

func (s *RolloutStep) validate(path *field.Path, routed bool) field.ErrorList {
	var errs field.ErrorList
	if s.Replicas == nil && s.Traffic == nil && s.Matches == nil && s.Analysis == nil && s.Pause == nil {
		errs = append(errs, field.Required(path, "expected replicas, traffic, matches, analysis or pause"))
	}
	if n := s.Replicas; n != nil && (n.Type == intstr.Int && n.IntVal < 1 || n.Type == intstr.String && !somePercentage.MatchString(n.StrVal)) {
		errs = append(errs, field.Invalid(path.Child("replicas"), n.String(), "expected a number of pods from 1, or a percentage such as 20%"))
	}
	if s.Traffic != nil && !percentage.MatchString(*s.Traffic) {
		errs = append(errs, field.Invalid(path.Child("traffic"), *s.Traffic, "expected a percentage from 0% to 100%, such as 20%"))
	}
	if !routed && (s.Traffic != nil || s.Matches != nil || s.RequestHeaderModifier != nil) {
		errs = append(errs, field.Forbidden(path, "traffic, matches and requestHeaderModifier need trafficRoutings; add what routes requests to the workload, or remove them"))
	}
	if len(s.Matches) > maxMatches {
		errs = append(errs, field.TooMany(path.Child("matches"), len(s.Matches), maxMatches))
	}
	for i := range s.Matches {
		errs = append(errs, s.Matches[i].validate(path.Child("matches").Index(i))...)
	}
	errs = append(errs, validateChecks(s.Analysis, path.Child("analysis"))...)
	if s.Pause != nil {
		errs = append(errs, lasting(s.Pause.Duration, time.Second, 720*time.Hour, path.Child("pause", "duration"))...)
	}
	return errs
}

func (m *RouteMatch) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p := m.Path; p != nil {
		errs = append(errs, oneOf(p.Type, path.Child("path", "type"), "Exact", "PathPrefix", "RegularExpression")...)
		if p.Value == "" {
			errs = append(errs, field.Required(path.Child("path", "value"), "expected a path"))
		}
	}
	for name, values := range map[string][]ValueMatch{"headers": m.Headers, "queryParams": m.QueryParams} {
		for i, v := range values {
			at := path.Child(name).Index(i)
			errs = append(errs, oneOf(v.Type, at.Child("type"), "Exact", "RegularExpression")...)
			if v.Name == "" {
				errs = append(errs, field.Required(at.Child("name"), "expected a name"))
			}
			if v.Value == "" {
				errs = append(errs, field.Required(at.Child("value"), "expected a value"))
			}
		}
	}
	return errs
}

func (t *TrafficRouting) validate(path *field.Path) field.ErrorList {
	errs := named(t.Service, 56, path.Child("service"))
	errs = append(errs, between(t.GracePeriodSeconds, 0, 600, path.Child("gracePeriodSeconds"))...)
	if t.Ingress == nil && t.Gateway == nil && len(t.CustomNetworkRefs) == 0 {
		errs = append(errs, field.Required(path, "expected ingress, gateway or customNetworkRefs"))
	}
	if t.Ingress != nil {
		errs = append(errs, named(t.Ingress.Name, 246, path.Child("ingress", "name"))...)
	}
	if g := t.Gateway; g != nil && (g.HTTPRouteName == "") == (g.GRPCRouteName == "") {
		errs = append(errs, field.Invalid(path.Child("gateway"), "", "expected either httpRouteName or grpcRouteName"))
	}
	if a := t.SessionAffinity; a != nil {
		at := path.Child("sessionAffinity")
		if !cookieName.MatchString(a.CookieName) || len(a.CookieName) > 64 {
			errs = append(errs, field.Invalid(at.Child("cookieName"), a.CookieName, "expected up to 64 letters, digits, - and _, such as frontend-version"))
		}
		errs = append(errs, lasting(a.MaxAge, time.Second, 720*time.Hour, at.Child("maxAge"))...)
	}
	if len(t.CustomNetworkRefs) > 8 {
		errs = append(errs, field.TooMany(path.Child("customNetworkRefs"), len(t.CustomNetworkRefs), 8))
	}
	for i, ref := range t.CustomNetworkRefs {
		at := path.Child("customNetworkRefs").Index(i)
		for _, f := range []struct{ name, value string }{{"apiVersion", ref.APIVersion}, {"kind", ref.Kind}, {"name", ref.Name}} {
			if f.value == "" {
				errs = append(errs, field.Required(at.Child(f.name), "expected the object that routes requests"))
			}
		}
	}
	return errs
}

func validateChecks(checks []AnalysisCheck, path *field.Path) field.ErrorList {
	return validateNamed(checks, maxChecks, path, func(c *AnalysisCheck) string { return c.Name }, (*AnalysisCheck).validate)
}

// validateNamed checks a list whose items have names of their own, and each item.
func validateNamed[T any](items []T, most int, path *field.Path, name func(*T) string, validate func(*T, *field.Path) field.ErrorList) field.ErrorList {
	var errs field.ErrorList
	if len(items) > most {
		errs = append(errs, field.TooMany(path, len(items), most))
	}
	seen := map[string]bool{}
	for i := range items {
		n, at := name(&items[i]), path.Index(i)
		errs = append(errs, messages(validation.IsDNS1035Label(n), n, at.Child("name"))...)
		if seen[n] {
			errs = append(errs, field.Duplicate(at.Child("name"), n))
		}
		seen[n] = true
		errs = append(errs, validate(&items[i], at)...)
	}
	return errs
}

func (c *AnalysisCheck) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	given := 0
	for _, is := range []bool{c.Prometheus != nil, c.HTTP != nil, c.Job != nil} {
		if is {
			given++
		}
	}
	if given != 1 {
		errs = append(errs, field.Invalid(path, c.Name, "expected exactly one of prometheus, http and job"))
	}
	if c.HTTP == nil && c.Job == nil && c.SuccessCondition == "" && c.FailureCondition == "" && (c.Prometheus == nil || c.Prometheus.Template == "") {
		errs = append(errs, field.Required(path.Child("successCondition"), "expected a successCondition or a failureCondition, for example result >= 0.99"))
	}
	if p := c.Prometheus; p != nil {
		at := path.Child("prometheus")
		switch {
		case p.Address == "" && p.Template != "" && (p.Gateway == "" || p.Gateway == GatewayRedstart):
		case p.Address == "":
			errs = append(errs, field.Required(at.Child("address"), "expected the address of a Prometheus; only a template for the gateway of redstart up can do without"))
		case !webAddress.MatchString(p.Address):
			errs = append(errs, field.Invalid(at.Child("address"), p.Address, "expected an address such as http://prometheus:9090"))
		}
		if (p.Query == "") == (p.Template == "") {
			errs = append(errs, field.Invalid(at, c.Name, "expected either query or template"))
		}
		errs = append(errs, oneOf(p.Template, at.Child("template"), "success-rate", "p99")...)
		errs = append(errs, oneOf(p.Gateway, at.Child("gateway"), GatewayRedstart, GatewayTraefik, GatewayIstio, GatewayContour, GatewayNginx)...)
		if p.Gateway != "" && p.Template == "" {
			errs = append(errs, field.Forbidden(at.Child("gateway"), "only a template asks for the metrics of a gateway; remove it"))
		}
		if p.Threshold != "" && (p.Template == "" || !decimal.MatchString(p.Threshold)) {
			errs = append(errs, field.Invalid(at.Child("threshold"), p.Threshold, "expected a number such as 0.99, beside a template"))
		}
	}
	if h := c.HTTP; h != nil {
		at := path.Child("http")
		if !webAddress.MatchString(h.URL) {
			errs = append(errs, field.Invalid(at.Child("url"), h.URL, "expected an address such as http://frontend/health"))
		}
		errs = append(errs, oneOf(h.Method, at.Child("method"), "GET", "HEAD", "POST")...)
		errs = append(errs, lasting(h.Timeout, 100*time.Millisecond, time.Minute, at.Child("timeout"))...)
	}
	if j := c.Job; j != nil {
		if c.SuccessCondition != "" || c.FailureCondition != "" {
			errs = append(errs, field.Forbidden(path.Child("job"), "a Job says itself whether it succeeded; remove successCondition and failureCondition"))
		}
		errs = append(errs, lasting(j.Timeout, time.Second, 24*time.Hour, path.Child("job", "timeout"))...)
	}
	errs = append(errs, lasting(c.InitialDelay, 0, 24*time.Hour, path.Child("initialDelay"))...)
	errs = append(errs, lasting(c.Interval, 100*time.Millisecond, 24*time.Hour, path.Child("interval"))...)
	errs = append(errs, between(c.Count, 1, 10000, path.Child("count"))...)
	errs = append(errs, between(c.FailureLimit, 0, 10000, path.Child("failureLimit"))...)
	errs = append(errs, between(c.InconclusiveLimit, 0, 10000, path.Child("inconclusiveLimit"))...)
	return append(errs, between(c.ConsecutiveErrorLimit, 0, 10000, path.Child("consecutiveErrorLimit"))...)
}

func validateNotifications(webhooks []RolloutNotification, path *field.Path) field.ErrorList {
	return validateNamed(webhooks, maxWebhooks, path, func(n *RolloutNotification) string { return n.Name }, (*RolloutNotification).validate)
}

func (n *RolloutNotification) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case (n.URL == "") == (n.SecretRef == nil):
		errs = append(errs, field.Invalid(path, n.Name, "expected either url or secretRef"))
	case n.URL != "" && !hostedAddress.MatchString(n.URL):
		errs = append(errs, field.Invalid(path.Child("url"), n.URL, "expected an address such as https://hooks.example.com/deployments"))
	case n.SecretRef != nil:
		errs = append(errs, named(n.SecretRef.Name, 253, path.Child("secretRef", "name"))...)
	}
	errs = append(errs, oneOf(n.Format, path.Child("format"), NotificationSlack, NotificationJSON)...)
	if len(n.Events) > len(NotificationEvents()) {
		errs = append(errs, field.TooMany(path.Child("events"), len(n.Events), len(NotificationEvents())))
	}
	for i, e := range n.Events {
		if !slices.Contains(NotificationEvents(), e) {
			errs = append(errs, field.NotSupported(path.Child("events").Index(i), e, NotificationEvents()))
		}
	}
	return append(errs, lasting(n.Timeout, 100*time.Millisecond, 30*time.Second, path.Child("timeout"))...)
}

func named(name string, most int, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "expected a name")}
	}
	if len(name) > most {
		return field.ErrorList{field.TooLong(path, name, most)}
	}
	return nil
}
