package kubelet

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/localcluster/address"
)

// objects looks up what an environment refers to; nil and no error when there is no such object.
type objects struct {
	configMap func(name string) (*corev1.ConfigMap, error)
	secret    func(name string) (*corev1.Secret, error)
}

// place is where a pod runs on this machine.
type place struct {
	nodeName   string
	address    address.Address
	hostIP     string
	kubeconfig string
	mounts     map[string]string // directory of every volume, by the volume's name
}

// inherited are the variables of our own environment that processes see. A container would have its image's.
func inherited() []string {
	if runtime.GOOS == "windows" {
		return []string{"PATH", "PATHEXT", "SYSTEMROOT", "USERPROFILE", "TEMP", "TMP"}
	}
	return []string{"PATH", "HOME", "TMPDIR", "LANG", "TZ"}
}

// environment builds the whole environment of a container: what a kubelet sets, what the pod asks for, and last what
// only this machine has to tell. An error is a waitError.
func environment(pod *corev1.Pod, c *corev1.Container, services []corev1.Service, from objects, at place) (map[string]string, error) {
	env := map[string]string{}
	for _, name := range inherited() {
		if v, ok := os.LookupEnv(name); ok {
			env[name] = v
		}
	}
	env["HOSTNAME"] = cmp.Or(pod.Spec.Hostname, pod.Name)
	if pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks {
		if err := serviceVariables(env, services); err != nil {
			return nil, err
		}
	}
	for i := range c.EnvFrom {
		if err := addEnvFrom(env, &c.EnvFrom[i], from); err != nil {
			return nil, err
		}
	}
	for i := range c.Env {
		v := &c.Env[i]
		if v.ValueFrom == nil {
			env[v.Name] = expand(v.Value, env)
			continue
		}
		value, ok, err := valueFrom(pod, c, v.ValueFrom, from, at)
		if err != nil {
			return nil, err
		}
		if ok {
			env[v.Name] = value
		}
	}
	env["KUBECONFIG"] = at.kubeconfig
	for volume, dir := range at.mounts {
		env["REDSTART_MOUNT_"+variableName(volume)] = dir
	}
	for port, local := range at.address.Ports {
		env["REDSTART_PORT_"+strconv.Itoa(int(port))] = strconv.Itoa(int(local))
	}
	return env, nil
}

// variableName is a Kubernetes name as a part of a variable's name.
func variableName(name string) string {
	return strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(name))
}

// pairs is env as a process gets it, sorted.
func pairs(env map[string]string) []string {
	all := make([]string, 0, len(env))
	for _, k := range slices.Sorted(maps.Keys(env)) {
		all = append(all, k+"="+env[k])
	}
	return all
}

// serviceVariables sets NAME_SERVICE_HOST, NAME_SERVICE_PORT and the Docker link variables of every Service with a
// cluster IP. Where Services share their IP, the values have the local ports; names have the Service's own. It waits
// for a Service whose local ports are not known yet.
func serviceVariables(env map[string]string, services []corev1.Service) error {
	for i := range services {
		s := &services[i]
		ip := s.Spec.ClusterIP
		if ip == "" || ip == corev1.ClusterIPNone || len(s.Spec.Ports) == 0 {
			continue
		}
		name := variableName(s.Name)
		env[name+"_SERVICE_HOST"] = ip
		for i, p := range s.Spec.Ports {
			protocol := cmp.Or(string(p.Protocol), "TCP")
			port := strconv.Itoa(int(p.Port))
			prefix := name + "_PORT_" + port + "_" + protocol
			if protocol == "TCP" { // the only one that is forwarded
				address := v1alpha1.ServiceAddress(s, p.Port)
				if address == "" {
					return &waitError{"ContainerCreating", fmt.Sprintf("service %q has no local port for its port %d yet", s.Name, p.Port)}
				}
				port = address[strings.LastIndexByte(address, ':')+1:]
			}
			if p.Name != "" {
				env[name+"_SERVICE_PORT_"+variableName(p.Name)] = port
			}
			url := strings.ToLower(protocol) + "://" + ip + ":" + port
			if i == 0 {
				env[name+"_SERVICE_PORT"], env[name+"_PORT"] = port, url
			}
			env[prefix] = url
			env[prefix+"_PROTO"] = strings.ToLower(protocol)
			env[prefix+"_PORT"] = port
			env[prefix+"_ADDR"] = ip
		}
	}
	return nil
}

func addEnvFrom(env map[string]string, f *corev1.EnvFromSource, from objects) error {
	add := func(key, value string) {
		if name := f.Prefix + key; len(validation.IsEnvVarName(name)) == 0 {
			env[name] = value
		}
	}
	switch {
	case f.ConfigMapRef != nil:
		cm, err := getConfigMap(from, f.ConfigMapRef.Name, f.ConfigMapRef.Optional)
		if err != nil || cm == nil {
			return err
		}
		for k, v := range cm.Data {
			add(k, v)
		}
	case f.SecretRef != nil:
		s, err := getSecret(from, f.SecretRef.Name, f.SecretRef.Optional)
		if err != nil || s == nil {
			return err
		}
		for k, v := range s.Data {
			add(k, string(v))
		}
	}
	return nil
}

