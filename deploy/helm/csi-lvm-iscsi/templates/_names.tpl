{{- define "driver" -}}
csi-lvm-iscsi.github.io
{{- end }}

{{/* Labels of an object. Takes a dict of root and component. */}}
{{- define "labels" -}}
{{ include "selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Labels that select the pods of a component. They must never change: selectors are immutable. */}}
{{- define "selector" -}}
app.kubernetes.io/name: csi-lvm-iscsi
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Reference of an image. Takes a dict of root, repository, tag and digest. */}}
{{- define "image" -}}
{{- $repository := .repository -}}
{{- with .root.Values.global.imageRegistry -}}
{{- $repository = printf "%s/%s" . (regexReplaceAll "^[^/]+/" $repository "") -}}
{{- end -}}
{{ $repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}
{{- end }}

{{/* Image of the roles. Takes the root. */}}
{{- define "roleImage" -}}
image: {{ include "image" (dict "root" . "repository" .Values.image.repository "tag" (.Values.image.tag | default .Chart.AppVersion) "digest" .Values.image.digest) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{/* Image of a sidecar. Takes a dict of root and sidecar. */}}
{{- define "sidecarImage" -}}
image: {{ include "image" (merge (dict "root" .root) .sidecar) | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- end }}
