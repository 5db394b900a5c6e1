//go:build unix

package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/agent"
	"redstart.dev/redstart/internal/localcluster/apiserver"
	"redstart.dev/redstart/internal/redis"
)

// patience bounds every wait; the machine may be busy.
const patience = 60 * time.Second

const (
	redisName = "cache"
	password  = `pa"ss 'wörd\ #{$` // of all signs that a password may have
	token     = "agents' token"
)

// TestMain is also the agent: the tests run this binary as one, so that it can be killed.
func TestMain(m *testing.M) {
	if os.Getenv("REDSTART_REDIS") == "" {
		os.Exit(m.Run())
	}
	if err := runAgent(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func runAgent() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	o, err := agent.OptionsFromEnv(os.Getenv)
	if err != nil {
		return err
	}
	if lag := os.Getenv("TEST_SERVICE_LAG"); lag != "" {
		if o.ServiceLag, err = time.ParseDuration(lag); err != nil {
			return err
		}
	}
	o.Log = slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelDebug}))
	config, err := agent.KubeConfig(os.Getenv)
	if err != nil {
		return err
	}
	c, err := agent.NewCluster(config, o.Namespace, o.Redis, o.Name)
	if err != nil {
		return err
	}
	return agent.Run(ctx, o, c)
}

// cluster is an API server and the pods of one Redis, made by the test instead of an operator and a kubelet.
type cluster struct {
	t          *testing.T
	dir        string
	kubeconfig string
	client     kubernetes.Interface
	config     v1alpha1.AgentConfig
	pods       map[string]*pod
	addresses  int
}

// pod is one pod, whose agent is a process.
type pod struct {
	name, component string
	ip              string
	ports           map[int32]int32
	data            string
	log             *os.File
	cmd             *exec.Cmd
	ended           chan struct{}
}

func newCluster(t *testing.T, mode v1alpha1.Mode, members int, edit func(*v1alpha1.AgentConfig)) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: t.TempDir(), pods: map[string]*pod{}, config: v1alpha1.AgentConfig{
		Redis: redisName, UID: "7b0b3f3e", Mode: mode, Replicas: int32(members), LeaseSeconds: 5, AuthSecret: redisName, TokenSecret: redisName + "-agent",
		Config: map[string]string{"appendonly": "yes", "save": ""}, MaxLagSeconds: 10,
	}}
	if mode == v1alpha1.ModeSentinel {
		c.config.Sentinels, c.config.Quorum, c.config.DownAfterMS, c.config.FailoverTimeoutMS, c.config.ParallelSyncs = 3, 2, 5000, 30000, 1
	}
	if edit != nil {
		edit(&c.config)
	}
	api, err := apiserver.New(apiserver.Options{StateDir: filepath.Join(c.dir, "api"), Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- api.Run(ctx) }()
	t.Cleanup(func() {
		for _, p := range c.pods {
			p.kill()
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if t.Failed() {
			c.dumpLogs()
		}
	})
	c.kubeconfig = filepath.Join(c.dir, "api", "kubeconfig")
	if c.client, err = kubernetes.NewForConfig(api.RESTConfig()); err != nil {
		t.Fatal(err)
	}
	c.create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: redisName}, Data: map[string][]byte{v1alpha1.SecretKeyPassword: []byte(password)}})
	c.create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: redisName + "-agent"}, Data: map[string][]byte{v1alpha1.SecretKeyAgentToken: []byte(token)}})
	c.create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: redisName}, Data: map[string]string{v1alpha1.ConfigMapKeyAgent: c.configJSON()}})
	for n := range members {
		c.add(fmt.Sprintf("%s-%d", redisName, n), v1alpha1.ComponentMember)
	}
	for n := range c.config.Sentinels {
		c.add(fmt.Sprintf("%s-sentinel-%d", redisName, n), v1alpha1.ComponentSentinel)
	}
	return c
}

func (c *cluster) configJSON() string {
	b, err := json.Marshal(c.config)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(b)
}

// create retries while the API server starts.
func (c *cluster) create(ctx context.Context, o any) {
	c.t.Helper()
	eventually(c.t, "the API server takes an object", func() error {
		var err error
		switch o := o.(type) {
		case *corev1.Secret:
			_, err = c.client.CoreV1().Secrets("default").Create(ctx, o, metav1.CreateOptions{})
		case *corev1.ConfigMap:
			_, err = c.client.CoreV1().ConfigMaps("default").Create(ctx, o, metav1.CreateOptions{})
		}
		return err
	})
}

// add makes a pod with an address, a data directory and an agent.
func (c *cluster) add(name, component string) *pod {
	c.t.Helper()
	p := &pod{name: name, component: component, data: filepath.Join(c.dir, name), ports: map[int32]int32{}}
	if err := os.MkdirAll(p.data, 0o700); err != nil {
		c.t.Fatal(err)
	}
	var err error
	if p.log, err = os.Create(filepath.Join(logDir(c.dir), name+".log")); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = p.log.Close() })
	c.pods[name] = p
	c.schedule(p)
	c.start(p)
	return p
}

