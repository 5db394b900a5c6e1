//go:build unix

package kubelet

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// What a process says of its end is in its status: the file, else the end of its output if the pod asks for that.
func TestTerminationMessage(t *testing.T) {
	c := start(t)
	pods := map[string]struct {
		script string
		change func(*corev1.Container)
		want   string
	}{
		"file":     {`echo noise; printf 'all good' > "$REDSTART_TERMINATION_LOG"`, nil, "all good"},
		"volume":   {`printf why > "$REDSTART_MOUNT_DATA/say/why"; exit 3`, func(c *corev1.Container) { c.TerminationMessagePath = "/data/say/why" }, "why"},
		"output":   {`echo one; printf two; exit 3`, fallBack, "one\ntwo\n"},
		"neither":  {`echo one; exit 3`, nil, ""},
		"well":     {`echo one`, fallBack, ""},
		"both":     {`echo one; printf two > "$REDSTART_TERMINATION_LOG"; exit 3`, fallBack, "two"},
		"too-long": {`i=0; while [ $i -lt 100 ]; do echo "line number $i of the many that there are"; i=$((i+1)); done; exit 3`, fallBack, longest()},
	}
	for name, p := range pods {
		pod := shellPod(name, p.script)
		pod.Spec.RestartPolicy = corev1.RestartPolicyNever
		pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
		if p.change != nil {
			p.change(&pod.Spec.Containers[0])
		}
		c.create(pod)
	}
	for name, p := range pods {
		got := c.until(name, "has ended", func(pod *corev1.Pod) bool { return ended(pod) }).Status.ContainerStatuses[0].State.Terminated
		if got == nil || got.Message != p.want {
			t.Errorf("%s: %+v, want %q", name, got, p.want)
		}
	}

	// Each run has its own.
	pod := shellPod("again", `cat "$REDSTART_TERMINATION_LOG"; echo of before > "$REDSTART_TERMINATION_LOG"; exit 1`)
	c.create(pod)
	c.until("again", "is restarted", func(pod *corev1.Pod) bool {
		return len(pod.Status.ContainerStatuses) > 0 && pod.Status.ContainerStatuses[0].RestartCount > 1
	})
	if log := c.log("again", corev1.PodLogOptions{Previous: true}); log != "" {
		t.Errorf("the next run found %q", log)
	}
}

func fallBack(c *corev1.Container) {
	c.TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
}

// longest is the end of the output of the pod too-long, as much of it as a message holds.
func longest() string {
	var all strings.Builder
	for i := range 100 {
		fmt.Fprintf(&all, "line number %d of the many that there are\n", i)
	}
	return all.String()[all.Len()-maxMessageOfLog:]
}
