{{- define "lanner.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* Fetches one artifact: takes a list of its values, its number and the root. */}}
{{- define "lanner.fetch" -}}
{{- $one := index . 0 -}}
{{- $root := index . 2 -}}
{{- $artifacts := $root.Values.artifacts -}}
- name: fetch-{{ index . 1 }}
  {{- if $one.s3 }}
  image: {{ $artifacts.s3.image }}
  command: [rclone]
  args: [copy, {{ printf ":s3:%s" $one.s3 | toJson }}, {{ printf "/models/%s" $one.to | toJson }}, --checksum, --config=]
  env:
    - {name: RCLONE_S3_PROVIDER, value: {{ toJson $artifacts.s3.provider }}}
    - {name: RCLONE_S3_ENV_AUTH, value: "true"}
    {{- with $artifacts.s3.endpoint }}
    - {name: RCLONE_S3_ENDPOINT, value: {{ toJson . }}}
    {{- end }}
    {{- with $artifacts.s3.region }}
    - {name: RCLONE_S3_REGION, value: {{ toJson . }}}
    {{- end }}
    - {name: RCLONE_CACHE_DIR, value: /tmp}
    {{- with $artifacts.s3.credentialsSecret }}
    - name: AWS_ACCESS_KEY_ID
      valueFrom: {secretKeyRef: {name: {{ toJson . }}, key: access-key-id}}
    - name: AWS_SECRET_ACCESS_KEY
      valueFrom: {secretKeyRef: {name: {{ toJson . }}, key: secret-access-key}}
    {{- end }}
  {{- else }}
  image: {{ $artifacts.oci.image }}
  command: [oras]
  args: [pull, {{ toJson $one.oci }}, --output, {{ printf "/models/%s" $one.to | toJson }}
    {{- if $artifacts.oci.credentialsSecret }}, --registry-config, /etc/registry/.dockerconfigjson{{ end }}]
  env:
    - {name: HOME, value: /tmp}
  {{- end }}
  imagePullPolicy: IfNotPresent
  resources: {{- toYaml $artifacts.resources | nindent 4 }}
  securityContext: {{- include "lanner.restricted" $root | nindent 4 }}
  volumeMounts:
    - {name: models, mountPath: /models}
    - {name: tmp, mountPath: /tmp}
    {{- if and $one.oci $artifacts.oci.credentialsSecret }}
    - {name: registry, mountPath: /etc/registry, readOnly: true}
    {{- end }}
{{- end }}

{{- /* Compares the manifests with their checksums before anything reads them. */}}
{{- define "lanner.verify" -}}
- name: verify
  image: {{ include "lanner.image" (list .Values.image .) }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [lanner-verify, /etc/lanner/settings/artifacts.sha256]
  workingDir: /models
  resources: {{- toYaml .Values.artifacts.resources | nindent 4 }}
  securityContext: {{- include "lanner.restricted" . | nindent 4 }}
  volumeMounts:
    - {name: models, mountPath: /models, readOnly: true}
    - {name: settings, mountPath: /etc/lanner/settings, readOnly: true}
{{- end }}

{{- /* A sidecar: it starts before the service, and ends after it. Only this pod reaches its ports. */}}
{{- define "lanner.triton" -}}
- name: triton
  image: {{ include "lanner.image" (list .Values.triton.image .) }}
  imagePullPolicy: {{ .Values.triton.image.pullPolicy }}
  restartPolicy: Always
  args: [serve, {{ printf "/models/%s" .Values.triton.repository | toJson }}, --no-api, "--ready-timeout={{ .Values.startSeconds }}"]
  startupProbe:
    exec: {command: [lanner-ready, "http://127.0.0.1:8000/v2/health/ready"]}
    periodSeconds: 5
    timeoutSeconds: 6
    failureThreshold: {{ div .Values.startSeconds 5 }}
  livenessProbe:
    exec: {command: [lanner-ready, "http://127.0.0.1:8000/v2/health/live"]}
    periodSeconds: 15
    timeoutSeconds: 6
    failureThreshold: 4
  resources: {{- toYaml .Values.triton.resources | nindent 4 }}
  securityContext: {{- include "lanner.restricted" . | nindent 4 }}
  volumeMounts:
    - {name: models, mountPath: /models, readOnly: true}
    - {name: tmp, mountPath: /tmp}
    - {name: shm, mountPath: /dev/shm}
{{- end }}

{{- /* What a probe does: takes a path and the root. The kubelet has no certificate, lanner-ready has one. */}}
{{- define "lanner.probe" -}}
{{- $path := index . 0 -}}
{{- $tls := (index . 1).Values.tls -}}
{{- if $tls.clientCa.secretName -}}
exec: {command: [lanner-ready, "https://127.0.0.1:8081{{ $path }}"]}
{{- else -}}
httpGet: {path: {{ $path }}, port: admin, scheme: {{ ternary "HTTPS" "HTTP" (not (empty $tls.secretName)) }}}
{{- end -}}
{{- end }}

{{- define "lanner.service" -}}
- name: service
  image: {{ include "lanner.image" (list .Values.image .) }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [serve]
  env:
    - {name: LANNER_SERVE_CONFIG, value: /etc/lanner/settings/service.toml}
    {{- if .Values.tls.clientCa.secretName }}
    - {name: LANNER_READY_CERTIFICATE, value: /etc/lanner/probe/tls.crt}
    - {name: LANNER_READY_KEY, value: /etc/lanner/probe/tls.key}
    {{- end }}
    {{- with .Values.extraEnv }}{{ toYaml . | nindent 4 }}{{ end }}
  ports:
    - {name: http, containerPort: 8080}
    - {name: admin, containerPort: 8081}
  startupProbe:
    {{- include "lanner.probe" (list "/ready" .) | nindent 4 }}
    periodSeconds: 2
    timeoutSeconds: 6
    failureThreshold: {{ div .Values.startSeconds 2 }}
  readinessProbe:
    {{- include "lanner.probe" (list "/ready" .) | nindent 4 }}
    periodSeconds: 5
    timeoutSeconds: 6
    failureThreshold: 2
  livenessProbe:
    {{- include "lanner.probe" (list "/health" .) | nindent 4 }}
    periodSeconds: 10
    timeoutSeconds: 10
    failureThreshold: 6
  lifecycle:
    preStop:
      sleep: {seconds: {{ .Values.preStopSeconds }}}
  resources: {{- toYaml .Values.resources | nindent 4 }}
  securityContext: {{- include "lanner.restricted" . | nindent 4 }}
  volumeMounts:
    - {name: models, mountPath: /models, readOnly: true}
    - {name: settings, mountPath: /etc/lanner/settings, readOnly: true}
    - {name: tmp, mountPath: /tmp}
    {{- if .Values.keys.secretName }}
    - {name: keys, mountPath: /etc/lanner/keys, readOnly: true}
    {{- end }}
    {{- if .Values.tls.secretName }}
    - {name: tls, mountPath: /etc/lanner/tls, readOnly: true}
    {{- end }}
    {{- if .Values.tls.clientCa.secretName }}
    - {name: clients, mountPath: /etc/lanner/clients, readOnly: true}
    - {name: probe, mountPath: /etc/lanner/probe, readOnly: true}
    {{- end }}
    {{- with .Values.extraVolumeMounts }}{{ toYaml . | nindent 4 }}{{ end }}
{{- end }}

{{- define "lanner.volumes" -}}
- name: models
  {{- with .Values.artifacts.volume }}{{ toYaml . | nindent 2 }}
  {{- else }}
  emptyDir: {sizeLimit: {{ .Values.artifacts.sizeLimit }}}
  {{- end }}
- name: settings
  configMap: {name: {{ include "lanner.fullname" . }}}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- with .Values.keys.secretName }}
- name: keys
  secret: {secretName: {{ toJson . }}, defaultMode: 0440}
{{- end }}
{{- with .Values.tls.secretName }}
- name: tls
  secret: {secretName: {{ toJson . }}, defaultMode: 0440}
{{- end }}
{{- if .Values.tls.clientCa.secretName }}
- name: clients
  secret: {secretName: {{ toJson .Values.tls.clientCa.secretName }}, defaultMode: 0440}
- name: probe
  secret: {secretName: {{ toJson .Values.tls.probeSecretName }}, defaultMode: 0440}
{{- end }}
{{- with .Values.artifacts.oci.credentialsSecret }}
- name: registry
  secret: {secretName: {{ toJson . }}, defaultMode: 0440}
{{- end }}
{{- if .Values.triton.enabled }}
- name: shm
  emptyDir: {medium: Memory, sizeLimit: {{ .Values.triton.sharedMemory }}}
{{- end }}
{{- with .Values.extraVolumes }}{{ toYaml . | nindent 0 }}{{ end }}
{{- end }}
