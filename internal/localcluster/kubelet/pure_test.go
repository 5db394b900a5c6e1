package kubelet

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"redstart.dev/redstart/internal/localcluster/address"
)

var somewhere = place{
	nodeName: "local", hostIP: hostIP, kubeconfig: "/state/kubeconfig",
	address: address.Address{IP: netip.MustParseAddr("127.64.128.1")}, mounts: map[string]string{"my-data": "/state/data"},
}

func TestExpand(t *testing.T) {
	env := map[string]string{"A": "1", "B": "two"}
	for in, want := range map[string]string{
		"":            "",
		"plain":       "plain",
		"$(A)-$(B)":   "1-two",
		"$(C)":        "$(C)",
		"$$(A)":       "$(A)",
		"$$$(A)":      "$1",
		"$A $ $(A":    "$A $ $(A",
		"end$":        "end$",
		"$($(A))":     "$($(A))",
		"$$$$(A)$(B)": "$$(A)two",
	} {
		if got := expand(in, env); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("SECRET_OF_OURS", "x")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: "p", Namespace: "ns", UID: "u-1", Labels: map[string]string{"app": "a"},
		Annotations: map[string]string{"x/y": "z"},
	}, Spec: corev1.PodSpec{ServiceAccountName: "sa"}}
	field := func(name, path string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}}
	}
	limit := func(name, what string, divisor string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: what, Divisor: resource.MustParse(divisor)}}}
	}
	c := &corev1.Container{
		Name:      "c",
		Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"memory": resource.MustParse("3Mi"), "cpu": resource.MustParse("1500m")}},
		EnvFrom: []corev1.EnvFromSource{
			{Prefix: "CM_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}},
			{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "none"}, Optional: ptr.To(true)}},
		},
		Env: []corev1.EnvVar{
			field("NAME", "metadata.name"), field("NS", "metadata.namespace"), field("UID", "metadata.uid"), field("L", "metadata.labels['app']"),
			field("AN", "metadata.annotations['x/y']"), field("NODE", "spec.nodeName"), field("SA", "spec.serviceAccountName"), field("IP", "status.podIP"),
			field("IPS", "status.podIPs"), field("HOST", "status.hostIP"), limit("MEM", "limits.memory", "1Mi"), limit("CPU", "limits.cpu", "0"),
			{Name: "BOTH", Value: "$(NAME)@$(CACHE_SERVICE_HOST)"},
			{Name: "PW", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "password"}}},
			{Name: "MAYBE", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "no", Optional: ptr.To(true)}}},
		},
	}
	services := []corev1.Service{
		{ObjectMeta: metav1.ObjectMeta{Name: "cache"}, Spec: corev1.ServiceSpec{ClusterIP: "127.64.1.1", Ports: []corev1.ServicePort{{Name: "redis", Port: 6379, Protocol: "TCP"}}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "headless"}, Spec: corev1.ServiceSpec{ClusterIP: "None", Ports: []corev1.ServicePort{{Port: 1}}}},
	}
	from := objects{
		configMap: func(name string) (*corev1.ConfigMap, error) {
			return map[string]*corev1.ConfigMap{"cm": {Data: map[string]string{"K": "v", "not a name": "x"}}}[name], nil
		},
		secret: func(name string) (*corev1.Secret, error) {
			return map[string]*corev1.Secret{"s": {Data: map[string][]byte{"password": []byte("pw")}}}[name], nil
		},
	}
	at := somewhere
	at.address.Ports = map[int32]int32{6379: 40123}
	got, err := environment(pod, c, services, from, at)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range inherited() {
		delete(got, name)
	}
	want := map[string]string{
		"HOSTNAME": "p", "KUBECONFIG": "/state/kubeconfig", "REDSTART_MOUNT_MY_DATA": "/state/data", "REDSTART_PORT_6379": "40123",
		"NAME": "p", "NS": "ns", "UID": "u-1", "L": "a", "AN": "z", "NODE": "local", "SA": "sa", "IP": "127.64.128.1", "IPS": "127.64.128.1",
		"HOST": hostIP, "MEM": "3", "CPU": "2", "BOTH": "p@127.64.1.1", "PW": "pw", "CM_K": "v",
		"CACHE_SERVICE_HOST": "127.64.1.1", "CACHE_SERVICE_PORT": "6379", "CACHE_SERVICE_PORT_REDIS": "6379", "CACHE_PORT": "tcp://127.64.1.1:6379",
		"CACHE_PORT_6379_TCP": "tcp://127.64.1.1:6379", "CACHE_PORT_6379_TCP_PROTO": "tcp", "CACHE_PORT_6379_TCP_PORT": "6379", "CACHE_PORT_6379_TCP_ADDR": "127.64.1.1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	pod.Spec.Hostname = "named"
	if got, err := environment(pod, c, services, from, at); err != nil || got["HOSTNAME"] != "named" {
		t.Errorf("HOSTNAME of a pod with a hostname is %q, %v", got["HOSTNAME"], err)
	}

	shared := []corev1.Service{{ObjectMeta: metav1.ObjectMeta{Name: "cache"}, Spec: corev1.ServiceSpec{
		ClusterIP: "127.0.0.1",
		Ports:     []corev1.ServicePort{{Name: "redis", Port: 6379}},
	}}}
	if _, err := environment(pod, c, shared, from, at); err == nil || err.Error() != `ContainerCreating: service "cache" has no local port for its port 6379 yet` {
		t.Errorf("a Service without its local port: %v", err)
	}
	shared[0].Annotations = map[string]string{"redstart.dev/ports": `{"6379":20001}`}
	got, err = environment(pod, c, shared, from, at)
	if err != nil || got["CACHE_SERVICE_HOST"] != "127.0.0.1" || got["CACHE_SERVICE_PORT"] != "20001" || got["CACHE_SERVICE_PORT_REDIS"] != "20001" ||
		got["CACHE_PORT_6379_TCP"] != "tcp://127.0.0.1:20001" || got["CACHE_PORT_6379_TCP_PORT"] != "20001" {
		t.Errorf("a Service on a shared address: %v, %v", got, err)
	}

	for name, want := range map[string]string{"none": `secret "none" not found`, "s": `secret "s" has no key "other"`} {
		bad := &corev1.Container{Env: []corev1.EnvVar{{Name: "X", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: "other",
		}}}}}
		if _, err := environment(pod, bad, nil, from, at); err == nil || err.Error() != ReasonConfigError+": "+want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestCommandLine(t *testing.T) {
	images := map[string][]string{"nginx*": {"/usr/sbin/nginx", "-g"}, "team/*": {"team"}, "team/web": {"web"}}
	server := "--bind 127.64.128.1 --protected-mode no --port 6379"
	for _, c := range []struct {
		name, image   string
		command, args []string
		want          string
	}{
		{"command and args", "x", []string{"run"}, []string{"$(V)", "b"}, "run 5 b"},
		{"ours", "x", []string{"redstart", "agent"}, nil, "/bin/redstart agent"},
		{"ours by path", "x", []string{"/redstart/redstart", "agent"}, nil, "/bin/redstart agent"},
		{"mapped", "nginx:1.27", nil, []string{"daemon off;"}, "/usr/sbin/nginx -g daemon off;"},
		{"the longest pattern", "registry:5000/team/web:2@sha256:00", nil, nil, "web"},
		{"redis", "redis:7.2", nil, nil, "redis-server " + server},
		{"redis with options", "docker.io/library/redis", nil, []string{"--appendonly", "yes"}, "redis-server " + server + " --appendonly yes"},
		{"redis with a file", "redis", nil, []string{"/etc/r.conf", "--save", ""}, "redis-server /etc/r.conf " + server + " --save "},
		{"redis named", "redis", nil, []string{"redis-server", "/etc/r.conf"}, "redis-server /etc/r.conf " + server},
		{"redis with a command", "redis", nil, []string{"redis-cli", "ping"}, "redis-cli ping"},
		{"valkey", "valkey/valkey:8", nil, nil, "valkey-server " + server},
	} {
		path, args, err := commandLine(&corev1.Container{Image: c.image, Command: c.command, Args: c.args}, images, "/bin/redstart", map[string]string{"V": "5"}, somewhere)
		if got := strings.Join(append([]string{path}, args...), " "); err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
	}
	_, _, err := commandLine(&corev1.Container{Image: "ghcr.io/some/app:1"}, images, "", nil, somewhere)
	if err == nil || !strings.Contains(err.Error(), `ImageNotMapped: image "ghcr.io/some/app:1"`) || !strings.Contains(err.Error(), `"some/app"`) {
		t.Errorf("unknown image: %v", err)
	}
}

