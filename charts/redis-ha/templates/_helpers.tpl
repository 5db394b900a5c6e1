{{- define "redis-ha.name" -}}
{{ .Values.fullnameOverride | default .Release.Name }}
{{- end }}

{{- define "redis-ha.labels" -}}
app.kubernetes.io/name: redis
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The password that the values give, empty where the operator makes one. */}}
{{- define "redis-ha.password" -}}
{{- if .Values.redisPassword }}{{ .Values.redisPassword }}
{{- else if kindIs "map" .Values.auth }}{{ .Values.auth.password | default "" }}
{{- end }}
{{- end }}

{{/* The Secret that the password is in. */}}
{{- define "redis-ha.secret" -}}
{{- $auth := dict }}
{{- if kindIs "map" .Values.auth }}{{ $auth = .Values.auth }}{{ end }}
{{- if .Values.existingSecret }}{{ .Values.existingSecret }}
{{- else if $auth.existingSecret }}{{ $auth.existingSecret }}
{{- else if include "redis-ha.password" . }}{{ include "redis-ha.name" . }}-auth
{{- end }}
{{- end }}

{{- define "redis-ha.authEnabled" -}}
{{- if kindIs "map" .Values.auth }}{{ if ne (toString .Values.auth.enabled) "false" }}true{{ end }}
{{- else if kindIs "bool" .Values.auth }}{{ if .Values.auth }}true{{ end }}
{{- else if .Values.architecture }}true
{{- else if or .Values.redisPassword .Values.existingSecret }}true
{{- end }}
{{- end }}

{{/* Bitnami's chart says how its members are arranged; redis-ha always has Sentinels. */}}
{{- define "redis-ha.mode" -}}
{{- if eq (.Values.architecture | default "") "standalone" }}Standalone
{{- else if and .Values.architecture (not (.Values.sentinel | default dict).enabled) }}Replication
{{- else }}Sentinel
{{- end }}
{{- end }}

{{/* Whether the values are those of redis-ha's first form, which had no settings of its own. */}}
{{- define "redis-ha.old" -}}
{{- $v := .Values }}
{{- if or (kindIs "map" $v.replicas) $v.resources $v.redis_image $v.servers }}true{{ end }}
{{- end }}

{{/* The settings of redis.conf as JSON, those that the chart of the values has by itself among them. Where lines add up there is a list. */}}
{{- define "redis-ha.config" -}}
{{- $v := .Values }}
{{- $config := deepCopy (($v.redis | default dict).config | default dict) }}
{{- if $v.architecture }}
{{- $lines := dict }}
{{- range splitList "\n" (ternary ($v.commonConfiguration | default "") "appendonly yes\nsave \"\"" (hasKey $v "commonConfiguration")) }}
{{- $line := trim . }}
{{- if and $line (not (hasPrefix "#" $line)) }}
{{- $words := splitn " " 2 $line }}
{{- $name := lower $words._0 }}
{{- $value := trim ($words._1 | default "") | trimAll "\"" }}
{{- $old := index $lines $name | default list }}
{{- if or (eq $value "") (not (has $name (list "save" "client-output-buffer-limit"))) (has "" $old) }}{{ $old = list }}{{ end }}
{{- $_ := set $lines $name (append $old $value) }}
{{- end }}
{{- end }}
{{- range $name, $values := $lines }}
{{- if not (hasKey $config $name) }}{{ $_ := set $config $name $values }}{{ end }}
{{- end }}
{{- else if not (include "redis-ha.old" .) }}
{{- $own := dict "maxmemory-policy" "volatile-lru" "save" "900 1" }}
{{- if not (or (hasKey $config "min-slaves-to-write") (eq (include "redis-ha.count" .) "1")) }}{{ $_ := set $own "min-replicas-to-write" 1 }}{{ end }}
{{- if not (hasKey $config "min-slaves-max-lag") }}{{ $_ := set $own "min-replicas-max-lag" 5 }}{{ end }}
{{- range $name, $value := $own }}
{{- if not (hasKey $config $name) }}{{ $_ := set $config $name $value }}{{ end }}
{{- end }}
{{- end }}
{{- toJson $config }}
{{- end }}

