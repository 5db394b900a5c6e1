package apiserver

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validatePod(p *corev1.Pod) field.ErrorList                                { return nil }
func validatePodUpdate(p, old *corev1.Pod) field.ErrorList                     { return nil }
func validateService(p *corev1.Service) field.ErrorList                        { return nil }
func validateServiceUpdate(p, old *corev1.Service) field.ErrorList             { return nil }
func validateConfigMap(p *corev1.ConfigMap) field.ErrorList                    { return nil }
func validateConfigMapUpdate(p, old *corev1.ConfigMap) field.ErrorList         { return nil }
func validateSecret(p *corev1.Secret) field.ErrorList                          { return nil }
func validateSecretUpdate(p, old *corev1.Secret) field.ErrorList               { return nil }
func validateClaim(p *corev1.PersistentVolumeClaim) field.ErrorList            { return nil }
func validateClaimUpdate(p, old *corev1.PersistentVolumeClaim) field.ErrorList { return nil }
func validateDeployment(p *appsv1.Deployment) field.ErrorList                  { return nil }
func validateDeploymentUpdate(p, old *appsv1.Deployment) field.ErrorList       { return nil }
func validateReplicaSet(p *appsv1.ReplicaSet) field.ErrorList                  { return nil }
func validateReplicaSetUpdate(p, old *appsv1.ReplicaSet) field.ErrorList       { return nil }
func validateStatefulSet(p *appsv1.StatefulSet) field.ErrorList                { return nil }
func validateStatefulSetUpdate(p, old *appsv1.StatefulSet) field.ErrorList     { return nil }
func validateRevisionUpdate(p, old *appsv1.ControllerRevision) field.ErrorList { return nil }
func validateBudget(p *policyv1.PodDisruptionBudget) field.ErrorList           { return nil }
