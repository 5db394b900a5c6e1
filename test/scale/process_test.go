package scale_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// process is a program that runs until the test ends.
type process struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	ended chan struct{}
	// stopping: it is meant to end.
	stopping atomic.Bool
}

// start starts one. What it writes goes to a file, whose end is shown when the test fails.
func start(t *testing.T, name, log, path string, args ...string) *process {
	t.Helper()
	out, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(path, args...)
	cmd.Args[0] = name // one program may be several, by its name
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = dieWithParent()
	p := &process{t: t, name: name, cmd: cmd, ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		defer close(p.ended)
		// It dies with the thread that started it, so that thread has to stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		if err == nil && !p.stopping.Load() {
			t.Errorf("%s ended by itself: %s", name, tail(log, 3))
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("%s ended its log with:\n%s", name, tail(log, 20))
		}
	})
	return p
}

// stop ends it, and waits for that.
func (p *process) stop() {
	p.stopping.Store(true)
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

func tail(file string, lines int) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// operator is one that runs in a process of its own, as in its pod.
type operator struct {
	*process
	metrics, pprof string
}

// startOperator starts one and waits until its caches are full. No other one competes with it, so it elects no leader: every request
// that it makes is about the objects that it looks after.
func (p *controlPlane) startOperator(name string) *operator {
	p.t.Helper()
	o := &operator{metrics: freeAddress(p.t), pprof: freeAddress(p.t)}
	health := freeAddress(p.t)
	o.process = start(p.t, "redstart", p.log(name), *redstart, "operator", "--kubeconfig="+p.operatorConfig, "--agent-image=redstart",
		"--metrics-bind-address="+o.metrics, "--health-probe-bind-address="+health, "--pprof-bind-address="+o.pprof)
	eventually(p.t, "the operator is ready", 5*time.Minute, func(ctx context.Context) error {
		select {
		case <-o.ended:
			p.t.Fatalf("the operator ended: %s", tail(p.log(name), 20))
		default:
		}
		return get(ctx, "http://"+health+"/readyz", nil)
	})
	return o
}

// get reads a page, at most ten seconds long.
func get(ctx context.Context, url string, read func(*http.Response) error) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(url + " answered " + resp.Status)
	}
	if read == nil {
		return nil
	}
	return read(resp)
}

// reading is what an operator has used, made and counted so far.
type reading struct {
	at       time.Time
	cpu      time.Duration // of the process
	rss      int64         // resident, in bytes; file is the part of it that is the program itself
	file     int64
	peak     int64
	families map[string]*dto.MetricFamily
}

// read takes a reading. The operator collects its garbage first, so that the heap is what is in use.
func (o *operator) read() reading {
	o.t.Helper()
	ctx := o.t.Context()
	if err := get(ctx, "http://"+o.pprof+"/debug/pprof/heap?gc=1", nil); err != nil {
		o.t.Fatal(err)
	}
	return o.glance()
}

// glance is a reading whose heap has its garbage in it: it costs the operator little.
func (o *operator) glance() reading {
	o.t.Helper()
	r := reading{at: time.Now()}
	err := get(o.t.Context(), "http://"+o.metrics+"/metrics", func(resp *http.Response) error {
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(resp.Body)
		r.families = families
		return err
	})
	if err != nil {
		o.t.Fatal(err)
	}
	pid := o.cmd.Process.Pid
	r.cpu = cpuOf(o.t, pid)
	r.rss, r.file, r.peak = memoryOf(o.t, pid)
	return r
}

// cpuOf is the CPU time of a process so far.
func cpuOf(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	var ticks time.Duration
	for _, s := range f[11:13] { // utime and stime, in hundredths of a second
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += time.Duration(n)
	}
	return ticks * 10 * time.Millisecond
}

// memoryOf is what of a process is in memory, the part of it that is read from files, and the most that ever was, in bytes.
func memoryOf(t *testing.T, pid int) (rss, file, peak int64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]*int64{"VmRSS": &rss, "RssFile": &file, "VmHWM": &peak}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		if into := fields[name]; into != nil {
			kib, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			*into = kib << 10
		}
	}
	return rss, file, peak
}

// sum adds up the counters, or the gauges, of a metric whose labels are these.
func (r reading) sum(name string, labels map[string]string) float64 {
	total := 0.0
	for _, m := range r.matching(name, labels) {
		total += m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return total
}

func (r reading) matching(name string, labels map[string]string) []*dto.Metric {
	var found []*dto.Metric
	for _, m := range r.families[name].GetMetric() {
		match := 0
		for _, l := range m.GetLabel() {
			if v, ok := labels[l.GetName()]; ok && v == l.GetValue() {
				match++
			}
		}
		if match == len(labels) {
			found = append(found, m)
		}
	}
	return found
}

// reconciles of a controller.
func (r reading) reconciles(controller string) float64 {
	return r.sum("controller_runtime_reconcile_total", map[string]string{"controller": controller})
}

// requests to the API server, and those of them that write.
func (r reading) requests() (all, writes float64) {
	all = r.sum("rest_client_requests_total", nil)
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		writes += r.sum("rest_client_requests_total", map[string]string{"method": method})
	}
	return all, writes
}