// schedule makes the Pod object, with a new address.
func (c *cluster) schedule(p *pod) {
	c.t.Helper()
	c.addresses++
	p.ip = fmt.Sprintf("127.12.0.%d", c.addresses)
	ports := map[string]int32{}
	for _, port := range []int32{v1alpha1.PortRedis, v1alpha1.PortSentinel, v1alpha1.PortAgent} {
		p.ports[port] = freePort(c.t, p.ip)
		ports[strconv.Itoa(int(port))] = p.ports[port]
	}
	annotation, err := json.Marshal(ports)
	if err != nil {
		c.t.Fatal(err)
	}
	pods := c.client.CoreV1().Pods("default")
	made, err := pods.Create(c.t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:        p.name,
			Labels:      map[string]string{v1alpha1.LabelName: redisName, v1alpha1.LabelComponent: p.component},
			Annotations: map[string]string{v1alpha1.AnnotationPorts: string(annotation)},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "redis", Image: "redis:7.2", Command: []string{"redstart", "agent"}}}},
	}, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	made.Status.PodIP, made.Status.Phase = p.ip, corev1.PodRunning
	if _, err := pods.UpdateStatus(c.t.Context(), made, metav1.UpdateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

// start runs the pod's agent.
func (c *cluster) start(p *pod) {
	c.t.Helper()
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), "POD_NAME="+p.name, "POD_NAMESPACE=default", "POD_UID="+p.name, "POD_IP="+p.ip, "REDSTART_REDIS="+redisName,
		"REDSTART_COMPONENT="+p.component, "REDSTART_MOUNT_DATA="+p.data, "KUBECONFIG="+c.kubeconfig)
	for port, local := range p.ports {
		p.cmd.Env = append(p.cmd.Env, fmt.Sprintf("REDSTART_PORT_%d=%d", port, local))
	}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	p.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait()
		close(ended)
	}(p.cmd, p.ended)
}

// kill ends the agent by SIGKILL; its server dies with it.
func (p *pod) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// terminate ends the agent by SIGTERM and waits for its end.
func (p *pod) terminate(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("%s does not end on SIGTERM", p.name)
	}
}

func (p *pod) address(port int32) string {
	return net.JoinHostPort(p.ip, strconv.Itoa(int(p.ports[port])))
}

// status asks the pod's agent.
func (p *pod) status(ctx context.Context) (v1alpha1.AgentStatus, error) {
	var s v1alpha1.AgentStatus
	b, err := p.call(ctx, http.MethodGet, "/status", "", token)
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	return s, err
}

func (p *pod) call(ctx context.Context, method, path, body, token string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+p.address(v1alpha1.PortAgent)+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s of %s: %s: %s", method, path, p.name, resp.Status, b)
	}
	return b, err
}

// server is a client of the pod's redis-server, until the end of the test.
func (c *cluster) server(p *pod) *redis.Client {
	r := redis.NewClient(p.address(v1alpha1.PortRedis), password)
	c.t.Cleanup(func() { _ = r.Close() })
	return r
}

// ready waits until every pod is, with one open master that everybody follows and the labels say so, and returns the
// master.
func (c *cluster) ready() *pod {
	c.t.Helper()
	var master *pod
	eventually(c.t, "all pods are ready", func() error {
		terms := map[string]int64{}
		master = nil
		for _, p := range c.pods {
			s, err := p.status(c.t.Context())
			if err != nil {
				return err
			}
			if !s.Ready {
				return fmt.Errorf("%s is not ready: %s (%+v)", p.name, s.Message, s.Server)
			}
			if s.Sentinel != nil && (len(s.Sentinel.Sentinels) != int(c.config.Sentinels)-1 || len(s.Sentinel.Replicas) != int(c.config.Replicas)-1 ||
				s.Sentinel.FailoverInProgress) {
				return fmt.Errorf("%s knows %d Sentinels and %d replicas", p.name, len(s.Sentinel.Sentinels), len(s.Sentinel.Replicas))
			}
			if p.component == v1alpha1.ComponentMember {
				terms[p.name] = s.Term
			}
			if s.Role == v1alpha1.RoleMaster {
				if master != nil {
					return fmt.Errorf("%s and %s are both master", master.name, p.name)
				}
				master = p
			}
		}
		if master == nil {
			return fmt.Errorf("nobody is master")
		}
		for name, term := range terms {
			if now := terms[master.name]; term != now {
				return fmt.Errorf("%s has yet to confirm that it holds the data of term %d", name, now) // and nobody hands over to it
			}
		}
		for _, p := range c.pods {
			o, err := c.client.CoreV1().Pods("default").Get(c.t.Context(), p.name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			want := v1alpha1.RoleReplica
			if p == master {
				want = v1alpha1.RoleMaster
			} else if p.component == v1alpha1.ComponentSentinel {
				want = v1alpha1.RoleSentinel
			}
			if got := v1alpha1.Role(o.Labels[v1alpha1.LabelRole]); got != want {
				return fmt.Errorf("%s is labelled %q, want %q", p.name, got, want)
			}
		}
		return nil
	})
	return master
}

func (c *cluster) members() []*pod {
	var out []*pod
	for n := range int(c.config.Replicas) {
		out = append(out, c.pods[fmt.Sprintf("%s-%d", redisName, n)])
	}
	return out
}

func (c *cluster) dumpLogs() {
	for name := range c.pods {
		b, err := os.ReadFile(filepath.Join(logDir(c.dir), name+".log"))
		if err == nil {
			c.t.Logf("log of %s:\n%s", name, b[max(0, len(b)-8000):])
		}
	}
}

// eventually polls until check has no error.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("waited %s until %s: %v", patience, what, err)
		case <-tick.C:
		}
	}
}

func freePort(t *testing.T, ip string) int32 {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return int32(l.Addr().(*net.TCPAddr).Port)
}

// logDir is where the agents' logs go: REDSTART_TEST_LOGS keeps them.
func logDir(dir string) string {
	if keep := os.Getenv("REDSTART_TEST_LOGS"); keep != "" {
		return keep
	}
	return dir
}
