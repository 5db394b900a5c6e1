{{/* The name of all objects. */}}
{{- define "redstart.name" -}}
{{ printf "%s-operator" .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "redstart.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "redstart.name" .) }}
{{- end }}

{{- define "redstart.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* The labels by which every Redis lets the operator in, and which operator it is. */}}
{{- define "redstart.selector" -}}
app.kubernetes.io/name: redstart
app.kubernetes.io/component: operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "redstart.labels" -}}
{{ include "redstart.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "redstart.subject" -}}
- kind: ServiceAccount
  name: {{ include "redstart.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}
