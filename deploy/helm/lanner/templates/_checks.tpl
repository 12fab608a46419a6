{{- /* Values that cannot work together. The schema checks each alone. */}}
{{- define "lanner.checks" -}}
{{- $local := false -}}
{{- range .Values.models }}{{ if not (contains "://" .) }}{{ $local = true }}{{ end }}{{ end -}}
{{- if and .Values.artifacts.volume .Values.artifacts.fetch -}}
{{- fail "artifacts.volume and artifacts.fetch exclude each other: /models is one directory" -}}
{{- end -}}
{{- if and $local (not .Values.artifacts.volume) (not .Values.artifacts.fetch) -}}
{{- fail "the models are in /models, which is empty: set artifacts.volume or artifacts.fetch" -}}
{{- end -}}
{{- range .Values.artifacts.fetch -}}
{{- if not (or (hasKey $.Values.artifacts.sha256 .to) (and $.Values.triton.enabled (eq .to $.Values.triton.repository))) -}}
{{- fail (printf "artifacts.sha256 has no checksum of %s: write the output of 'sha256sum %s/manifest.json'" .to .to) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled .Values.artifacts.fetch (not .Values.networkPolicy.egress) -}}
{{- fail "artifacts.fetch needs a rule in networkPolicy.egress: without one the pods reach nothing" -}}
{{- end -}}
{{- if lt (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas) -}}
{{- fail "autoscaling.maxReplicas is below autoscaling.minReplicas" -}}
{{- end -}}
{{- if eq (int .Values.autoscaling.minReplicas) 0 -}}
{{- if or (ne .Values.autoscaling.by "keda") (not .Values.autoscaling.keda.wakeQuery) -}}
{{- fail "autoscaling.minReplicas 0 needs autoscaling.by keda and autoscaling.keda.wakeQuery: no pod is there to measure that there is work" -}}
{{- end -}}
{{- end -}}
{{- if and (eq (int .Values.rollingUpdate.maxSurge) 0) (eq (int .Values.rollingUpdate.maxUnavailable) 0) -}}
{{- fail "rollingUpdate.maxSurge and rollingUpdate.maxUnavailable cannot both be 0" -}}
{{- end -}}
{{- if .Values.tls.clientCa.secretName -}}
{{- if not .Values.tls.secretName -}}
{{- fail "tls.clientCa needs tls.secretName: without TLS no client shows a certificate" -}}
{{- end -}}
{{- if not .Values.tls.probeSecretName -}}
{{- fail "tls.probeSecretName is missing: with tls.clientCa the probes need a certificate, too" -}}
{{- end -}}
{{- if and .Values.monitoring.serviceMonitor (not .Values.monitoring.clientSecretName) -}}
{{- fail "monitoring.clientSecretName is missing: with tls.clientCa Prometheus needs a certificate, too" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.monitoring.serviceMonitor .Values.keys.secretName (not .Values.monitoring.keySecret.name) -}}
{{- fail "monitoring.keySecret.name is missing: the service needs keys, so Prometheus needs one" -}}
{{- end -}}
{{- end }}
