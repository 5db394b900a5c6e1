package v1alpha1

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// What the pods of a Redis have of their own; see internal/operator/objects.
var (
	ownContainers = []string{"agent", "redis", "sentinel"}
	ownVolumes    = []string{"data", "redstart"}
	ownPaths      = []string{"/data", "/redstart"}
	ownPorts      = []int32{PortRedis, PortAgent, PortSentinel}
)

const (
	maxExtraContainers = 16
	maxExtraVolumes    = 32
)

// validateExtras refuses what clashes with Redstart's own. The rest of containers and volumes the API server judges, when
// the StatefulSet is applied.
func (s *RedisSpec) validateExtras(at *field.Path) field.ErrorList {
	errs := validateContainers(s.ExtraContainers, at.Child("extraContainers"))
	errs = append(errs, validateContainers(s.InitContainers, at.Child("initContainers"))...)
	for i, c := range s.InitContainers {
		// Containers of both kinds share one space of names.
		if slices.ContainsFunc(s.ExtraContainers, func(e corev1.Container) bool { return e.Name == c.Name }) {
			errs = append(errs, field.Duplicate(at.Child("initContainers").Index(i).Child("name"), c.Name))
		}
	}
	volumes := map[string]bool{}
	if len(s.ExtraVolumes) > maxExtraVolumes {
		errs = append(errs, field.TooMany(at.Child("extraVolumes"), len(s.ExtraVolumes), maxExtraVolumes))
	}
	for i, v := range s.ExtraVolumes {
		errs = append(errs, ownName(v.Name, ownVolumes, volumes, at.Child("extraVolumes").Index(i).Child("name"))...)
	}
	mounts := at.Child("extraVolumeMounts")
	if len(s.ExtraVolumeMounts) > maxExtraVolumes {
		errs = append(errs, field.TooMany(mounts, len(s.ExtraVolumeMounts), maxExtraVolumes))
	}
	paths := map[string]bool{}
	for i, m := range s.ExtraVolumeMounts {
		if !volumes[m.Name] {
			errs = append(errs, field.Invalid(mounts.Index(i).Child("name"), m.Name, "expected the name of one of spec.extraVolumes"))
		}
		where := mounts.Index(i).Child("mountPath")
		switch {
		case !freePath(m.MountPath):
			errs = append(errs, field.Invalid(where, m.MountPath, "expected an absolute path other than /, /data, /redstart and what is below them"))
		case paths[m.MountPath]:
			errs = append(errs, field.Duplicate(where, m.MountPath))
		}
		paths[m.MountPath] = true
	}
	return errs
}

func validateContainers(all []corev1.Container, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(all) > maxExtraContainers {
		errs = append(errs, field.TooMany(at, len(all), maxExtraContainers))
	}
	seen := map[string]bool{}
	for i, c := range all {
		errs = append(errs, ownName(c.Name, ownContainers, seen, at.Index(i).Child("name"))...)
		for j, p := range c.Ports {
			if slices.Contains(ownPorts, p.ContainerPort) {
				errs = append(errs, field.Invalid(at.Index(i).Child("ports").Index(j).Child("containerPort"), p.ContainerPort,
					fmt.Sprintf("ports %d, %d and %d are taken; choose another port", PortRedis, PortAgent, PortSentinel)))
			}
		}
	}
	return errs
}

// ownName demands a name that is neither Redstart's own nor in seen, and adds it.
func ownName(name string, own []string, seen map[string]bool, at *field.Path) field.ErrorList {
	switch {
	case slices.Contains(own, name):
		return field.ErrorList{field.Forbidden(at, fmt.Sprintf("%s is Redstart's own; choose another name than %s", name, strings.Join(own, ", ")))}
	case seen[name]:
		return field.ErrorList{field.Duplicate(at, name)}
	}
	seen[name] = true
	return nil
}

func freePath(p string) bool {
	clean := path.Clean(p)
	if !path.IsAbs(p) || clean == "/" {
		return false
	}
	return !slices.ContainsFunc(ownPaths, func(own string) bool { return clean == own || strings.HasPrefix(clean, own+"/") })
}