{{/* The number of members, empty where it is the default of a Redis. */}}
{{- define "redis-ha.count" -}}
{{- $v := .Values }}
{{- $mode := include "redis-ha.mode" . }}
{{- $replica := $v.replica | default dict }}
{{- if eq $mode "Standalone" }}
{{- else if kindIs "map" $v.replicas }}{{ with $v.replicas.servers }}{{ int . }}{{ end }}
{{- else if $v.replicas }}{{ int $v.replicas }}
{{- else if hasKey $replica "replicaCount" }}{{ if eq $mode "Replication" }}{{ add1 $replica.replicaCount }}{{ else }}{{ with $replica.replicaCount }}{{ int . }}{{ end }}{{ end }}
{{- else if eq $mode "Replication" }}4
{{- end }}
{{- end }}

{{/* All that is wanted of the Redis, as JSON. */}}
{{- define "redis-ha.spec" -}}
{{- $v := .Values }}
{{- $mode := include "redis-ha.mode" . }}
{{- $spec := dict "mode" $mode }}
{{- $sentinel := $v.sentinel | default dict }}
{{- $redis := $v.redis | default dict }}
{{- $resources := $v.resources | default dict }}
{{- $servers := $v.servers | default dict }}
{{- $image := $v.image | default dict }}
{{- $master := $v.master | default dict }}
{{- $replica := $v.replica | default dict }}
{{- /* With Sentinels Bitnami's pods are those of replica, and a standalone one is that of master. */}}
{{- if $v.architecture }}
{{- if eq $mode "Sentinel" }}{{ $master = $replica }}{{ end }}
{{- if ne $mode "Replication" }}{{ $replica = dict }}{{ end }}
{{- end }}

{{- /* Image */}}
{{- if $v.redis_image }}
{{- $_ := set $spec "image" $v.redis_image }}
{{- else if or $image.repository $image.tag }}
{{- $repository := $image.repository | default "redis" }}
{{- if $image.registry }}{{ $repository = printf "%s/%s" $image.registry $repository }}{{ end }}
{{- if contains "bitnami" $repository }}
{{- fail (printf "image.repository: %s has scripts of its own; write a stock image, for example repository: redis, tag: \"7.2\"" $repository) }}
{{- end }}
{{- $_ := set $spec "image" (printf "%s:%v" $repository ($image.tag | default "latest")) }}
{{- end }}
{{- with $spec.image }}
{{- if regexMatch "redis[^/:]*:(redis-|v)?([2-5]([.-]|$)|6[.][01]([.-]|$))" . }}
{{- fail (printf "image: %s is too old, members need Redis 6.2 or later; write for example tag: \"7.2\", which loads its data" .) }}
{{- end }}
{{- end }}
{{- with $image.pullPolicy }}{{ $_ := set $spec "imagePullPolicy" . }}{{ end }}
{{- with $v.imagePullSecrets }}{{ $_ := set $spec "imagePullSecrets" . }}{{ end }}

{{- /* Members */}}
{{- with include "redis-ha.count" . }}{{ $_ := set $spec "replicas" (int .) }}{{ end }}

{{- /* Sentinels */}}
{{- if eq $mode "Sentinel" }}
{{- $s := dict }}
{{- if kindIs "map" $v.replicas }}{{ with $v.replicas.sentinels }}{{ $_ := set $s "replicas" (int .) }}{{ end }}{{ end }}
{{- with $sentinel.quorum }}{{ $_ := set $s "quorum" (int .) }}{{ end }}
{{- $config := $sentinel.config | default dict }}
{{- with (index $config "down-after-milliseconds") | default $sentinel.downAfterMilliseconds }}{{ $_ := set $s "downAfter" (printf "%dms" (int .)) }}{{ end }}
{{- with (index $config "failover-timeout") | default $sentinel.failoverTimeout }}{{ $_ := set $s "failoverTimeout" (printf "%dms" (int .)) }}{{ end }}
{{- with (index $config "parallel-syncs") | default $sentinel.parallelSyncs }}{{ $_ := set $s "parallelSyncs" (int .) }}{{ end }}
{{- with $resources.sentinel | default $sentinel.resources }}{{ $_ := set $s "resources" . }}{{ end }}
{{- if $s }}{{ $_ := set $spec "sentinel" $s }}{{ end }}
{{- end }}

