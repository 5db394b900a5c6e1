package workloads

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// A pod that failed is replaced after a while, twice as long each time, as on Kubernetes.
const (
	firstRetry = 10 * time.Second
	lastRetry  = 10 * time.Minute
)

// jobPlan is what is done next for a Job.
//
// Its pods have a finalizer until their ends are counted: the UID of one that ended is noted in the status, then the
// finalizer goes, then the count rises and the note goes. So each end is counted once, whoever deletes the pod meanwhile.
type jobPlan struct {
	status  batchv1.JobStatus
	create  int
	release []*corev1.Pod // lose the finalizer
	remove  []*corev1.Pod // are deleted, after that
	expired bool          // the Job itself is deleted
	next    time.Duration // until something is due; 0 for nothing
}

func (p *jobPlan) empty() bool {
	return p.create == 0 && len(p.release) == 0 && len(p.remove) == 0 && !p.expired
}

// tracked tells whether the end of a pod is not counted for good yet.
func tracked(p *corev1.Pod) bool { return slices.Contains(p.Finalizers, batchv1.JobTrackingFinalizer) }

// planJob decides on a Job by the pods that it controls.
func planJob(j *batchv1.Job, pods []*corev1.Pod, now time.Time) jobPlan {
	p := jobPlan{status: *j.Status.DeepCopy()}
	if end := endOf(j); end != nil || j.DeletionTimestamp != nil {
		p.release = filter(pods, tracked)
		if ttl := j.Spec.TTLSecondsAfterFinished; ttl != nil && end != nil && j.DeletionTimestamp == nil {
			left := end.LastTransitionTime.Add(time.Duration(*ttl) * time.Second).Sub(now)
			p.expired, p.next = left <= 0, max(left, 0)
		}
		return p
	}
	p.count(pods)
	running := filter(pods, active)
	p.resume(j, now)
	verdict := p.judge(j, pods, running, now)
	switch {
	case verdict == nil:
		p.staff(j, pods, running, now)
	case verdict.Type == batchv1.JobFailureTarget: // whoever is running has failed
		for _, pod := range running {
			if u := p.status.UncountedTerminatedPods; tracked(pod) && !slices.Contains(u.Failed, pod.UID) {
				u.Failed = append(u.Failed, pod.UID)
			}
		}
		p.remove = running
	default:
		p.drop(running)
	}
	gone := filter(pods, func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
	p.status.Active = int32(len(running))
	p.status.Ready = ptr.To(int32(len(filter(running, ready))))
	p.status.Terminating = ptr.To(int32(len(gone)))
	if u := p.status.UncountedTerminatedPods; verdict != nil && len(running)+len(gone)+len(u.Succeeded)+len(u.Failed) == 0 {
		p.finish(verdict, now)
	}
	return p
}

// count notes the pods that have ended, and counts those whose note was written and whose finalizer is gone.
func (p *jobPlan) count(pods []*corev1.Pod) {
	s := &p.status
	if s.UncountedTerminatedPods == nil {
		s.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	}
	u := s.UncountedTerminatedPods
	for count, noted := range map[*int32]*[]types.UID{&s.Succeeded: &u.Succeeded, &s.Failed: &u.Failed} {
		before := len(*noted)
		*noted = slices.DeleteFunc(*noted, func(uid types.UID) bool {
			return !slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return p.UID == uid && tracked(p) })
		})
		*count += int32(before - len(*noted))
	}
	for _, pod := range filter(pods, tracked) {
		switch {
		case slices.Contains(u.Succeeded, pod.UID), slices.Contains(u.Failed, pod.UID):
			p.release = append(p.release, pod)
		case pod.Status.Phase == corev1.PodSucceeded:
			u.Succeeded = append(u.Succeeded, pod.UID)
		case !active(pod):
			u.Failed = append(u.Failed, pod.UID)
		}
	}
}

// resume starts the clock of a Job that runs, and tells whether one is suspended.
func (p *jobPlan) resume(j *batchv1.Job, now time.Time) {
	was := jobCondition(p.status.Conditions, batchv1.JobSuspended)
	switch {
	case ptr.Deref(j.Spec.Suspend, false):
		p.set(batchv1.JobSuspended, corev1.ConditionTrue, "JobSuspended", "Job suspended", now)
	case was != nil && was.Status == corev1.ConditionTrue:
		p.set(batchv1.JobSuspended, corev1.ConditionFalse, "JobResumed", "Job resumed", now)
		p.status.StartTime = ptr.To(metav1.NewTime(now))
	case p.status.StartTime == nil:
		p.status.StartTime = ptr.To(metav1.NewTime(now))
	}
}

