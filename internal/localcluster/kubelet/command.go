package kubelet

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Reasons why a container waits, beyond those of every kubelet.
const (
	// ReasonImageNotMapped: the container has no command, and its image stands for none on this machine.
	ReasonImageNotMapped = "ImageNotMapped"
	// ReasonCommandNotFound: the machine has no such executable.
	ReasonCommandNotFound = "CommandNotFound"
	// ReasonUnsupported: the pod asks for what one machine cannot honour.
	ReasonUnsupported = "Unsupported"
	// ReasonConfigError: a Secret, ConfigMap or key is missing.
	ReasonConfigError = "CreateContainerConfigError"
)

// waitError is why a container cannot start yet, as its status tells it.
type waitError struct{ reason, message string }

func (e *waitError) Error() string { return e.reason + ": " + e.message }

func configError(format string, args ...any) error {
	return &waitError{ReasonConfigError, fmt.Sprintf(format, args...)}
}

// commandLine finds what to run for a container: the executable, which may be a bare name, and its arguments.
// Without a command the image stands for one: by the mapping images (glob patterns of the image, or of its name
// without registry and tag), or because it is a Redis or Valkey image. redstart is the path of our own executable,
// which stands for the command redstart.
func commandLine(c *corev1.Container, images map[string][]string, redstart string, env map[string]string, at place) (string, []string, error) {
	line := slices.Concat(c.Command, c.Args)
	for i := range line {
		line[i] = expand(line[i], env)
	}
	if len(c.Command) == 0 {
		mapped, err := imageCommand(c, images, line, at)
		if err != nil {
			return "", nil, err
		}
		line = mapped
	}
	if line[0] == "redstart" || strings.HasSuffix(line[0], "/redstart") {
		line[0] = redstart
	}
	return line[0], line[1:], nil
}

func imageCommand(c *corev1.Container, images map[string][]string, args []string, at place) ([]string, error) {
	name := repository(c.Image)
	if command := mapping(images, c.Image, name); len(command) > 0 {
		return slices.Concat(command, args), nil
	}
	switch path.Base(name) {
	case "redis":
		return serverCommand("redis-server", args, at), nil
	case "valkey":
		return serverCommand("valkey-server", args, at), nil
	}
	return nil, &waitError{ReasonImageNotMapped, fmt.Sprintf(
		"image %q stands for no command on this machine: give the container a command, or map the image, as in images: {%q: [COMMAND, ARGUMENT]}", c.Image, name)}
}

// mapping finds the command of an image; of several patterns that match, the longest counts.
func mapping(images map[string][]string, names ...string) []string {
	var best string
	var command []string
	for pattern, line := range images {
		for _, name := range names {
			if ok, err := path.Match(pattern, name); err == nil && ok && (command == nil || len(pattern) > len(best) || len(pattern) == len(best) && pattern < best) {
				best, command = pattern, line
			}
		}
	}
	return command
}

// repository is an image's name without registry, tag and digest.
func repository(image string) string {
	name, _, _ := strings.Cut(image, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	if first, rest, ok := strings.Cut(name, "/"); ok && (strings.ContainsAny(first, ".:") || first == "localhost") {
		name = rest
	}
	return name
}

// serverCommand does what the entry point of the official images does: arguments that begin with a configuration
// file or an option are the server's, others are a command. The server listens on the pod's address alone, since
// the machine's other addresses are not the pod's.
func serverCommand(server string, args []string, at place) []string {
	var config []string
	if len(args) > 0 && (args[0] == "redis-server" || args[0] == "valkey-server") {
		server, args = args[0], args[1:]
	} else if len(args) > 0 && !strings.HasPrefix(args[0], "-") && !strings.HasSuffix(args[0], ".conf") {
		return args
	}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		config, args = args[:1], args[1:]
	}
	// Before the pod's own arguments, so that those win.
	defaults := []string{"--bind", at.address.IP.String(), "--protected-mode", "no", "--port", strconv.Itoa(int(at.address.Port(6379)))}
	return slices.Concat([]string{server}, config, defaults, args)
}
