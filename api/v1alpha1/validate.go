package v1alpha1

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The rules here are in the CRD too, as bounds and as CEL expressions beside the fields in redis.go; a test runs
// every case through both. Validate speaks about a Redis after Default.

const (
	maxNameLength    = 40 // NAME-sentinel and the hash of a revision are a label, of 63 characters
	maxSettings      = 128
	maxSettingLength = 1024

	maxShards           = 500
	maxReplicasPerShard = 5
)

var (
	settingName = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	imageName   = regexp.MustCompile(`^\S+$`)
)

// Bounds of spec.replicas and spec.sentinel.replicas.
const (
	MaxReplicas  = 32
	MaxSentinels = 9
)

const notServed = "not served yet; remove it"

// Validate names every field that is wrong, what was expected there, and what to write instead.
func (r *Redis) Validate() field.ErrorList {
	path, s := field.NewPath("spec"), &r.Spec
	errs := r.validateName()
	switch s.Mode {
	case ModeStandalone, ModeReplication, ModeSentinel, ModeCluster:
	default:
		errs = append(errs, field.NotSupported(path.Child("mode"), s.Mode, []Mode{ModeStandalone, ModeReplication, ModeSentinel, ModeCluster}))
	}
	errs = append(errs, s.validateShards(path)...)
	if !imageName.MatchString(s.Image) || len(s.Image) > 512 {
		errs = append(errs, field.Invalid(path.Child("image"), s.Image, "expected the name of an image, for example redis:7.2"))
	}
	errs = append(errs, oneOf(s.ImagePullPolicy, path.Child("imagePullPolicy"), corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	errs = append(errs, between(s.Replicas, 1, MaxReplicas, path.Child("replicas"))...)
	if s.Mode == ModeStandalone && s.Replicas != nil && *s.Replicas != 1 {
		errs = append(errs, field.Invalid(path.Child("replicas"), *s.Replicas, "mode Standalone is one member; write 1, or choose mode Replication or Sentinel"))
	}
	errs = append(errs, s.validateNotServed(path)...)
	errs = append(errs, s.validateSentinel(path.Child("sentinel"))...)
	errs = append(errs, validateConfig(s.Config, path.Child("config"))...)
	errs = append(errs, s.Storage.validate(path.Child("storage"))...)
	if s.Auth != nil && s.Auth.SecretName != "" {
		errs = append(errs, messages(validation.IsDNS1123Subdomain(s.Auth.SecretName), s.Auth.SecretName, path.Child("auth", "secretName"))...)
	}
	errs = append(errs, s.validateDurability(path.Child("durability"))...)
	errs = append(errs, r.validateService(path.Child("service"))...)
	errs = append(errs, s.NetworkPolicy.validate(path.Child("networkPolicy"))...)
	errs = append(errs, s.validateExtras(path)...)
	if m := s.Metrics; m != nil {
		errs = append(errs, metav1validation.ValidateLabels(m.PodMonitorLabels, path.Child("metrics", "podMonitorLabels"))...)
	}
	if m := s.PodMetadata; m != nil {
		errs = append(errs, validatePodLabels(m.Labels, path.Child("podMetadata", "labels"))...)
	}
	return append(errs, between(s.TerminationGracePeriodSeconds, 5, 3600, path.Child("terminationGracePeriodSeconds"))...)
}

// validateName: Services are named like the Redis, and pods are labelled with longer names.
func (r *Redis) validateName() field.ErrorList {
	path := field.NewPath("metadata", "name")
	if r.Name == "" {
		return nil // generateName; the API demands one of the two
	}
	if len(r.Name) > maxNameLength {
		return field.ErrorList{field.Invalid(path, r.Name, fmt.Sprintf("expected at most %d characters; the names of pods and Services are longer than this one", maxNameLength))}
	}
	return messages(validation.IsDNS1035Label(r.Name), r.Name, path)
}

// validateShards: mode Cluster counts its members by shards, the others do not.
func (s *RedisSpec) validateShards(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Mode == ModeCluster {
		if s.Replicas != nil {
			errs = append(errs, field.Forbidden(path.Child("replicas"), "mode Cluster counts its members by shards and replicasPerShard; remove it"))
		}
		errs = append(errs, between(s.Shards, 3, maxShards, path.Child("shards"))...)
		return append(errs, between(s.ReplicasPerShard, 0, maxReplicasPerShard, path.Child("replicasPerShard"))...)
	}
	for _, f := range []struct {
		name string
		used bool
	}{{"shards", s.Shards != nil}, {"replicasPerShard", s.ReplicasPerShard != nil}} {
		if f.used {
			errs = append(errs, field.Forbidden(path.Child(f.name), fmt.Sprintf("mode %s has no shards; write mode: Cluster, or remove it", s.Mode)))
		}
	}
	return errs
}

// validateNotServed refuses what a later version will honour.
func (s *RedisSpec) validateNotServed(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, f := range []struct {
		used bool
		path *field.Path
	}{
		{len(s.Users) > 0, path.Child("users")},
		{s.TLS != nil, path.Child("tls")},
		{s.Gateway != nil, path.Child("gateway")},
		{s.Backup != nil, path.Child("backup")},
	} {
		if f.used {
			errs = append(errs, field.Forbidden(f.path, notServed))
		}
	}
	return errs
}

func (s *RedisSpec) validateSentinel(path *field.Path) field.ErrorList {
	if s.Sentinel == nil {
		return nil
	}
	if s.Mode != ModeSentinel {
		return field.ErrorList{field.Forbidden(path, fmt.Sprintf("mode %s has no Sentinels; write mode: Sentinel, or remove it", s.Mode))}
	}
	n := s.Sentinel
	errs := between(n.Replicas, 3, MaxSentinels, path.Child("replicas"))
	if n.Replicas != nil {
		if *n.Replicas%2 == 0 {
			errs = append(errs, field.Invalid(path.Child("replicas"), *n.Replicas, "expected an odd number, so that there is a majority: 3, 5, 7 or 9"))
		}
		if *n.Replicas >= 3 {
			errs = append(errs, between(n.Quorum, 2, *n.Replicas, path.Child("quorum"))...)
		}
	}
	errs = append(errs, lasting(n.DownAfter, 500*time.Millisecond, 5*time.Minute, path.Child("downAfter"))...)
	errs = append(errs, lasting(n.FailoverTimeout, 2*time.Second, 30*time.Minute, path.Child("failoverTimeout"))...)
	return append(errs, between(n.ParallelSyncs, 1, 32, path.Child("parallelSyncs"))...)
}

func validateConfig(config map[string]string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(config) > maxSettings {
		errs = append(errs, field.TooMany(path, len(config), maxSettings))
	}
	for _, name := range slices.Sorted(maps.Keys(config)) {
		at, value := path.Key(name), config[name]
		if !settingName.MatchString(name) || len(name) > 64 {
			errs = append(errs, field.Invalid(at, name, "expected the name of a setting of redis.conf in lower case, for example maxmemory"))
		} else if instead, owned := OwnedSetting(name); owned {
			errs = append(errs, field.Forbidden(at, "Redstart sets it itself; "+instead))
		}
		if len(value) > maxSettingLength || strings.ContainsAny(value, "\n\r\x00") {
			errs = append(errs, field.Invalid(at, value, fmt.Sprintf("expected one line of at most %d bytes", maxSettingLength)))
		}
	}
	return errs
}

func (s *StorageSpec) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s == nil {
		return nil
	}
	if s.Ephemeral && (s.Size != nil || s.StorageClassName != nil || len(s.AccessModes) > 0 || s.Retain != "") {
		errs = append(errs, field.Forbidden(path.Child("ephemeral"), "data that lives and dies with the pod has no size, storageClassName, accessModes or retain; remove those, or ephemeral"))
	}
	if s.Size != nil && s.Size.Sign() <= 0 {
		errs = append(errs, field.Invalid(path.Child("size"), s.Size.String(), "expected more than zero, for example 1Gi"))
	}
	for i, mode := range s.AccessModes {
		errs = append(errs, oneOf(mode, path.Child("accessModes").Index(i), corev1.ReadWriteOnce, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOncePod)...)
	}
	return append(errs, oneOf(s.Retain, path.Child("retain"), RetainPolicyRetain, RetainPolicyDelete)...)
}

func (s *RedisSpec) validateDurability(path *field.Path) field.ErrorList {
	d := s.Durability
	if d == nil {
		return nil
	}
	most := int32(MaxReplicas - 1)
	switch {
	case s.Mode == ModeCluster:
		most = deref(s.ReplicasPerShard, DefaultReplicasPerShard)
	case s.Replicas != nil:
		most = *s.Replicas - 1
	}
	errs := between(d.MinReplicasToWrite, 0, most, path.Child("minReplicasToWrite"))
	errs = append(errs, lasting(d.MaxLag, time.Second, time.Hour, path.Child("maxLag"))...)
	if d.MaxLag != nil && d.MaxLag.Milliseconds()%1000 != 0 {
		errs = append(errs, field.Invalid(path.Child("maxLag"), d.MaxLag.Duration.String(), "expected whole seconds, for example 10s"))
	}
	return errs
}

func (r *Redis) validateService(path *field.Path) field.ErrorList {
	s := r.Spec.Service
	if s == nil {
		return nil
	}
	errs := s.validateReach(path)
	if s.AnnounceHostnames && r.Spec.Mode != ModeCluster {
		errs = append(errs, field.Forbidden(path.Child("announceHostnames"), "only members of mode Cluster announce host names; remove it"))
	}
	errs = append(errs, s.External.validate(r.Spec.Mode, path.Child("external"))...)
	errs = append(errs, oneOf(s.Type, path.Child("type"), corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer)...)
	for _, f := range []struct{ field, name string }{{"masterName", s.MasterName}, {"replicasName", s.ReplicasName}} {
		if f.name == "" {
			continue
		}
		errs = append(errs, messages(validation.IsDNS1035Label(f.name), f.name, path.Child(f.field))...)
		if f.name == MembersName(r.Name) || f.name == SentinelName(r.Name) {
			errs = append(errs, field.Invalid(path.Child(f.field), f.name, "another Service of this Redis has this name; choose another"))
		}
	}
	if r.Spec.Mode == ModeCluster && s.ReplicasName != "" {
		return append(errs, field.Forbidden(path.Child("replicasName"), "mode Cluster has one Service, whose clients find every shard; remove it"))
	}
	if r.MasterServiceName() == r.ReplicasServiceName() {
		errs = append(errs, field.Invalid(path.Child("replicasName"), r.ReplicasServiceName(), "the Service for writes has this name; choose another"))
	}
	return errs
}

func validatePodLabels(labels map[string]string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(labels) > maxSettings {
		errs = append(errs, field.TooMany(path, len(labels), maxSettings))
	}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if name == LabelRole || strings.HasPrefix(name, GroupVersion.Group+"/") {
			errs = append(errs, field.Forbidden(path.Key(name), "Redstart sets it itself; choose another name"))
		}
	}
	return errs
}

