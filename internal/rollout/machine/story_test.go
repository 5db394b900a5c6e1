package machine

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"sigs.k8s.io/yaml"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/rollout/notify"
)

// TestStories tells the stories of testdata. The world of a story does what it is asked for at once, unless told not to:
//
//	rollout                  # its spec, as YAML; again, to change the plan
//	workload size=10 template=v1 ready=9 gone   # what somebody else does to the workload
//	new broken | fixed       # pods of the new version become ready, or do not
//	replace broken | fixed   # pods of the new version within the workload do not become ready
//	routes broken | fixed
//	check STAGE NAME Failed  # the verdict of a check
//	command approve
//	delete | recreate        # the Rollout
//	pass 30s
//
// "run" decides until nothing moves any more, and prints every state and what changed in the world, events with an
// exclamation mark, and what webhooks are told with an angle bracket.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := newWorld()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			out, err := w.tell(d)
			if err != nil {
				d.Fatalf(t, "%s: %v", d.Pos, err)
			}
			return out
		})
	})
}

// world is a workload, an extra one, Services and routes, as simple as can be.
type world struct {
	now     time.Time
	rollout v1alpha1.Rollout
	last    Desired
	shown   string

	exists         bool
	size           int32
	template       string
	stableShort    int32            // stable pods that are not ready
	pods           map[string]int32 // pods of the workload, by revision
	held           bool
	extraRevision  string
	extra          int32
	broken         bool // pods of a version that is not the stable one do not become ready
	routesBroken   bool
	command        string
	deleting, gone bool
	generation     int64
	check          func(*world, Decision) error // of property tests
	replaceBroken  bool
}

func newWorld() *world {
	return &world{now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), exists: true, size: 4, template: "v1", pods: map[string]int32{"v1": 4}}
}

func (w *world) tell(d *datadriven.TestData) (string, error) {
	switch d.Cmd {
	case "rollout":
		spec := v1alpha1.RolloutSpec{}
		if err := yaml.UnmarshalStrict([]byte(d.Input), &spec); err != nil {
			return "", err
		}
		spec.WorkloadRef.APIVersion, spec.WorkloadRef.Name = "apps/v1", "web"
		if spec.WorkloadRef.Kind == "" {
			spec.WorkloadRef.Kind = "Deployment"
		}
		return "", w.setSpec(spec)
	case "run":
		return w.run()
	}
	lines := append([]string{d.Cmd + " " + argString(d)}, strings.Split(d.Input, "\n")...)
	for _, line := range lines {
		if f := strings.Fields(line); len(f) > 0 {
			if err := w.set(f); err != nil {
				return "", err
			}
		}
	}
	return "", nil
}

func argString(d *datadriven.TestData) string {
	var words []string
	for _, a := range d.CmdArgs {
		words = append(words, strings.TrimSpace(a.Key+map[bool]string{true: "=" + strings.Join(a.Vals, ",")}[len(a.Vals) > 0]))
	}
	return strings.Join(words, " ")
}

func (w *world) setSpec(spec v1alpha1.RolloutSpec) error {
	w.rollout.Spec = spec
	w.rollout.Default()
	w.generation++
	if errs := w.rollout.Validate(); len(errs) > 0 {
		return errs.ToAggregate()
	}
	return nil
}

func (w *world) set(f []string) error {
	switch f[0] {
	case "workload":
		for _, a := range f[1:] {
			k, v, _ := strings.Cut(a, "=")
			n, err := strconv.Atoi(v)
			switch k {
			case "template":
				w.template, err = v, nil
			case "size":
				w.size = int32(n)
			case "ready":
				w.stableShort = w.size - int32(n)
			case "gone":
				w.exists, w.pods, err = false, map[string]int32{}, nil
			}
			if err != nil {
				return err
			}
		}
	case "new":
		w.broken = f[1] == "broken"
	case "replace":
		w.replaceBroken = f[1] == "broken"
	case "routes":
		w.routesBroken = f[1] == "broken"
	case "check":
		w.verdict(f[1], f[2], v1alpha1.AnalysisPhase(f[3]))
	case "status":
		w.rollout.Status.StepState = v1alpha1.StepState(f[1])
	case "command":
		w.command = strings.Join(f[1:], " ")
	case "delete":
		w.deleting = true
	case "recreate":
		w.deleting, w.rollout.Status = false, v1alpha1.RolloutStatus{}
	case "pass":
		d, err := time.ParseDuration(f[1])
		w.now = w.now.Add(d)
		return err
	default:
		return fmt.Errorf("unknown: %s", f[0])
	}
	return nil
}

func (w *world) verdict(stage, name string, phase v1alpha1.AnalysisPhase) {
	st := &w.rollout.Status
	for i := range st.Analysis {
		if a := &st.Analysis[i]; a.Stage == stage && a.Name == name {
			a.Phase, a.Value = phase, "0.5"
			return
		}
	}
	st.Analysis = append(st.Analysis, v1alpha1.AnalysisStatus{Stage: stage, Name: name, Phase: phase, Value: "0.5"})
}

// observe is the world as the machine sees it.
func (w *world) observe() Observation {
	st := &w.rollout.Status
	o := Observation{
		Now: w.now, Spec: &w.rollout.Spec, Generation: w.generation, Deleting: w.deleting, Status: *st,
		Command: w.command, CommandText: w.command,
		StepsHash: stepsHash(&w.rollout.Spec),
		Workload: Workload{
			Exists: w.exists, Settled: true, Held: w.held, Size: w.size, Template: w.template, Image: "web:" + w.template,
			Stable: w.count(st.StableRevision), Updated: w.count(w.template), Canary: w.count(st.CanaryRevision), UpdatedHash: "hash-" + w.template,
		},
	}
	for _, n := range w.pods {
		o.Workload.Total += n
	}
	for revision, n := range w.pods {
		if n == o.Workload.Total {
			o.Workload.Serving, o.Workload.ServingHash = revision, "hash-"+revision
		}
	}
	if w.extraRevision != "" {
		o.Extra = Extra{Exists: true, Revision: w.extraRevision, Size: w.extra, Pods: Pods{w.extra, w.extra}}
		if w.broken {
			o.Extra.Ready, o.Extra.Problem = 0, "web-canary-x: CrashLoopBackOff"
		}
	}
	return o
}

