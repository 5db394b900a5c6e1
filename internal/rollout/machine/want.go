package machine

import (
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"redstart.dev/redstart/api/v1alpha1"
)

// desired is what the state asks of the world.
func (m *machine) desired() Desired {
	d := Desired{Hold: Held, Template: m.st.PendingRevision}
	switch m.st.Phase {
	case v1alpha1.RolloutWaiting:
		d.Hold, d.Template = Leave, ""
	case v1alpha1.RolloutProgressing, v1alpha1.RolloutPaused:
		m.wantStep(&d)
	case v1alpha1.RolloutPromoting:
		m.wantPromotion(&d)
	case v1alpha1.RolloutRollingBack:
		m.wantReturn(&d)
	case v1alpha1.RolloutDisabled, v1alpha1.RolloutTerminating:
		if m.st.StepState != "" {
			m.wantReturn(&d)
		} else {
			m.wantGone(&d)
		}
	}
	if !m.Workload.Exists || m.Workload.Taken != "" {
		d.Hold, d.Template = Leave, ""
	}
	if d.Route != nil {
		m.tell(*d.Route)
	}
	return d
}

// tell remembers what the routes are told, and since when.
func (m *machine) tell(r Route) {
	is := m.st.Route
	if is == nil || is.Weight != r.Weight || is.MatchesOfStep != r.MatchesOfStep || is.Restored != r.Restored {
		m.st.Route = &v1alpha1.RouteStatus{Weight: r.Weight, MatchesOfStep: r.MatchesOfStep, Restored: r.Restored, Since: metav1.NewMicroTime(m.Now)}
	}
}

func (m *machine) wantStep(d *Desired) {
	step := m.st.CurrentStep
	preparing := m.st.StepState == v1alpha1.StepPreparing
	d.Stages = []string{StageBackground, stageOf(step)}
	if m.st.StepState != v1alpha1.StepAnalyzing {
		d.Stages = d.Stages[:1]
	}
	if preparing {
		d.Stages = []string{StageBefore}
	}
	if m.st.Phase == v1alpha1.RolloutPaused && m.st.StepState != v1alpha1.StepWaiting {
		d.Stages = nil
	}
	if m.inPlace() {
		if !preparing && m.replaced() {
			m.wantBatch(d, m.target(step))
		}
	} else if !preparing {
		n := m.target(step)
		if m.st.StepState == v1alpha1.StepUpgrading || m.st.StepState == v1alpha1.StepRouting {
			n = max(n, min(m.Extra.Size, m.Workload.Size)) // pods go only after their traffic has gone
		}
		d.Extra = &n
	} else if m.Extra.Exists && m.Extra.Revision == m.st.CanaryRevision {
		n := m.Extra.Size // a restart begins with what is there
		d.Extra = &n
	}
	if !m.routed() {
		return
	}
	d.Pinned, d.CanaryService = true, true
	if m.inPlace() {
		m.wantPinned(d)
	}
	switch m.st.StepState {
	case v1alpha1.StepPreparing:
		d.Route = &Route{Weight: m.taken(0)}
	case v1alpha1.StepUpgrading:
		d.Route = m.routeMeanwhile(step)
	default:
		d.Route = m.routeOf(step)
	}
}

// routeMeanwhile is what the routes say while the pods of a step start: what they said before, but no more than the two
// steps ask for, and than the pods bear.
func (m *machine) routeMeanwhile(step int32) *Route {
	r, is := m.routeOf(step-1), m.st.Route
	if is == nil || is.Restored {
		return r
	}
	weight := min(is.Weight, max(m.asked(step-1), m.asked(step)))
	need := min((weight*m.Workload.Size+99)/100, m.target(step), max(1, m.target(step-1)))
	r.Weight = m.taken(m.bounded(weight, m.enough(need)))
	if m.inPlace() {
		r.Weight = max(r.Weight, m.rising(m.asked(step), m.target(step)))
	}
	if at := is.MatchesOfStep; at > 0 && at <= step && m.newPods().Ready > 0 {
		r.MatchesOfStep, r.HeadersOfStep = at, at
	}
	return r
}

// asked is the share of the traffic that a step asks for.
func (m *machine) asked(step int32) int32 {
	for i := min(step, m.steps()); i >= 1; i-- {
		s := m.plan.Steps[i-1]
		if s.Traffic != nil {
			return percent(*s.Traffic)
		}
		if len(s.Matches) > 0 {
			return 0
		}
	}
	return 0
}