// valueFrom returns the value, and whether there is one: an optional one may be missing.
func valueFrom(pod *corev1.Pod, c *corev1.Container, s *corev1.EnvVarSource, from objects, at place) (string, bool, error) {
	switch {
	case s.FieldRef != nil:
		v, err := podField(pod, s.FieldRef.FieldPath, at)
		return v, err == nil, err
	case s.ResourceFieldRef != nil:
		v, err := resourceField(pod, c, s.ResourceFieldRef)
		return v, err == nil, err
	case s.ConfigMapKeyRef != nil:
		ref := s.ConfigMapKeyRef
		cm, err := getConfigMap(from, ref.Name, ref.Optional)
		if err != nil || cm == nil {
			return "", false, err
		}
		if v, ok := cm.Data[ref.Key]; ok {
			return v, true, nil
		}
		return "", false, missingKey("configmap", ref.Name, ref.Key, ref.Optional)
	case s.SecretKeyRef != nil:
		ref := s.SecretKeyRef
		secret, err := getSecret(from, ref.Name, ref.Optional)
		if err != nil || secret == nil {
			return "", false, err
		}
		if v, ok := secret.Data[ref.Key]; ok {
			return string(v), true, nil
		}
		return "", false, missingKey("secret", ref.Name, ref.Key, ref.Optional)
	}
	return "", false, configError("valueFrom has a source that is not supported on one machine")
}

func missingKey(kind, name, key string, optional *bool) error {
	if optional != nil && *optional {
		return nil
	}
	return configError("%s %q has no key %q", kind, name, key)
}

func getConfigMap(from objects, name string, optional *bool) (*corev1.ConfigMap, error) {
	cm, err := from.configMap(name)
	if err != nil {
		return nil, err
	}
	if cm == nil && (optional == nil || !*optional) {
		return nil, configError("configmap %q not found", name)
	}
	return cm, nil
}

func getSecret(from objects, name string, optional *bool) (*corev1.Secret, error) {
	s, err := from.secret(name)
	if err != nil {
		return nil, err
	}
	if s == nil && (optional == nil || !*optional) {
		return nil, configError("secret %q not found", name)
	}
	return s, nil
}

// podField reads a field of the pod as the downward API has it.
func podField(pod *corev1.Pod, path string, at place) (string, error) {
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "metadata.labels":
		return formatMap(pod.Labels), nil
	case "metadata.annotations":
		return formatMap(pod.Annotations), nil
	case "spec.nodeName":
		return at.nodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.podIP", "status.podIPs":
		return at.address.IP.String(), nil
	case "status.hostIP", "status.hostIPs":
		return at.hostIP, nil
	}
	if key, ok := subscript(path, "metadata.labels"); ok {
		return pod.Labels[key], nil
	}
	if key, ok := subscript(path, "metadata.annotations"); ok {
		return pod.Annotations[key], nil
	}
	return "", configError("fieldRef %q is not supported on one machine", path)
}

// subscript returns KEY of a path FIELD['KEY'].
func subscript(path, field string) (string, bool) {
	rest, ok := strings.CutPrefix(path, field+"['")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, "']")
}

// formatMap is a map in a downward API value: key="value" lines, sorted.
func formatMap(m map[string]string) string {
	lines := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, fmt.Sprintf("%s=%q", k, m[k]))
	}
	return strings.Join(lines, "\n")
}

// resourceField reads a request or limit, in units of its divisor, rounded up. A limit that is not set is the
// machine's.
func resourceField(pod *corev1.Pod, c *corev1.Container, ref *corev1.ResourceFieldSelector) (string, error) {
	if ref.ContainerName != "" && ref.ContainerName != c.Name {
		i := slices.IndexFunc(pod.Spec.Containers, func(o corev1.Container) bool { return o.Name == ref.ContainerName })
		if i < 0 {
			return "", configError("resourceFieldRef names container %q, which the pod does not have", ref.ContainerName)
		}
		c = &pod.Spec.Containers[i]
	}
	from, name, ok := strings.Cut(ref.Resource, ".")
	list := c.Resources.Limits
	if from == "requests" {
		list = c.Resources.Requests
	}
	if !ok || from != "limits" && from != "requests" {
		return "", configError("resourceFieldRef %q: use limits.cpu, limits.memory, requests.cpu or requests.memory", ref.Resource)
	}
	q, ok := list[corev1.ResourceName(name)]
	if !ok && from == "limits" {
		q = machine()[corev1.ResourceName(name)]
	}
	amount, divisor := q.MilliValue(), ref.Divisor.MilliValue()
	if name == string(corev1.ResourceMemory) {
		amount, divisor = q.Value(), ref.Divisor.Value()
	} else if divisor == 0 {
		divisor = 1000
	}
	divisor = max(divisor, 1)
	return strconv.FormatInt((amount+divisor-1)/divisor, 10), nil
}

// expand replaces $(NAME) by its value; $$ is a dollar sign, and the reference to an unknown name stays.
func expand(s string, env map[string]string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "$")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		s = after
		switch {
		case strings.HasPrefix(s, "$"):
			b.WriteByte('$')
			s = s[1:]
		case strings.HasPrefix(s, "(") && strings.Contains(s, ")"):
			name, rest, _ := strings.Cut(s[1:], ")")
			if v, ok := env[name]; ok {
				b.WriteString(v)
			} else {
				b.WriteString("$(" + name + ")")
			}
			s = rest
		default:
			b.WriteByte('$')
		}
	}
}