{{- /* Configuration: what Redstart has fields for goes there. */}}
{{- $settings := dict }}
{{- $durability := dict }}
{{- range $name, $value := include "redis-ha.config" . | fromJson }}
{{- if not (kindIs "invalid" $value) }}
{{- $text := toString $value }}
{{- if kindIs "bool" $value }}{{ $text = ternary "yes" "no" $value }}{{ end }}
{{- if kindIs "float64" $value }}{{ $text = printf "%d" (int64 $value) }}{{ end }}
{{- if kindIs "slice" $value }}{{ $text = join " " $value }}{{ end }}
{{- if or (eq $name "min-replicas-to-write") (eq $name "min-slaves-to-write") }}
{{- $_ := set $durability "minReplicasToWrite" (int $text) }}
{{- else if or (eq $name "min-replicas-max-lag") (eq $name "min-slaves-max-lag") }}
{{- $_ := set $durability "maxLag" (printf "%ss" $text) }}
{{- else }}
{{- $_ := set $settings $name (ternary "" $text (eq $text "\"\"")) }}
{{- end }}
{{- end }}
{{- end }}
{{- if $settings }}{{ $_ := set $spec "config" $settings }}{{ end }}
{{- if $durability }}{{ $_ := set $spec "durability" $durability }}{{ end }}

{{- /* Password */}}
{{- $auth := dict "enabled" (eq (include "redis-ha.authEnabled" .) "true") }}
{{- with include "redis-ha.secret" . }}{{ $_ := set $auth "secretName" . }}{{ end }}
{{- $_ := set $spec "auth" $auth }}

{{- /* Volumes */}}
{{- $volume := $v.persistentVolume | default $v.persistence | default (merge (deepCopy ($master.persistence | default dict)) ($replica.persistence | default dict)) }}
{{- if eq (toString $volume.enabled) "false" }}
{{- $_ := set $spec "storage" (dict "ephemeral" true) }}
{{- else }}
{{- $storage := dict "size" ($volume.size | default (ternary "8Gi" "10Gi" (or (hasKey $v "architecture") (eq (include "redis-ha.old" .) "true")))) }}
{{- with $volume.accessModes }}{{ $_ := set $storage "accessModes" . }}{{ end }}
{{- with $volume.storageClass }}{{ $_ := set $storage "storageClassName" (ternary "" . (eq . "-")) }}{{ end }}
{{- $_ := set $spec "storage" $storage }}
{{- end }}

{{- /* Services */}}
{{- $service := dict }}
{{- $from := $master.service | default dict }}
{{- if and $v.architecture (eq $mode "Sentinel") }}{{ $from = $sentinel.service | default dict }}{{ end }}
{{- $type := $servers.serviceType | default $from.type | default "ClusterIP" }}
{{- if ne $type "ClusterIP" }}{{ $_ := set $service "type" $type }}{{ end }}
{{- with $servers.annotations | default $from.annotations }}{{ $_ := set $service "annotations" . }}{{ end }}
{{- if $service }}{{ $_ := set $spec "service" $service }}{{ end }}

{{- /* A monitor of Prometheus' operator: of pods, whatever the values have it of. */}}
{{- $metrics := dict }}
{{- range $from := list ($v.exporter | default dict).serviceMonitor ($v.metrics | default dict).podMonitor ($v.metrics | default dict).serviceMonitor }}
{{- with $from }}
{{- if eq (toString .enabled) "true" }}{{ $_ := set $metrics "podMonitor" true }}{{ end }}
{{- with .labels | default .additionalLabels | default .selector }}{{ $_ := set $metrics "podMonitorLabels" . }}{{ end }}
{{- end }}
{{- end }}
{{- if $metrics }}{{ $_ := set $spec "metrics" $metrics }}{{ end }}