func (m *machine) wantPromotion(d *Desired) {
	if !m.routed() {
		m.wantReplacing(d)
		return
	}
	most := m.most()
	d.Pinned, d.CanaryService = true, true
	if !m.inPlace() {
		d.Extra = &most
	} else if !m.pastReturn() {
		m.wantPinned(d)
		if m.replaced() {
			m.wantBatch(d, most)
		}
	}
	all := &Route{Weight: m.bounded(100, most)}
	switch m.st.StepState {
	case v1alpha1.StepExpanding:
		d.Route, d.Stages = m.routeOf(m.steps()), []string{StageBackground}
		if m.inPlace() {
			d.Route.Weight = max(d.Route.Weight, m.rising(100, most))
		}
	case v1alpha1.StepRouting, v1alpha1.StepKeeping:
		d.Route = all
	case v1alpha1.StepAnalyzing:
		d.Route, d.Stages = all, []string{StageAfter}
	case v1alpha1.StepReplacing:
		// A still newer version waits: half of the old pods may be gone, so there is no clean way back. Who comes through the
		// workload's own Service must not be left without a pod when the last of them goes.
		d.Route, d.Pinned, d.Hold, d.Template = all, false, Release, m.st.CanaryRevision
		if m.Workload.Template != m.st.CanaryRevision {
			m.st.PendingRevision = m.Workload.Template
		}
	case v1alpha1.StepRestoring:
		// The pods that took the place of the old ones are the stable ones now: the Services leave the extra pods before the
		// routes come back to them, and long before those pods go.
		d.Route = all
	case v1alpha1.StepDraining:
		d.Route = &Route{Restored: true}
	default:
		d.Route, d.CanaryService, d.Extra = &Route{Restored: true}, false, nil
	}
	if m.st.StepState != v1alpha1.StepReplacing && m.pastReturn() {
		d.Template = ""
	}
}

// wantReplacing is a promotion without routes.
func (m *machine) wantReplacing(d *Desired) {
	last := m.target(m.steps())
	switch m.st.StepState {
	case v1alpha1.StepReplacing:
		d.Hold, d.Template = Release, ""
		if !m.inPlace() {
			d.Template = m.st.CanaryRevision
			if m.Workload.Template != m.st.CanaryRevision {
				m.st.PendingRevision = m.Workload.Template
			}
		}
	case v1alpha1.StepRestoring, v1alpha1.StepCleaning:
		d.Template = ""
	default:
		if m.inPlace() && m.replaced() {
			d.Hold, d.Batch = Batch, last
		}
		if m.st.StepState == v1alpha1.StepAnalyzing {
			d.Stages = []string{StageAfter}
		}
	}
	if !m.inPlace() && m.st.StepState != v1alpha1.StepCleaning {
		d.Extra = &last
	}
}

// wantReturn is the way back.
func (m *machine) wantReturn(d *Desired) {
	if m.shared() {
		if m.leaving() {
			m.wantLeft(d)
		} else {
			m.wantBack(d)
		}
		return
	}
	if m.inPlace() {
		if m.st.StepState == v1alpha1.StepReverting {
			d.Hold = Release
			if m.Workload.Template == m.st.CanaryRevision {
				d.Template = m.st.StableRevision
			}
		}
		return
	}
	if m.routed() {
		switch m.st.StepState {
		case v1alpha1.StepStableFirst:
			weight := int32(0)
			if m.st.Route != nil {
				weight = m.returning(m.st.Route.Weight)
			}
			d.Pinned, d.CanaryService, d.Route = true, true, &Route{Weight: weight}
		case v1alpha1.StepDraining:
			d.Pinned, d.CanaryService, d.Route = true, true, &Route{Restored: true}
		default:
			// The Services select the stable pods alone until the last of the others is gone.
			d.Pinned, d.Route = m.Extra.Exists, &Route{Restored: true}
		}
	}
	if m.st.StepState != v1alpha1.StepCleaning && m.Extra.Exists {
		n := m.Extra.Size
		d.Extra = &n
	}
}

// wantGone is the last word of a Rollout that lets go.
func (m *machine) wantGone(d *Desired) {
	d.Hold, d.Template, d.Done = Release, "", true
	if m.Workload.Template == m.st.StableRevision || m.st.StableRevision == "" || m.Workload.complete() {
		return
	}
	switch m.Spec.DeletionPolicy {
	case v1alpha1.DeletionPromote:
	case v1alpha1.DeletionRollback:
		d.Template = m.st.StableRevision
	default:
		d.Hold = Leave
	}
}

// target is how many pods the new version has at a step.
func (m *machine) target(step int32) int32 {
	size := m.Workload.Size
	if m.strategy == v1alpha1.StrategyBlueGreen {
		return size
	}
	most := int32(0)
	for _, s := range m.plan.Steps[:min(int(step), len(m.plan.Steps))] {
		n := int32(0)
		switch {
		case s.Replicas != nil:
			n = scaled(*s.Replicas, size)
		case s.Traffic != nil:
			n = (percent(*s.Traffic)*size + 99) / 100
		}
		if s.Replicas == nil && n == 0 {
			n = 1
		}
		most = max(most, min(n, m.most()))
	}
	return most
}

// enough is how many of want pods must be ready.
func (m *machine) enough(want int32) int32 {
	if m.plan.FailureThreshold == nil {
		return want
	}
	if less := want - scaled(*m.plan.FailureThreshold, want); less > 0 || want == 0 {
		return less
	}
	return 1
}