// ValidateUpdate names what must not change. It speaks about two Redises after Default.
func (r *Redis) ValidateUpdate(old *Redis) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec")
	if r.Spec.Mode != old.Spec.Mode {
		errs = append(errs, field.Invalid(path.Child("mode"), r.Spec.Mode, fmt.Sprintf("it is %s and cannot be changed; make another Redis", old.Spec.Mode)))
	}
	now, was := StorageSpec{}, StorageSpec{}
	if r.Spec.Storage != nil {
		now = *r.Spec.Storage
	}
	if old.Spec.Storage != nil {
		was = *old.Spec.Storage
	}
	if now.Size != nil && was.Size != nil && !now.Ephemeral && !was.Ephemeral {
		least := was.Size
		if has := old.Status.StorageSize; has != nil && has.Cmp(*least) < 0 {
			least = has // they did not grow as they were to
		}
		if now.Size.Cmp(*least) < 0 {
			errs = append(errs, field.Forbidden(path.Child("storage", "size"), fmt.Sprintf("it is %s and volumes cannot shrink; write %s or more, or make another Redis", least.String(), least.String())))
		}
		now.Size, was.Size = nil, nil
	}
	now.Retain, was.Retain = "", ""
	if !equality.Semantic.DeepEqual(now, was) {
		errs = append(errs, field.Forbidden(path.Child("storage"), "apart from retain, and a larger size, it cannot be changed; make another Redis"))
	}
	return errs
}

// between demands that *n, if there is one, is from shortest to longest.
func between[T int32 | int64](n *T, low, high T, path *field.Path) field.ErrorList {
	if n == nil || *n >= low && *n <= high {
		return nil
	}
	return field.ErrorList{field.Invalid(path, *n, fmt.Sprintf("expected a whole number from %d to %d", low, high))}
}

// lasting demands that d, if there is one, is from shortest to longest.
func lasting(d *metav1.Duration, shortest, longest time.Duration, path *field.Path) field.ErrorList {
	if d == nil || d.Duration >= shortest && d.Duration <= longest {
		return nil
	}
	return field.ErrorList{field.Invalid(path, d.Duration.String(), fmt.Sprintf("expected a duration from %s to %s", shortest, longest))}
}

// oneOf demands that v, if it is set, is one of these.
func oneOf[T ~string](v T, path *field.Path, these ...T) field.ErrorList {
	if v == "" || slices.Contains(these, v) {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, v, these)}
}

func messages(msgs []string, value string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range msgs {
		errs = append(errs, field.Invalid(path, value, msg))
	}
	return errs
}
