package workloads

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

// jobStory is a Job and its pods, to which plans are done as the API server and the kubelet would do them.
type jobStory struct {
	job  batchv1.Job
	pods []*corev1.Pod
	now  time.Time
	made int
}

// TestPlanJob runs the stories in testdata/jobs: "job" begins one with a spec, "pods" says what becomes of pods, "spec"
// changes the spec, and "go" plans and acts until nothing is left to do, after some time if it says so.
func TestPlanJob(t *testing.T) {
	datadriven.Walk(t, "testdata/jobs", func(t *testing.T, path string) {
		var s *jobStory
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "job":
				s = &jobStory{now: now}
				s.job.UID = "job"
				fallthrough
			case "spec":
				if err := yaml.UnmarshalStrict([]byte(d.Input), &s.job.Spec); err != nil {
					d.Fatalf(t, "%v", err)
				}
			case "pods":
				for line := range strings.Lines(d.Input) {
					s.change(t, d, strings.Fields(line))
				}
			case "go":
				var after string
				d.MaybeScanArgs(t, "after", &after)
				if after != "" {
					dur, err := time.ParseDuration(after)
					if err != nil {
						d.Fatalf(t, "%v", err)
					}
					s.now = s.now.Add(dur)
				}
				return s.run(t)
			default:
				d.Fatalf(t, "unknown command")
			}
			return ""
		})
	})
}

func (s *jobStory) change(t *testing.T, d *datadriven.TestData, words []string) {
	i := slices.IndexFunc(s.pods, func(p *corev1.Pod) bool { return p.Name == words[0] })
	if i < 0 {
		d.Fatalf(t, "no pod %s", words[0])
	}
	p := s.pods[i]
	end := func(phase corev1.PodPhase) {
		p.Status.Phase = phase
		p.Status.Conditions = nil
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: metav1.NewTime(s.now)}}}}
	}
	switch words[1] {
	case "succeeds":
		end(corev1.PodSucceeded)
	case "fails":
		end(corev1.PodFailed)
	case "restarts":
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 1}}
	case "deleted":
		p.DeletionTimestamp = ptr.To(metav1.NewTime(s.now))
	case "gone":
		p.DeletionTimestamp = ptr.To(metav1.NewTime(s.now))
		if tracked(p) {
			p.Spec.NodeName = "" // nothing but the finalizer keeps it
			return
		}
		s.pods = slices.Delete(s.pods, i, i+1)
	default:
		d.Fatalf(t, "unknown word %q", words[1])
	}
}

// run does plan after plan, and tells what was done and what the Job says at last.
func (s *jobStory) run(t *testing.T) string {
	var b strings.Builder
	for range 20 {
		plan := planJob(&s.job, s.pods, s.now)
		was := s.job.Status.DeepCopy()
		for _, p := range plan.release {
			p.Finalizers = nil
			if p.DeletionTimestamp != nil && p.Spec.NodeName == "" {
				s.pods = slices.DeleteFunc(s.pods, func(o *corev1.Pod) bool { return o == p })
			}
		}
		for _, p := range plan.remove {
			fmt.Fprintf(&b, "delete %s\n", p.Name)
			p.DeletionTimestamp = ptr.To(metav1.NewTime(s.now))
		}
		for range plan.create {
			s.made++
			p := pod(fmt.Sprintf("p%d", s.made), time.Minute)
			p.UID, p.CreationTimestamp, p.Finalizers = types.UID(p.Name), metav1.NewTime(s.now), []string{batchv1.JobTrackingFinalizer}
			s.pods = append(s.pods, p)
			fmt.Fprintf(&b, "create %s\n", p.Name)
		}
		s.job.Status = plan.status
		if plan.expired {
			b.WriteString("delete the Job\n")
			return b.String()
		}
		if plan.empty() && equality.Semantic.DeepEqual(*was, s.job.Status) {
			st := s.job.Status
			fmt.Fprintf(&b, "active %d, succeeded %d, failed %d", st.Active, st.Succeeded, st.Failed)
			for _, c := range st.Conditions {
				if c.Status == corev1.ConditionTrue {
					fmt.Fprintf(&b, ", %s (%s)", c.Type, c.Reason)
				}
			}
			if plan.next > 0 {
				fmt.Fprintf(&b, "; next in %s", plan.next)
			}
			b.WriteString("\n")
			return b.String()
		}
	}
	t.Fatalf("it does not settle:\n%s", b.String())
	return ""
}