func TestPhase(t *testing.T) {
	run := corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	wait := corev1.ContainerStatus{State: waiting("ContainerCreating", "")}
	exit := func(code int32) corev1.ContainerStatus {
		return corev1.ContainerStatus{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code}}}
	}
	loop := corev1.ContainerStatus{State: waiting("CrashLoopBackOff", ""), LastTerminationState: exit(1).State}
	type all []corev1.ContainerStatus
	for _, c := range []struct {
		name         string
		policy       corev1.RestartPolicy
		inits, mains all
		want         corev1.PodPhase
	}{
		{"nothing yet", "Always", nil, all{wait}, "Pending"},
		{"running", "Always", nil, all{run, run}, "Running"},
		{"one still waits", "Always", nil, all{run, wait}, "Pending"},
		{"crash loop", "Always", nil, all{loop}, "Running"},
		{"ended, to be restarted", "Always", nil, all{exit(1)}, "Running"},
		{"done", "Never", nil, all{exit(0), exit(0)}, "Succeeded"},
		{"failed", "Never", nil, all{exit(0), exit(2)}, "Failed"},
		{"retried", "OnFailure", nil, all{exit(1)}, "Running"},
		{"one done, one runs", "Never", nil, all{exit(1), run}, "Running"},
		{"initializing", "Always", all{run}, all{wait}, "Pending"},
		{"init retried", "Always", all{exit(1)}, all{wait}, "Pending"},
		{"init failed", "Never", all{exit(1)}, all{wait}, "Failed"},
		{"initialized", "Always", all{exit(0)}, all{run}, "Running"},
	} {
		if got := phase(c.policy, c.inits, c.mains); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestConditionTimes(t *testing.T) {
	old, now := metav1.NewTime(time.Unix(100, 0)), metav1.NewTime(time.Unix(200, 0))
	pod := &corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{
		{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: old},
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: old},
		{Type: "someone.else/Gate", Status: corev1.ConditionTrue, LastTransitionTime: old},
	}}}
	s := podStatus(statusInput{pod: pod, now: now, mains: []corev1.ContainerStatus{{Name: "a", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}})
	want := map[corev1.PodConditionType]metav1.Time{corev1.PodReady: now, corev1.PodScheduled: old, corev1.PodInitialized: now, corev1.ContainersReady: now, "someone.else/Gate": old}
	got := map[corev1.PodConditionType]metav1.Time{}
	for _, c := range s.Conditions {
		got[c.Type] = c.LastTransitionTime
		if c.Status != corev1.ConditionTrue {
			t.Errorf("%s is %s", c.Type, c.Status)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTally(t *testing.T) {
	type result struct {
		atMS int
		ok   bool
		want verdict
	}
	for _, c := range []struct {
		name    string
		probe   corev1.Probe
		results []result
	}{
		{"passes at once", corev1.Probe{}, []result{{0, true, passed}}},
		{"needs two in a row", corev1.Probe{SuccessThreshold: 2}, []result{{0, true, undecided}, {1, false, undecided}, {2, true, undecided}, {3, true, passed}}},
		{"fails after three periods", corev1.Probe{PeriodSeconds: 1}, []result{{0, false, undecided}, {1000, false, undecided}, {2000, false, failed}}},
		{
			"fast failures count once a period",
			corev1.Probe{PeriodSeconds: 1, FailureThreshold: 2},
			[]result{{0, false, undecided}, {100, false, undecided}, {500, false, undecided}, {950, false, failed}},
		},
		{"a success forgives", corev1.Probe{PeriodSeconds: 1, FailureThreshold: 2}, []result{{0, false, undecided}, {1000, true, passed}, {2000, false, undecided}}},
	} {
		tally := newTally(&c.probe)
		for i, r := range c.results {
			if got := tally.add(r.ok, time.Unix(1000, 0).Add(time.Duration(r.atMS)*time.Millisecond)); got != r.want {
				t.Errorf("%s: result %d: %d, want %d", c.name, i, got, r.want)
			}
		}
	}
}

func TestValidate(t *testing.T) {
	good := corev1.PodSpec{
		Volumes:    []corev1.Volume{{Name: "d", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		Containers: []corev1.Container{{Name: "c", SecurityContext: &corev1.SecurityContext{}}},
	}
	if errs := Validate(&good); len(errs) > 0 {
		t.Error(errs)
	}
	bad := corev1.PodSpec{
		HostNetwork:    true,
		Volumes:        []corev1.Volume{{Name: "h", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{}}}},
		InitContainers: []corev1.Container{{Name: "side", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)}},
		Containers: []corev1.Container{{
			Name: "c", VolumeMounts: []corev1.VolumeMount{{Name: "h", SubPath: "x"}},
			ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{}}},
		}},
	}
	var fields []string
	for _, e := range Validate(&bad) {
		fields = append(fields, e.Field)
	}
	want := []string{"spec.volumes[0]", "spec.hostNetwork", "spec.initContainers[0].restartPolicy", "spec.containers[0].volumeMounts[0].subPath", "spec.containers[0].readinessProbe.grpc"}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Error(diff)
	}
}

func TestProjectedFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(data map[string][]byte, items ...corev1.KeyToPath) {
		t.Helper()
		if err := project(dir, "v", data, items, 0o644, 0o700, nil); err != nil {
			t.Fatal(err)
		}
	}
	content := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return "!"
		}
		return string(b)
	}
	write(map[string][]byte{"a": []byte("1"), "b": []byte("2")})
	if content("a") != "1" || content("b") != "2" {
		t.Errorf("a %q, b %q", content("a"), content("b"))
	}
	if info, err := os.Stat(filepath.Join(dir, "a")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info, err)
	}
	write(map[string][]byte{"a": []byte("3")})
	if content("a") != "3" || content("b") != "!" {
		t.Errorf("after the change: a %q, b %q", content("a"), content("b"))
	}
	write(map[string][]byte{"a": []byte("4")}, corev1.KeyToPath{Key: "a", Path: "deep/name"})
	if content("deep/name") != "4" || content("a") != "!" {
		t.Errorf("items: %q, %q", content("deep/name"), content("a"))
	}
	if err := project(dir, "v", map[string][]byte{"a": nil}, []corev1.KeyToPath{{Key: "a", Path: "../out"}}, 0o600, 0o700, nil); err == nil {
		t.Error("a path that leaves the volume was taken")
	}
	if err := project(dir, "v", nil, []corev1.KeyToPath{{Key: "gone", Path: "x"}}, 0o600, 0o700, nil); err == nil || !strings.Contains(err.Error(), `"gone"`) {
		t.Errorf("a missing key: %v", err)
	}
}
