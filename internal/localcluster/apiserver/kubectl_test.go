package apiserver_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// kubectl runs the kubectl on PATH against s; it returns what was printed to both outputs.
func (s *server) kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "kubectl", args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(s.dir, "kubeconfig"), "KUBECACHEDIR="+filepath.Join(s.dir, "cache"), "HOME="+s.dir)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "web:1", ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: redstart.dev/v1alpha1
kind: Redis
metadata: {name: cache}
spec: {mode: Sentinel}
`

const task = `
apiVersion: batch/v1
kind: Job
metadata: {name: task}
spec:
  template:
    spec: {restartPolicy: Never, containers: [{name: task, image: "x:1"}]}
`

func TestKubectl(t *testing.T) {
	if _, err := exec.LookPath("kubectl"); err != nil {
		t.Skip("no kubectl on PATH")
	}
	s := start(t, t.TempDir())
	for _, step := range []struct {
		args  string
		stdin string
		want  string // a regular expression
		fails bool
	}{
		{args: "apply -f -", stdin: web, want: `deployment.apps/web created\nservice/web created\nredis.redstart.dev/cache created`},
		{args: "apply -f -", stdin: web, want: `deployment.apps/web unchanged\nservice/web unchanged\nredis.redstart.dev/cache unchanged`},
		{args: "version", want: `Server Version: v1\.\d+\.\d+\+redstart`},
		{args: "diff -f -", stdin: web, want: `^$`},
		{args: "get all", want: `(?s)service/web +NodePort +127\.0\.1\.\d+ +<none> +80:3\d{4}/TCP.*deployment.apps/web +0/2 +0 +0 .*redis.redstart.dev/cache +Sentinel`},
		{args: "get deploy -o wide", want: `NAME +READY +UP-TO-DATE +AVAILABLE +AGE +CONTAINERS +IMAGES +SELECTOR\nweb +0/2 +0 +0 +\S+ +web +web:1 +app=web`},
		{args: "get redis", want: `NAME +MODE +MASTER +READY +STATUS +AGE`},
		{args: "scale deployment web --replicas=5", want: `deployment.apps/web scaled`},
		{args: "scale redis cache --replicas=5", want: `redis.redstart.dev/cache scaled`},
		{args: "get redis cache -o jsonpath={.spec.replicas}/{.metadata.generation}", want: `^5/2$`},
		{args: "rollout restart deployment web", want: `deployment.apps/web restarted`},
		{args: "describe deployment web", want: `Replicas: +5 desired`},
		{args: "explain redis.spec.sentinel.downAfter", want: `how long|How long a master must be silent`},
		{args: "patch redis cache --type=merge -p {\"spec\":{\"replicas\":0}}", want: `spec.replicas: Invalid value: 0: expected a whole number from 1 to 32`, fails: true},
		{args: "patch redis cache --type=json -p [{\"op\":\"replace\",\"path\":\"/spec/mode\",\"value\":\"Cluster\"}]", want: `it is Sentinel and cannot be changed`, fails: true},
		{args: "apply -f -", stdin: strings.Replace(web, "containers:", "nodeSelector: {disk: ssd}\n      containers:", 1), want: `spec.template.spec.nodeSelector: Forbidden: not supported on one machine; remove it or run this on Kubernetes`, fails: true},
		{args: "apply -f -", stdin: strings.Replace(web, "mode: Sentinel", "mode: Sentinel, replica: 3", 1), want: `unknown field "spec.replica"`, fails: true},
		{args: "apply -f -", stdin: "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: a}", want: `no matches for kind "DaemonSet" in version "apps/v1"`, fails: true},
		{args: "apply --server-side --field-manager=b -f -", stdin: strings.Replace(web, "web:1", "web:2", 1), want: `conflict with "kubectl-client-side-apply"`, fails: true},
		{args: "create cronjob j --image=x --schedule=@hourly", want: `^error: failed to create cronjob: the resource cronjobs of batch/v1 is not served on one machine: kubectl api-resources lists what is; the rest needs Kubernetes\n$`, fails: true},
		{args: "create job j --image=x", want: `^job.batch/j created\n$`},
		{args: "get jobs -o wide", want: `NAME +STATUS +COMPLETIONS +DURATION +AGE +CONTAINERS +IMAGES +SELECTOR\nj +Running +0/1 +\S+ +j +x +batch.kubernetes.io/controller-uid=`},
		{args: "get job j -o jsonpath={.spec.parallelism}/{.spec.backoffLimit}/{.spec.template.metadata.labels.job-name}", want: `^1/6/j$`},
		{args: "explain job.spec.backoffLimit", want: `number of retries`},
		{args: "apply -f -", stdin: strings.Replace(task, "template:", "completionMode: Indexed\n  template:", 1), want: `spec.completionMode: Forbidden: not supported on one machine`, fails: true},
		{args: "apply -f -", stdin: strings.Replace(task, "template:", "selector: {matchLabels: {a: b}}\n  template:", 1), want: `spec.selector: Invalid value: .*is made by the server; remove it`, fails: true},
		{args: "apply -f -", stdin: strings.Replace(task, "Never", "Always", 1), want: `spec.template.spec.restartPolicy: Unsupported value: "Always": supported values: "Never", "OnFailure"`, fails: true},
		{args: "apply -f -", stdin: task, want: `job.batch/task created`},
		{args: "apply -f -", stdin: task, want: `job.batch/task unchanged`},
		{args: "apply -f -", stdin: strings.Replace(task, "x:1", "x:2", 1), want: `spec.template: Invalid value: .*field is immutable`, fails: true},
		{args: "auth can-i get pods", want: `selfsubjectaccessreviews of authorization.k8s.io/v1 is not served on one machine: there is one user`, fails: true},
		{args: "delete namespace default", want: `^Error from server \(Forbidden\): namespaces "default" is forbidden: this namespace may not be deleted\n$`, fails: true},
		{args: "create secret generic s --from-literal=a=b", want: `secret/s created`},
		{args: "get secret s -o jsonpath={.data.a}", want: `^Yg==$`},
		{args: "create configmap c -n nowhere --from-literal=a=b", want: `namespaces "nowhere" not found`, fails: true},
		{args: "run p --image=x --restart=Never", want: `pod/p created`},
		{args: "get pods -L app --field-selector=status.phase=Pending", want: `NAME +READY +STATUS +RESTARTS +AGE +APP\np +0/1 +Pending +0 `},
		{args: "logs p", want: `log of p p`},
		{args: "logs p -c other", want: `container other is not valid for pod p`, fails: true},
		{args: "exec p -- ls", want: `pods/exec of v1 is not served on one machine: pods are processes of this machine`, fails: true},
		{args: "attach p", want: `pods/attach of v1 is not served on one machine`, fails: true},
		{args: "delete pod p --wait=true", want: `pod "p" deleted`},
		{args: "wait --for=delete pod/p --timeout=10s", want: ``},
		{args: "create -f -", stdin: "apiVersion: v1\nkind: Node\nmetadata: {name: other}", want: `node/other created`},
		{args: "taint node other a=b:NoSchedule", want: `node/other tainted`},
		{args: "taint node other c=d:NoExecute", want: `spec.taints\[\d\].effect: Forbidden: NoExecute ends no pod on one machine; use NoSchedule, and kubectl drain`, fails: true},
		{args: "delete deployment web --dry-run=server", want: `deleted \(server dry run\)`},
		{args: "delete deployment web --cascade=foreground --wait=false", want: `deployment.apps "web" deleted`},
		{args: "get deployment web -o jsonpath={.metadata.finalizers}", want: `foregroundDeletion`},
	} {
		out, err := s.kubectl(bounded(t), step.stdin, strings.Split(step.args, " ")...)
		if (err != nil) != step.fails {
			t.Errorf("kubectl %s: %v\n%s", step.args, err, out)
		} else if !regexp.MustCompile(step.want).MatchString(out) {
			t.Errorf("kubectl %s printed\n%s\nwant %s", step.args, out, step.want)
		}
	}
}

func TestKubectlPortForward(t *testing.T) {
	if _, err := exec.LookPath("kubectl"); err != nil {
		t.Skip("no kubectl on PATH")
	}
	ctx := bounded(t)
	s := start(t, t.TempDir())
	backend, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	go func() {
		for {
			c, err := backend.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	pods := s.client.CoreV1().Pods("default")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "x"}}}}
	if _, err := pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	status := []byte(`{"status":{"phase":"Running","podIP":"127.0.0.1"}}`)
	if _, err := pods.Patch(ctx, "p", types.MergePatchType, status, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(backend.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	forwardCtx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(forwardCtx, "kubectl", "port-forward", "--address=127.0.0.1", "pod/p", ":"+port)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(s.dir, "kubeconfig"), "KUBECACHEDIR="+filepath.Join(s.dir, "cache"), "HOME="+s.dir)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = cmd.Wait() // it was killed
	}()
	line := make([]byte, 256)
	n, err := stdout.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(string(line[:n]))
	for range 3 { // one connection after another through the same forwarding
		c, err := net.Dial("tcp", m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if err != nil || string(got) != "hello" {
			t.Fatalf("echoed %q, %v", got, err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
