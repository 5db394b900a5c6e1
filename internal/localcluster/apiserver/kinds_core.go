package apiserver

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
)

// Events are for people who look at what happened lately.
const (
	maxEvents = 1000
	eventLife = time.Hour
)

// coreKinds are the kinds of core/v1.
func coreKinds() []erasable {
	v1 := corev1.SchemeGroupVersion
	return []erasable{
		row[*corev1.Namespace]{
			gv: v1, plural: "namespaces", list: &corev1.NamespaceList{}, short: []string{"ns"}, clusterScoped: true,
			nameRule:   apivalidation.NameIsDNSLabel,
			prepare:    prepareNamespace,
			copyStatus: func(to, from *corev1.Namespace) { to.Status = from.Status },
			fields: func(n *corev1.Namespace) fields.Set {
				return fields.Set{"status.phase": string(n.Status.Phase)}
			},
			columns: namespaceColumns,
		},
		row[*corev1.Node]{
			gv: v1, plural: "nodes", list: &corev1.NodeList{}, short: []string{"no"}, clusterScoped: true,
			validate:   validateNode,
			copyStatus: func(to, from *corev1.Node) { to.Status = from.Status },
			columns:    nodeColumns,
		},
		row[*corev1.Pod]{
			gv: v1, plural: "pods", list: &corev1.PodList{}, short: []string{"po"}, inAll: true,
			defaults:       func(p *corev1.Pod) { defaultPodSpec(&p.Spec) },
			prepare:        preparePod,
			validate:       validatePod,
			validateUpdate: validatePodUpdate,
			spec:           func(p *corev1.Pod) any { return &p.Spec },
			copyStatus:     func(to, from *corev1.Pod) { to.Status = from.Status },
			graceful:       podGracePeriod,
			fields: func(p *corev1.Pod) fields.Set {
				return fields.Set{
					"spec.nodeName": p.Spec.NodeName, "spec.restartPolicy": string(p.Spec.RestartPolicy),
					"spec.serviceAccountName": p.Spec.ServiceAccountName,
					"status.phase":            string(p.Status.Phase), "status.podIP": p.Status.PodIP,
				}
			},
			columns: podColumns,
		},
		row[*corev1.Service]{
			gv: v1, plural: "services", list: &corev1.ServiceList{}, short: []string{"svc"}, inAll: true,
			nameRule:       apivalidation.NameIsDNS1035Label,
			defaults:       defaultService,
			prepare:        prepareService,
			validate:       validateService,
			validateUpdate: validateServiceUpdate,
			copyStatus:     func(to, from *corev1.Service) { to.Status = from.Status },
			fields: func(s *corev1.Service) fields.Set {
				return fields.Set{"spec.clusterIP": s.Spec.ClusterIP, "spec.type": string(s.Spec.Type)}
			},
			columns: serviceColumns,
		},
		row[*corev1.Endpoints]{
			gv: v1, plural: "endpoints", list: &corev1.EndpointsList{}, short: []string{"ep"},
			defaults: defaultEndpoints,
			columns:  endpointsColumns,
		},
		row[*corev1.ConfigMap]{
			gv: v1, plural: "configmaps", list: &corev1.ConfigMapList{}, short: []string{"cm"},
			validate:       validateConfigMap,
			validateUpdate: validateConfigMapUpdate,
			columns:        configMapColumns,
		},
		row[*corev1.Secret]{
			gv: v1, plural: "secrets", list: &corev1.SecretList{},
			defaults:       defaultSecret,
			prepare:        prepareSecret,
			validate:       validateSecret,
			validateUpdate: validateSecretUpdate,
			fields:         func(s *corev1.Secret) fields.Set { return fields.Set{"type": string(s.Type)} },
			columns:        secretColumns,
		},
		row[*corev1.PersistentVolumeClaim]{
			gv: v1, plural: "persistentvolumeclaims", list: &corev1.PersistentVolumeClaimList{}, short: []string{"pvc"},
			defaults:       defaultClaim,
			prepare:        prepareClaim,
			validate:       validateClaim,
			validateUpdate: validateClaimUpdate,
			copyStatus:     func(to, from *corev1.PersistentVolumeClaim) { to.Status = from.Status },
			columns:        claimColumns,
		},
		row[*corev1.ServiceAccount]{
			gv: v1, plural: "serviceaccounts", list: &corev1.ServiceAccountList{}, short: []string{"sa"},
			columns: []column[*corev1.ServiceAccount]{
				name[*corev1.ServiceAccount](),
				{"Secrets", func(s *corev1.ServiceAccount) any { return int64(len(s.Secrets)) }, false},
				age[*corev1.ServiceAccount](),
			},
		},
		row[*corev1.Event]{
			gv: v1, plural: "events", list: &corev1.EventList{}, short: []string{"ev"},
			maxObjects: maxEvents, ttl: eventLife,
			fields: func(e *corev1.Event) fields.Set {
				o := e.InvolvedObject
				return fields.Set{
					"involvedObject.kind": o.Kind, "involvedObject.namespace": o.Namespace, "involvedObject.name": o.Name,
					"involvedObject.uid": string(o.UID), "involvedObject.apiVersion": o.APIVersion,
					"involvedObject.resourceVersion": o.ResourceVersion, "involvedObject.fieldPath": o.FieldPath,
					"reason": e.Reason, "reportingComponent": e.ReportingController, "source": e.Source.Component, "type": e.Type,
				}
			},
			columns: eventColumns,
		},
	}
}