// judge finds whether a Job has failed or succeeded; nil while it has not. What was found once stays.
func (p *jobPlan) judge(j *batchv1.Job, pods, running []*corev1.Pod, now time.Time) *batchv1.JobCondition {
	s := &p.status
	for _, t := range []batchv1.JobConditionType{batchv1.JobSuccessCriteriaMet, batchv1.JobFailureTarget} {
		if c := jobCondition(s.Conditions, t); c != nil && c.Status == corev1.ConditionTrue {
			return c
		}
	}
	succeeded := s.Succeeded + int32(len(s.UncountedTerminatedPods.Succeeded))
	failed := s.Failed + int32(len(s.UncountedTerminatedPods.Failed))
	limit := ptr.Deref(j.Spec.BackoffLimit, 6)
	if failed > limit || restartsOf(j, pods) >= max(limit, 1) {
		return p.set(batchv1.JobFailureTarget, corev1.ConditionTrue, batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit", now)
	}
	if d := j.Spec.ActiveDeadlineSeconds; d != nil && !ptr.Deref(j.Spec.Suspend, false) {
		left := s.StartTime.Add(time.Duration(*d) * time.Second).Sub(now)
		if left <= 0 {
			return p.set(batchv1.JobFailureTarget, corev1.ConditionTrue, batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline", now)
		}
		p.next = left
	}
	if n := j.Spec.Completions; n != nil && succeeded >= *n || n == nil && succeeded > 0 && len(running) == 0 {
		return p.set(batchv1.JobSuccessCriteriaMet, corev1.ConditionTrue, batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods", now)
	}
	return nil
}

// staff brings the number of running pods to what is wanted.
func (p *jobPlan) staff(j *batchv1.Job, pods, running []*corev1.Pod, now time.Time) {
	want := int(ptr.Deref(j.Spec.Parallelism, 1))
	succeeded := int(p.status.Succeeded) + len(p.status.UncountedTerminatedPods.Succeeded)
	switch {
	case ptr.Deref(j.Spec.Suspend, false):
		want = 0
	case j.Spec.Completions != nil:
		want = min(want, int(*j.Spec.Completions)-succeeded)
	case succeeded > 0: // the work is done; the others end by themselves
		want = min(want, len(running))
	}
	if len(running) >= want {
		p.drop(leastMissed(running, len(running)-want))
		return
	}
	if wait := untilRetry(pods, now); wait > 0 {
		if p.next == 0 || wait < p.next {
			p.next = wait
		}
		return
	}
	p.create = want - len(running)
}

// drop deletes pods that are not wanted any more. They are no failures, so their ends are not counted.
func (p *jobPlan) drop(pods []*corev1.Pod) {
	p.release = append(p.release, filter(pods, tracked)...)
	p.remove = pods
}

// finish gives a Job its last condition.
func (p *jobPlan) finish(verdict *batchv1.JobCondition, now time.Time) {
	end := batchv1.JobFailed
	if verdict.Type == batchv1.JobSuccessCriteriaMet {
		end = batchv1.JobComplete
		p.status.CompletionTime = ptr.To(metav1.NewTime(now))
	}
	p.set(end, corev1.ConditionTrue, verdict.Reason, verdict.Message, now)
}

func (p *jobPlan) set(t batchv1.JobConditionType, status corev1.ConditionStatus, reason, message string, now time.Time) *batchv1.JobCondition {
	c := jobCondition(p.status.Conditions, t)
	if c == nil {
		p.status.Conditions = append(p.status.Conditions, batchv1.JobCondition{Type: t})
		c = &p.status.Conditions[len(p.status.Conditions)-1]
	}
	if c.Status != status {
		c.LastProbeTime, c.LastTransitionTime = metav1.NewTime(now), metav1.NewTime(now)
	}
	c.Status, c.Reason, c.Message = status, reason, message
	// A copy: the list may move when another condition is added.
	return c.DeepCopy()
}

func jobCondition(all []batchv1.JobCondition, t batchv1.JobConditionType) *batchv1.JobCondition {
	i := slices.IndexFunc(all, func(c batchv1.JobCondition) bool { return c.Type == t })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// endOf is the condition that says how a Job ended; nil while it has not.
func endOf(j *batchv1.Job) *batchv1.JobCondition {
	for _, t := range []batchv1.JobConditionType{batchv1.JobComplete, batchv1.JobFailed} {
		if c := jobCondition(j.Status.Conditions, t); c != nil && c.Status == corev1.ConditionTrue {
			return c
		}
	}
	return nil
}

// restartsOf counts the restarts of containers, which are the failures of a Job whose pods start them again.
func restartsOf(j *batchv1.Job, pods []*corev1.Pod) int32 {
	var n int32
	if j.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		return 0
	}
	for _, p := range pods {
		if p.Status.Phase != corev1.PodRunning && p.Status.Phase != corev1.PodPending {
			continue
		}
		for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
			n += c.RestartCount
		}
	}
	return n
}

// untilRetry is how long the next pod waits after those that failed since one succeeded last. One that somebody deleted
// is replaced at once.
func untilRetry(pods []*corev1.Pod, now time.Time) time.Duration {
	var succeeded, failed time.Time
	for _, p := range pods {
		if at := endedAt(p); p.Status.Phase == corev1.PodSucceeded && at.After(succeeded) {
			succeeded = at
		}
	}
	wait := time.Duration(0)
	for _, p := range pods {
		if at := endedAt(p); p.Status.Phase == corev1.PodFailed && p.DeletionTimestamp == nil && at.After(succeeded) {
			wait = min(max(2*wait, firstRetry), lastRetry)
			if at.After(failed) {
				failed = at
			}
		}
	}
	if wait == 0 {
		return 0
	}
	return max(0, wait-now.Sub(failed))
}

// endedAt is when the last container of a pod ended.
func endedAt(p *corev1.Pod) time.Time {
	at := p.CreationTimestamp.Time
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if t := c.State.Terminated; t != nil && t.FinishedAt.After(at) {
			at = t.FinishedAt.Time
		}
	}
	return at
}

func filter(pods []*corev1.Pod, is func(*corev1.Pod) bool) []*corev1.Pod {
	var out []*corev1.Pod
	for _, p := range pods {
		if is(p) {
			out = append(out, p)
		}
	}
	return out
}