{{- /* Pods */}}
{{- with $resources.server | default $resources.master | default $resources.slave | default $redis.resources | default $master.resources | default $replica.resources }}{{ $_ := set $spec "resources" . }}{{ end }}
{{- range $field := list "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
{{- with (index $v $field) | default (index $master $field) | default (index $replica $field) }}{{ $_ := set $spec $field . }}{{ end }}
{{- end }}
{{- if and $v.hardAntiAffinity (not $spec.affinity) }}
{{- /* Sentinels have the affinity of the members: by the key, a pod is kept from pods of its own kind alone. */}}
{{- $labels := dict "redstart.dev/redis" (include "redis-ha.name" .) }}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" $labels) "matchLabelKeys" (list "redstart.dev/component") }}
{{- $_ := set $spec "affinity" (dict "podAntiAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" (list $term))) }}
{{- end }}
{{- /* The chart of the values has the profile with the containers. */}}
{{- with $v.securityContext }}{{ $_ := set $spec "podSecurityContext" (merge (deepCopy .) (dict "seccompProfile" (dict "type" "RuntimeDefault"))) }}{{ end }}
{{- with $redis.terminationGracePeriodSeconds }}{{ $_ := set $spec "terminationGracePeriodSeconds" (int .) }}{{ end }}
{{- $pods := dict }}
{{- with $v.podLabels | default $v.labels | default $master.podLabels | default $replica.podLabels }}{{ $_ := set $pods "labels" . }}{{ end }}
{{- with $v.podAnnotations | default $master.podAnnotations | default $replica.podAnnotations }}{{ $_ := set $pods "annotations" . }}{{ end }}
{{- if $pods }}{{ $_ := set $spec "podMetadata" $pods }}{{ end }}
{{- toJson $spec }}
{{- end }}

{{/* What of the values has no meaning here, and why: one line for each. */}}
{{- define "redis-ha.dropped" -}}
{{- $v := .Values }}
{{- $why := dict
  "rbac" "the operator gives the agents what they need"
  "serviceAccount" "the operator makes one"
  "podDisruptionBudget" "the operator makes one"
  "pdb" "the operator makes PodDisruptionBudgets"
  "haproxy" "the Service of the Redis always leads to the master"
  "exporter" "the agents serve metrics themselves, at port 9379; of a monitor, whether there is one and its labels are kept"
  "metrics" "the agents serve metrics themselves, at port 9379; of a monitor, whether there is one and its labels are kept"
  "sysctlImage" "nothing runs as root"
  "sysctl" "nothing runs as root"
  "volumePermissions" "nothing runs as root"
  "containerSecurityContext" "containers have no privileges and a read-only root already"
  "configmapTest" "there is no such script"
  "splitBrainDetection" "the agents do that"
  "init" "the agents do that" }}
{{- range $field, $reason := $why }}
{{- if index $v $field }}
  {{ $field }}: {{ $reason }}
{{- end }}
{{- end }}
{{- $name := include "redis-ha.name" . }}
{{- $masterName := (($v.redis | default dict).masterGroupName) | default (($v.sentinel | default dict).masterSet) }}
{{- if and $masterName (ne $masterName $name) }}
  {{ $masterName }}: Sentinels call the master {{ $name }}; tell your clients, or set fullnameOverride
{{- end }}
{{- if hasKey (($v.sentinel | default dict).config | default dict) "maxclients" }}
  sentinel.config.maxclients: Sentinels have their default
{{- end }}
{{- if and $v.sentinel (ne (include "redis-ha.mode" .) "Sentinel") }}
  sentinel: mode {{ include "redis-ha.mode" . }} has no Sentinels
{{- end }}
{{- if and $v.architecture $v.master (eq (include "redis-ha.mode" .) "Sentinel") }}
  master: with Sentinels all pods are those of replica
{{- else if and $v.architecture $v.replica (eq (include "redis-ha.mode" .) "Standalone") }}
  replica: mode Standalone is one member
{{- else if and $v.master $v.replica }}
{{- range $field := list "persistence" "resources" "nodeSelector" "tolerations" "affinity" "priorityClassName" "podAnnotations" "podLabels" }}
{{- if and (index $v.master $field) (index $v.replica $field) (ne (toJson (index $v.master $field)) (toJson (index $v.replica $field))) }}
  replica.{{ $field }}: all members are alike; that of master is taken
{{- end }}
{{- end }}
{{- end }}
{{- if and $v.replica (($v.replica | default dict).service) (ne (include "redis-ha.mode" .) "Standalone") }}
  replica.service: both Services are as {{ ternary "sentinel.service" "master.service" (eq (include "redis-ha.mode" .) "Sentinel") }}
{{- end }}
{{- if eq (include "redis-ha.mode" .) "Standalone" }}
{{- if $v.replicas }}
  replicas: mode Standalone is one member
{{- end }}
{{- end }}
{{- end }}
