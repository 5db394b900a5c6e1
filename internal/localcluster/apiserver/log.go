package apiserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
)

// logREST is pods/log.
type logREST struct {
	pods   *genericregistry.Store
	source LogSource
	log    *slog.Logger
}

func (r *logREST) New() runtime.Object                               { return &corev1.Pod{} }
func (r *logREST) Destroy()                                          {}
func (r *logREST) ConnectMethods() []string                          { return []string{http.MethodGet} }
func (r *logREST) NewConnectOptions() (runtime.Object, bool, string) { return nil, false, "" }

// ProducesMIMETypes tells clients that a log is text.
func (r *logREST) ProducesMIMETypes(string) []string { return []string{"text/plain"} }

// ProducesObject tells that there is no type for a log.
func (r *logREST) ProducesObject(string) any { return "" }

// Connect answers one request for the log of the pod named name.
func (r *logREST) Connect(ctx context.Context, name string, _ runtime.Object, responder rest.Responder) (http.Handler, error) {
	obj, err := r.pods.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return nil, apierrors.NewInternalError(fmt.Errorf("the store holds a %T as pod %s", obj, name))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		opts, err := parseLogOptions(req.URL.Query())
		if err == nil {
			opts.Container, err = chooseContainer(pod, opts.Container)
		}
		if err != nil {
			responder.Error(apierrors.NewBadRequest(err.Error()))
			return
		}
		stream, err := r.source.PodLogs(req.Context(), pod, opts)
		if err != nil {
			var status apierrors.APIStatus
			if !errors.As(err, &status) {
				err = apierrors.NewBadRequest(fmt.Sprintf("the log of pod %s, container %s: %v", name, opts.Container, err))
			}
			responder.Error(err)
			return
		}
		defer func() {
			if err := stream.Close(); err != nil {
				r.log.Debug("Cannot close a log", "pod", name, "error", err)
			}
		}()
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusOK)
		if err := copyLive(w, stream); err != nil && req.Context().Err() == nil {
			r.log.Warn("A log ended early", "pod", name, "container", opts.Container, "error", err)
		}
	}), nil
}

// copyLive copies r to w and flushes after every read, so that a reader sees each line when it is written.
func copyLive(w http.ResponseWriter, r io.Reader) error {
	control := http.NewResponseController(w)
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
			if err := control.Flush(); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// chooseContainer is the container whose log is asked for; without a name there must be just one.
func chooseContainer(pod *corev1.Pod, asked string) (string, error) {
	var all []string
	for _, c := range pod.Spec.Containers {
		all = append(all, c.Name)
	}
	if asked == "" {
		if len(all) == 1 {
			return all[0], nil
		}
		return "", fmt.Errorf("a container name must be specified for pod %s, choose one of: %s", pod.Name, all)
	}
	for _, c := range pod.Spec.InitContainers {
		all = append(all, c.Name)
	}
	for _, name := range all {
		if name == asked {
			return asked, nil
		}
	}
	return "", fmt.Errorf("container %s is not valid for pod %s, choose one of: %s", asked, pod.Name, strings.Join(all, ", "))
}

func parseLogOptions(q url.Values) (*corev1.PodLogOptions, error) {
	o := &corev1.PodLogOptions{Container: q.Get("container")}
	for name, to := range map[string]*bool{"follow": &o.Follow, "previous": &o.Previous, "timestamps": &o.Timestamps} {
		if v := q.Get(name); v != "" {
			b, err := strconv.ParseBool(v)
			if err != nil {
				return nil, fmt.Errorf("%s: expected true or false, not %q", name, v)
			}
			*to = b
		}
	}
	for name, n := range map[string]struct {
		to  **int64
		min int64
	}{"tailLines": {&o.TailLines, 0}, "sinceSeconds": {&o.SinceSeconds, 1}, "limitBytes": {&o.LimitBytes, 1}} {
		if v := q.Get(name); v != "" {
			i, err := strconv.ParseInt(v, 10, 64)
			if err != nil || i < n.min {
				return nil, fmt.Errorf("%s: expected a whole number of at least %d, not %q", name, n.min, v)
			}
			*n.to = &i
		}
	}
	if v := q.Get("sinceTime"); v != "" {
		t, err := time.Parse(time.RFC3339, v)
		if err != nil {
			return nil, fmt.Errorf("sinceTime: expected a time such as 2006-01-02T15:04:05Z, not %q", v)
		}
		since := metav1.NewTime(t)
		o.SinceTime = &since
	}
	if o.SinceTime != nil && o.SinceSeconds != nil {
		return nil, errors.New("sinceTime and sinceSeconds: give at most one of them")
	}
	return o, nil
}
