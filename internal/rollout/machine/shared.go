package machine

import "redstart.dev/redstart/api/v1alpha1"

// Pods that are replaced in place share the workload with the old ones, and routes share the traffic between them. Two things
// are different then from a second set of pods. The old pods become fewer while the new ones become more, so traffic follows the
// pods within a step. And the last pod of a version goes only when that version gets no traffic, which is why both ways,
// forward and back, stop before it.

// learn notes the label of the new pods, which their Service selects from now on. The gateways get their time to follow.
func (m *machine) learn() {
	hash := m.Workload.UpdatedHash
	if !m.shared() || !m.releasing() || !m.replaced() || hash == "" || hash == m.st.CanaryPodHash {
		return
	}
	m.st.CanaryPodHash = hash
	if s := m.st.StepState; s == v1alpha1.StepUpgrading || s == v1alpha1.StepExpanding {
		now := stamp(m.Now)
		m.st.StepStateSince = &now
	}
}

// known tells whether the gateways have had the time to find the new pods.
func (m *machine) known() bool {
	return !m.shared() || m.Workload.Size == 0 || m.st.CanaryPodHash != "" && m.since() >= m.grace()
}

// alone tells whether there is no room for both versions.
func (m *machine) alone() bool { return m.shared() && m.Workload.Size == 1 }

// most is how many pods of the new version there are before it gets all the traffic.
func (m *machine) most() int32 {
	if m.shared() {
		return max(0, m.Workload.Size-1)
	}
	return m.Workload.Size
}

// wantBatch moves up to n pods to the template.
func (m *machine) wantBatch(d *Desired, n int32) {
	if n > 0 {
		d.Hold, d.Batch = Batch, n
	}
}

// wantPinned keeps the Service of the workload at the old pods, as long as there are any.
func (m *machine) wantPinned(d *Desired) {
	d.Pinned, d.CanaryService = m.Workload.Stable.Pods > 0, true
}

// rising is the share of the new version while its pods come up to n and the old ones go: what n of them are asked to take, as far
// as those that there are bear it.
func (m *machine) rising(weight, n int32) int32 {
	if !m.known() {
		return 0
	}
	return m.bounded(weight, m.enough(n))
}

// wantBack is the way back in place: old pods come back, traffic goes to them as far as they bear it, and the last new pod goes when
// it gets none. As long as no old pod is ready, the Service of the workload leads to whatever is. A still newer version waits
// meanwhile.
func (m *machine) wantBack(d *Desired) {
	w := &m.Workload
	if !w.Exists {
		d.Route = &Route{Restored: true}
		return
	}
	if w.Template != m.st.StableRevision && w.Template != m.st.CanaryRevision {
		m.st.PendingRevision = w.Template
	}
	d.Template, d.Route = m.st.StableRevision, &Route{Restored: true}
	switch m.st.StepState {
	case v1alpha1.StepReverting:
		d.Hold, d.Pinned = Release, w.Stable.Ready > 0
		return
	case v1alpha1.StepStableFirst:
		d.Route = &Route{}
		if is := m.st.Route; is != nil {
			d.Route.Weight = m.returning(is.Weight)
		}
	}
	d.Pinned, d.CanaryService = w.Stable.Ready > 0, true
	if w.Template == m.st.StableRevision {
		m.wantBatch(d, m.most())
	}
}

// wantLeft is the way of a Rollout that lets go: every pod stays what it is, and traffic follows the pods again.
func (m *machine) wantLeft(d *Desired) {
	d.Hold, d.Template, d.CanaryService, d.Route = Leave, "", true, &Route{Restored: true}
	if is := m.st.Route; m.st.StepState == v1alpha1.StepRestoring && is != nil {
		d.Route = &Route{Weight: is.Weight, MatchesOfStep: is.MatchesOfStep, HeadersOfStep: is.MatchesOfStep, Restored: is.Restored}
	}
}

// left goes on with letting go: first the Service of the workload selects all pods, then the routes lead to it alone.
func (m *machine) left(phase v1alpha1.RolloutPhase) {
	switch {
	case m.st.StepState == v1alpha1.StepRestoring:
		if m.since() >= m.grace() || !m.Workload.Exists {
			m.enter(phase, v1alpha1.StepDraining)
		}
	case m.st.Route != nil && m.st.Route.Restored && m.arrived():
		m.record(m.st.CanaryRevision, v1alpha1.ReleaseAborted, m.st.FailureReason)
		m.ended()
		m.enter(phase, "")
	}
}