func stepsHash(s *v1alpha1.RolloutSpec) string {
	_, use := s.Strategy.Use()
	b, err := yaml.Marshal(use.Steps)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func (w *world) count(revision string) Pods {
	p := Pods{w.pods[revision], w.pods[revision]}
	if revision == w.rollout.Status.StableRevision {
		p.Ready = max(0, p.Ready-w.stableShort)
	} else if (w.broken || w.replaceBroken) && w.rollout.Status.StableRevision != "" {
		p.Ready = 0
	}
	return p
}

// run decides until nothing moves by itself.
func (w *world) run() (string, error) {
	var out strings.Builder
	for i := 0; ; i++ {
		if i > 100 {
			return out.String(), fmt.Errorf("no end:\n%s", out.String())
		}
		before := w.fingerprint()
		d := Next(w.observe())
		w.command = ""
		for _, e := range d.Events {
			fmt.Fprintf(&out, "! %s: %s\n", e.Reason, e.Message)
		}
		if w.check != nil {
			if err := w.check(w, d); err != nil {
				return out.String(), err
			}
		}
		for _, n := range notify.Of(&w.rollout.Status, &d.Status, &w.rollout.Spec, "") {
			fmt.Fprintf(&out, "> %s: %s\n", n.Event, n.Message)
		}
		w.rollout.Status = d.Status
		if line := w.line(d); line != w.shown {
			w.shown = line
			out.WriteString(line + "\n")
		}
		w.apply(d.Desired)
		w.last = d.Desired
		if w.fingerprint() == before {
			return out.String(), nil
		}
	}
}

func (w *world) fingerprint() string {
	s := w.rollout.Status
	return fmt.Sprint(s.Phase, s.StepState, s.CurrentStep, s.PauseReason, s.PendingRevision, s.CanaryRevision, s.Route, w.template, w.pods, w.held, w.extra, w.extraRevision)
}

// line is a state, and what it asks for.
func (w *world) line(d Decision) string {
	s, x := d.Status, d.Desired
	line := strings.TrimSpace(fmt.Sprintf("%s %s %s", s.Phase, s.Progress, s.StepState))
	if s.PauseReason != "" {
		line += fmt.Sprintf(" (%s)", s.PauseReason)
	}
	line += ": " + string(x.Hold)
	if x.Hold == Batch {
		line += fmt.Sprintf(" %d new", x.Batch)
	}
	if x.Template != "" {
		line += ", template " + x.Template
	}
	if x.Extra != nil {
		line += fmt.Sprintf(", %d extra", *x.Extra)
	}
	if x.Pinned {
		line += ", pinned"
	}
	if r := x.Route; r != nil && r.Restored {
		line += ", routes restored"
	} else if r != nil {
		line += fmt.Sprintf(", %d%% to the new", r.Weight)
		if r.MatchesOfStep > 0 {
			line += fmt.Sprintf(" and the matches of step %d", r.MatchesOfStep)
		}
	}
	if len(x.Stages) > 0 && len(checksOf(&w.rollout.Spec, x.Stages)) > 0 {
		line += ", checks " + strings.Join(x.Stages, " ")
	}
	if x.Done {
		line += ", done"
	}
	return line
}

func checksOf(s *v1alpha1.RolloutSpec, stages []string) []v1alpha1.AnalysisCheck {
	var all []v1alpha1.AnalysisCheck
	for _, stage := range stages {
		all = append(all, Checks(s, stage)...)
	}
	return all
}

// apply does what is asked for, at once; readiness is another matter.
func (w *world) apply(x Desired) {
	if x.Template != "" && w.exists {
		w.template = x.Template
	}
	w.held = x.Hold == Held || x.Hold == Batch || x.Hold == Leave && w.held
	stable := w.rollout.Status.StableRevision
	if w.exists {
		w.resize(stable)
		switch {
		case x.Hold == Release, x.Hold == Leave && !w.held && len(w.pods) > 0:
			w.pods = map[string]int32{w.template: w.size}
		case x.Hold == Batch:
			n, other := max(w.pods[w.template], min(x.Batch, w.size)), stable
			if stable == w.template {
				other = w.rollout.Status.CanaryRevision // on the way back
			}
			w.pods = map[string]int32{w.template: n}
			if n < w.size {
				w.pods[other] = w.size - n
			}
		}
	}
	if x.Extra == nil {
		w.extra, w.extraRevision = 0, ""
	} else {
		w.extra = *x.Extra
		if w.extraRevision == "" {
			w.extraRevision = w.rollout.Status.CanaryRevision
		}
	}
	if r := w.rollout.Status.Route; r != nil && !w.routesBroken && !r.Applied {
		r.Applied, r.Since.Time = true, w.now
	}
	w.gone = x.Done
}

// resize lets the pods follow the size, old ones first.
func (w *world) resize(stable string) {
	total := int32(0)
	for _, n := range w.pods {
		total += n
	}
	if total == w.size {
		return
	}
	key := stable
	if key == "" || len(w.pods) == 1 {
		for k := range w.pods {
			key = k
		}
	}
	w.pods[key] = max(0, w.pods[key]+w.size-total)
}
