{{/* Takes the port of the sidecar's health. */}}
{{- define "sidecarArguments" -}}
- --csi-address=/csi/csi.sock
- --leader-election
- --http-endpoint=:{{ . }}
# Their own is 5 minutes: so long a claim would wait after there is space again.
- --retry-interval-max=30s
{{- end }}

{{/* Takes a dict of root and port. */}}
{{- define "sidecarRest" -}}
{{ include "sidecarProbe" .port }}
{{ include "unprivileged" . }}
resources:
  {{- toYaml .root.Values.sidecars.resources | nindent 2 }}
volumeMounts:
  - name: socket
    mountPath: /csi
{{- end }}

{{- define "podIdentity" -}}
- name: NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- end }}