// scaled is a number, or a percentage of size, rounded up.
func scaled(v intstr.IntOrString, size int32) int32 {
	if v.Type == intstr.Int {
		return v.IntVal
	}
	return (percent(v.StrVal)*size + 99) / 100
}

// percent reads a percentage of a valid spec.
func percent(s string) int32 {
	n, err := strconv.Atoi(strings.TrimSuffix(s, "%"))
	if err != nil {
		return 0
	}
	return int32(n)
}

// routeOf is what the routes say at a step: what the step asks for, as far as the pods bear it.
func (m *machine) routeOf(step int32) *Route {
	if step < 1 {
		return &Route{}
	}
	r := &Route{}
	s := m.plan.Steps[step-1]
	if len(s.Matches) > 0 && m.newPods().Ready > 0 {
		r.MatchesOfStep = step
	}
	if s.RequestHeaderModifier != nil {
		r.HeadersOfStep = step
	}
	r.Weight = m.bounded(m.asked(step), m.enough(m.target(step)))
	r.Weight = m.taken(r.Weight)
	return r
}

// routeIsAt tells whether the routes say what a step asks for.
func (m *machine) routeIsAt(step int32) bool {
	r, is := m.routeOf(step), m.st.Route
	return is != nil && !is.Restored && is.Weight == r.Weight && is.MatchesOfStep == r.MatchesOfStep
}

// bounded is the share of the new version, weight as far as its ready pods bear it: need of them bear all of it. What it
// does not bear goes to the stable version, as far as that bears it.
func (m *machine) bounded(weight, need int32) int32 {
	ready := m.newPods().Ready
	bears := weight
	if m.shared() {
		need = max(1, need) // without room for a new pod there is none that bears anything
	}
	if need > 0 {
		bears = weight * min(ready, need) / need
	}
	if bears >= weight {
		return weight
	}
	if ready == 0 && m.Workload.Stable.Ready > 0 {
		return 0
	}
	return max(bears, min(weight, 100-m.stableBears()))
}

// taken is a weight that a step asks for; less than what the routes say waits until the stable version can take the rest.
func (m *machine) taken(weight int32) int32 {
	if is := m.st.Route; is != nil && !is.Restored && m.Workload.Stable.Ready == 0 && m.newPods().Ready > 0 {
		return max(weight, is.Weight)
	}
	return weight
}

// returning is the share of the new version on the way back: what the stable version cannot bear yet.
func (m *machine) returning(weight int32) int32 {
	if m.newPods().Ready == 0 && m.Workload.Stable.Ready > 0 || m.alone() {
		return 0 // of one pod, the Service of the workload leads to it, whatever it is
	}
	return min(weight, 100-m.stableBears())
}

// stableBears is the share of the traffic that the ready pods of the stable version bear, in percent.
func (m *machine) stableBears() int32 {
	need := m.enough(m.Workload.Size)
	if m.shared() {
		need = m.enough(max(1, m.most()))
	}
	if need <= 0 {
		return 100
	}
	return 100 * min(m.Workload.Stable.Ready, need) / need
}

// again is when time alone may change something.
func (m *machine) again() time.Duration {
	if m.moved {
		return time.Millisecond
	}
	var waits []time.Duration
	add := func(from *metav1.Time, d time.Duration) {
		if from != nil && d > 0 {
			waits = append(waits, max(d-m.Now.Sub(from.Time), 10*time.Millisecond))
		}
	}
	if m.releasing() {
		if r := m.st.Route; r != nil && r.Applied && !m.arrived() {
			waits = append(waits, m.grace()-m.Now.Sub(r.Since.Time)+10*time.Millisecond)
		}
		if m.Spec.MaxDuration != nil {
			add(m.st.StartedAt, m.Spec.MaxDuration.Duration)
		}
		switch m.st.StepState {
		case v1alpha1.StepUpgrading, v1alpha1.StepExpanding:
			add(m.st.DeadlineFrom, m.Spec.StepDeadline.Duration)
			if m.shared() && m.since() < m.grace() {
				add(m.st.StepStateSince, m.grace())
			}
		case v1alpha1.StepRestoring:
			add(m.st.StepStateSince, m.grace())
		case v1alpha1.StepKeeping:
			if m.plan.ScaleDownDelay != nil {
				add(m.st.StepStateSince, m.plan.ScaleDownDelay.Duration)
			}
		case v1alpha1.StepWaiting:
			if step := m.st.CurrentStep; step >= 1 && step <= m.steps() {
				if p := m.plan.Steps[step-1].Pause; p != nil && p.Duration != nil {
					add(m.st.StepStateSince, p.Duration.Duration)
				}
			}
		}
	}
	if len(waits) == 0 {
		return 0
	}
	return max(slices.Min(waits), 10*time.Millisecond)
}
